"""Scores of several runs: the middle half's mean, and how likely one method beats another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hgpo.analysis.intervals import interquartile_mean, probability_of_improvement

SCORES = arrays(np.float64, (3, 2), elements=st.integers(0, 4).map(lambda n: n / 4))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # Of 8 scores 2 are left out at each end: (0.3 + 0.4 + 0.5 + 0.6) / 4.
        ([[0.0, 0.9, 0.3, 0.4], [0.5, 1.0, 0.1, 0.6]], 0.45),
        # A quarter of 6 is 1: (0.1 + 0.2 + 0.3 + 0.6) / 4.
        ([[0.0, 0.1, 0.2], [0.3, 0.6, 1.0]], 0.3),
        ([[0.7]], 0.7),
    ],
)
def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end(scores, expected):
    assert interquartile_mean(np.array(scores)) == pytest.approx(expected)


def test_the_probability_of_improvement_counts_pairs_of_seeds_within_a_task_type():
    # First type: 0.5 and 0.8 against 0.5 and 0.6 — tie, loss, win, win: (½ + 0 + 1 + 1) / 4 = 0.625.
    # Second: 0.1 and 0.1 against 0.9 and 0.0 — loss, win, loss, win: 0.5. Types are not compared with one another.
    ours = np.array([[0.5, 0.1], [0.8, 0.1]])
    theirs = np.array([[0.5, 0.9], [0.6, 0.0]])
    assert probability_of_improvement(ours, theirs) == pytest.approx((0.625 + 0.5) / 2)


@given(SCORES, SCORES)
def test_one_of_two_methods_is_better(ours, theirs):
    assert probability_of_improvement(ours, theirs) + probability_of_improvement(
        theirs, ours
    ) == pytest.approx(1)
    assert probability_of_improvement(ours, ours) == pytest.approx(0.5)
