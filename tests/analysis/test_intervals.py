"""Scores of several runs: the mean of their middle half, and how likely one method is better."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hgpo.analysis.intervals import interquartile_mean, probability_of_improvement

SCORES = arrays(np.float64, 3, elements=st.integers(0, 4).map(lambda n: n / 4))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # Of 8 scores 2 are left out at each end: (0.3 + 0.4 + 0.5 + 0.6) / 4.
        ([0.0, 0.9, 0.3, 0.4, 0.5, 1.0, 0.1, 0.6], 0.45),
        # A quarter of 6 is 1: (0.1 + 0.2 + 0.3 + 0.6) / 4.
        ([0.0, 0.1, 0.2, 0.3, 0.6, 1.0], 0.3),
        ([0.7], 0.7),
    ],
)
def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end(scores, expected):
    assert interquartile_mean(np.array(scores)) == pytest.approx(expected)


def test_the_probability_of_improvement_counts_all_pairs_of_seeds():
    # 0.5 and 0.8 against 0.5 and 0.6: a tie, a loss and two wins, so (1/2 + 0 + 1 + 1) / 4.
    found = probability_of_improvement(np.array([0.5, 0.8]), np.array([0.5, 0.6]))
    assert found.mean == pytest.approx(0.625)
    # Draws of seeds reach from only losses (0.5 against 0.6) to only wins (0.8 against either).
    assert (found.low, found.high) == (0.0, 1.0)


@given(SCORES, SCORES)
def test_one_of_two_methods_is_better(ours, theirs):
    one, other = probability_of_improvement(ours, theirs), probability_of_improvement(theirs, ours)
    assert one.mean + other.mean == pytest.approx(1)
    assert probability_of_improvement(ours, ours).mean == pytest.approx(0.5)
