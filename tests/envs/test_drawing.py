"""Which tasks a suite gives out: the three ways to ask wrongly, and how often each comes in training."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgpo.envs.drawing import choose_tasks, drawn_in_rounds
from hgpo.errors import SettingError


def chosen(split: str, count: int | None):
    return choose_tasks(
        split, ("train", "held_out"), count, draw=lambda n: ["drawn"] * n, fixed=lambda: list("abc")
    )


def test_training_draws_and_a_held_out_split_has_an_order():
    assert chosen("train", 2) == ["drawn", "drawn"]
    assert chosen("train", 0) == []
    assert chosen("held_out", 2) == ["a", "b"]
    assert chosen("held_out", None) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("split", "count", "error", "message"),
    [
        ("test", 1, ValueError, "no split 'test': choose from train, held_out"),
        ("train", None, ValueError, "count is None: give the number of tasks to draw from train"),
        ("train", -1, ValueError, "count is -1: give the number of tasks to draw from train"),
        ("held_out", 4, SettingError, "held_out has 3 tasks, not 4"),
        ("held_out", -1, SettingError, "held_out has 3 tasks, not -1"),
    ],
)
def test_what_cannot_be_given_out(split, count, error, message):
    with pytest.raises(error, match=message):
        chosen(split, count)


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 99))
def test_none_comes_again_before_all_have_come(items: int, count: int, seed: int):
    drawn = drawn_in_rounds(range(items), count, random.Random(seed))
    assert len(drawn) == count
    for start in range(0, count, items):
        assert max(Counter(drawn[start : start + items]).values()) == 1
