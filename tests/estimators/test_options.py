"""HGPO's options beyond the paper, on numbers worked out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from tables import Rows, any_rows, walk_rows, walks

from hgpo import HGPO, StepTable
from hgpo.groups import group_sizes, level_groups

PLAIN: dict[str, Any] = {"normalization": "mean", "discount": 1.0, "history_length": 0}


def test_a_row_can_be_left_out_of_its_own_baseline():
    # In A the returns are 9, 3, 0. Without the own one: 9 − 1.5, 3 − 4.5, 0 − 6.
    steps = walks(("A", [9.0]), ("A", [3.0]), ("A", [0.0]))
    assert HGPO(**PLAIN, peers="others")(steps).tolist() == [7.5, -1.5, -6.0]


def test_rows_of_the_own_trajectory_can_be_left_out():
    # The first trajectory stands in A twice, with 9 and then 6 still to come (γ = 1); the second once, 1.
    # Rows of the first: 9 − 1, 6 − 1 against the second alone; the second against both: 1 − 7.5.
    steps = walks(("AA", [3.0, 6.0]), ("A", [1.0]))
    assert HGPO(**PLAIN, peers="other_trajectories")(steps).tolist() == [8.0, 5.0, -6.5]
    # Leave-one-out keeps the other visit: 9 − (6 + 1)/2, 6 − (9 + 1)/2, 1 − (9 + 6)/2.
    assert HGPO(**PLAIN, peers="others")(steps).tolist() == [5.5, 1.0, -6.5]


def test_a_revisit_alone_is_no_comparison_with_other_trajectories():
    # A twice in one trajectory with 9 and 6 to come: peers of the own trajectory only.
    steps = walks(("AA", [3.0, 6.0]))
    assert HGPO(**PLAIN, peers="other_trajectories")(steps).tolist() == [0.0, 0.0]
    assert HGPO(**PLAIN)(steps).tolist() == [1.5, -1.5]


def test_a_level_counts_only_if_a_peer_of_another_trajectory_has_another_return():
    # Level 0, state B, γ = 1: the first comes to B twice, with 5 each time (its last reward is at the end);
    # the second once, 5; the third once, 0. Level 1, AB: first 5, second 5 → no difference, does not count.
    # First at t = 1: against 5 and 0: 5 − 2.5. With AB counted as a 0 it would be (2.5 + 2·0) / 3.
    steps = walks(("ABB", [0, 0, 5.0]), ("AB", [0, 5.0]), ("CB", [0, 0.0]))
    settings: dict[str, Any] = PLAIN | {"history_length": 1}
    advantages = HGPO(**settings, peers="other_trajectories")(steps)
    assert advantages[1] == 2.5


def test_the_deviation_stays_the_whole_groups():
    # 9, 3, 0: mean 4, population variance (25 + 1 + 16) / 3 = 14.
    steps = walks(("A", [9.0]), ("A", [3.0]), ("A", [0.0]))
    advantages = HGPO(history_length=0, peers="others")(steps)
    np.testing.assert_allclose(advantages, np.array([7.5, -1.5, -6]) / (np.sqrt(14) + 1e-6), rtol=1e-14)


def test_with_a_start_token_equal_beginnings_reach_the_deepest_level():
    # t = 0 in A, and t = 1 in A after B: at level 1 (·A), (·A) and (BA). Level 0: 4, 2, 0, mean 2.
    # Without the token the first two count at level 0 only: 2, 0. With it also ±1 at level 1, weight 2:
    # (2 + 2·1) / 3, (0 + 2·−1) / 3.
    steps = walks(("A", [4.0]), ("A", [2.0]), ("BA", [0.0, 0.0]))
    settings: dict[str, Any] = PLAIN | {"history_length": 1}
    np.testing.assert_allclose(HGPO(**settings)(steps)[:2], [2, 0], atol=1e-15)
    np.testing.assert_allclose(HGPO(**settings, start_token=True)(steps)[:2], [4 / 3, -2 / 3], rtol=1e-14)


def test_start_tokens_of_two_tasks_are_two():
    rows = walk_rows(("A", [1.0]), ("A", [0.0]), task="one") + walk_rows(("A", [5.0]), task="two")
    sizes = group_sizes(level_groups(StepTable.from_rows(rows), 3, start_token=True))
    assert sizes.tolist() == [[2, 2, 1]] * 4


@given(any_rows())
def test_with_a_start_token_no_row_is_without_a_level(rows: Rows):
    groups = level_groups(StepTable.from_rows(rows), 3, start_token=True)
    assert np.all(groups >= 0)
    # Deeper groups lie within shallower ones.
    sizes = group_sizes(groups)
    assert np.all(sizes[1:] <= sizes[:-1])


def test_weights_by_size_count_the_peers():
    # The last column of test_hgpo's first test: B 9, 0, 0; AB 9, 0. Peers 2 and 1, α = 1: weights 1·2, 2·1.
    # (2·6 + 2·4.5) / 4, (2·−3 + 2·−4.5) / 4, −3.
    steps = walks(("AB", [0, 9.0]), ("AB", [0, 0.0]), ("CB", [0, 0.0]))
    estimator = HGPO(history_length=1, normalization="mean", level_weights="size")
    np.testing.assert_allclose(estimator(steps)[[1, 3, 5]], [5.25, -3.75, -3], rtol=1e-14)


def test_reliability_needs_levels_of_one_kind():
    with pytest.raises(ValueError, match="level_weights='power' or episode_level=False"):
        HGPO(level_weights="reliability", episode_level=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"peers": "none"}, "peers is 'none'; choose from 'all', 'others', 'other_trajectories'"),
        ({"level_weights": "depth"}, "level_weights is 'depth'; choose from 'power', 'size', 'reliability'"),
    ],
)
def test_wrong_options_say_what_is_allowed(wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        HGPO(**wrong)


def test_levels_over_keys_weigh_as_levels_over_history_do():
    # Seen in A: 9, 3, 0, mean 4. The true states of the first two are the same: mean 6; the third is alone.
    # Weights 1 and 2: (5 + 2·3) / 3, (−1 + 2·−3) / 3; the third has level 0 alone: −4.
    rows = walk_rows(("A", [9.0]), ("A", [3.0]), ("A", [0.0]))
    true = [row | {"state_keys": {"true": t}} for row, t in zip(rows, (1, 1, 2), strict=True)]
    estimator = HGPO(**PLAIN, level_keys=("state_key", "true"))
    np.testing.assert_allclose(estimator(StepTable.from_rows(true)), [11 / 3, -7 / 3, -4], rtol=1e-14)
    # Level 0 alone is all there is without the key.
    assert HGPO(**PLAIN)(StepTable.from_rows(true)).tolist() == [5, -1, -4]
    meanings = [level.meaning for level in estimator.comparison(StepTable.from_rows(true)).levels]
    assert meanings == ["the same state_key", "the same state_key and true"]


@given(any_rows(min_tasks=1))
def test_keys_that_are_all_one_state_add_levels_of_one_size(rows: Rows):
    # A key that is a function of the one before splits nothing: two levels of the same groups.
    same = [row | {"state_keys": {"again": (row["state_key"], 1)}} for row in rows]
    steps = StepTable.from_rows(same)
    twice = HGPO(history_length=0, level_keys=("state_key", "again"))(steps)
    np.testing.assert_allclose(twice, HGPO(history_length=0)(steps), atol=1e-12)


def test_similar_texts_and_level_keys_are_two_answers_to_one_question():
    with pytest.raises(ValueError, match=r"similarity=0.9 .* level_keys=\('observation',\)"):
        HGPO(similarity=0.9, level_keys=("observation",))


def test_level_keys_from_a_file_of_settings_may_be_a_list():
    listed: Any = ["observation", "full_state"]
    assert HGPO(level_keys=listed) == HGPO(level_keys=("observation", "full_state"))
