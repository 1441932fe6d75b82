import itertools
from typing import Any

import numpy as np
import plain_loop
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, any_rows, walk_rows, walks

from hgpo import StepTable
from hgpo.groups import check_level_keys, group_sizes, has_peer, level_groups


def test_levels_compare_the_last_states_not_the_first():
    # Rows:      0:A 1:B 2:C | 3:X 4:B 5:C | 6:A 7:Y 8:C
    # The last column: level 0 all in C; level 1 BC, BC, YC; level 2 ABC, XBC, AYC.
    # The first states (A, X, A) would pair rows 2 and 8 instead.
    groups = level_groups(walks(("ABC", [0, 0, 0]), ("XBC", [0, 0, 0]), ("AYC", [0, 0, 0])), history_length=2)
    assert groups[0, 2] == groups[0, 5] == groups[0, 8]
    assert groups[1, 2] == groups[1, 5] != groups[1, 8]
    assert len({int(groups[2, row]) for row in (2, 5, 8)}) == 3
    # Level k starts at step k.
    assert (groups[1] < 0).tolist() == [True, False, False] * 3
    assert (groups[2] < 0).tolist() == [True, True, False] * 3


def test_a_state_of_another_task_is_another_state():
    rows = walk_rows(("AB", [0, 0]), task="one") + walk_rows(("AB", [0, 0]), task="two")
    assert not has_peer(level_groups(StepTable.from_rows(rows), history_length=1)).any()


def test_a_revisit_meets_its_own_trajectory():
    # A at steps 0 and 2 of one trajectory: a group of two at level 0; BA stands alone at level 1.
    groups = level_groups(walks(("ABA", [0, 0, 0])), history_length=1)
    assert group_sizes(groups).tolist() == [[2, 1, 2], [0, 1, 1]]
    assert has_peer(groups).tolist() == [[True, False, True], [False, False, False]]
    assert has_peer(groups[0]).tolist() == [True, False, True]


def test_ids_are_dense():
    groups = level_groups(walks(("ABC", [0, 0, 0]), ("ABD", [0, 0, 0])), history_length=2)
    assert sorted(set(groups[0].tolist())) == [0, 1, 2, 3]
    assert sorted(set(groups[1].tolist())) == [-1, 0, 1, 2]
    assert sorted(set(groups[2].tolist())) == [-1, 0, 1]


@given(any_rows(), st.booleans())
def test_groups_equal_the_definition(rows: Rows, start_token: bool):
    groups = level_groups(StepTable.from_rows(rows), history_length=3, start_token=start_token)
    for level in range(4):
        contexts = [plain_loop.last_states(rows, row, level, start_token) for row in rows]
        for i, one in enumerate(rows):
            assert (groups[level, i] < 0) == (contexts[i] is None)
            for j, other in enumerate(rows):
                same = one["task_id"] == other["task_id"] and contexts[i] == contexts[j] is not None
                assert (groups[level, i] == groups[level, j] >= 0) == same


@st.composite
def keyed_rows(draw: st.DrawFn) -> Rows:
    """Rows with two further keys that need not be nested in one another."""
    return [
        row | {"state_keys": {"x": draw(st.sampled_from("ab")), "y": draw(st.integers(0, 1))}}
        for row in draw(any_rows(min_tasks=1))
    ]


def test_keys_come_first_and_history_follows():
    # Seen, with the true state in brackets: A(1) B(1) | A(2) B(1) | A(1) B(2). Levels: seen alike; and truly
    # alike; and truly alike with the state before.
    steps = StepTable(
        task_id=["t"] * 6, trajectory_id=list("xxyyzz"), step_index=[0, 1] * 3, state_key=list("ABABAB"),
        reward=[0.0] * 6, state_keys={"true": [1, 1, 2, 1, 1, 2]},
    )  # fmt: skip
    groups = level_groups(steps, 1, level_keys=("state_key", "true"))
    assert group_sizes(groups).tolist() == [[3] * 6, [2, 2, 1, 2, 2, 1], [0, 1, 0, 1, 0, 1]]
    # A1 then B1 of x is not A2 then B1 of y, though by what is seen alone they are the same.
    assert group_sizes(level_groups(steps, 1))[1].tolist() == [0, 3] * 3


@given(keyed_rows(), st.booleans())
def test_levels_with_keys_equal_the_definition(rows: Rows, start_token: bool):
    # One key after the other, then the whole key with its history: the definition for the tuple of all keys.
    groups = level_groups(StepTable.from_rows(rows), 2, start_token=start_token, level_keys=("x", "y"))
    whole = [row | {"state_key": (row["state_keys"]["x"], row["state_keys"]["y"])} for row in rows]
    coarse = [row | {"state_key": row["state_keys"]["x"]} for row in rows]
    for level, (described, past) in enumerate([(coarse, 0), (whole, 0), (whole, 1), (whole, 2)]):
        contexts = [plain_loop.last_states(described, row, past, start_token) for row in described]
        for i, one in enumerate(rows):
            for j, other in enumerate(rows):
                same = one["task_id"] == other["task_id"] and contexts[i] == contexts[j] is not None
                assert (groups[level, i] == groups[level, j] >= 0) == same


@given(keyed_rows(), st.permutations(["x", "y", "state_key"]), st.booleans())
def test_every_level_splits_the_groups_of_the_one_above(rows: Rows, keys: list[str], start_token: bool):
    groups = level_groups(StepTable.from_rows(rows), 2, start_token=start_token, level_keys=keys)
    assert len(groups) == 5
    for above, below in itertools.pairwise(groups):
        kept = below >= 0
        assert np.all(above[kept] >= 0)
        # Each group of the level lies in one group of the level above.
        assert len(set(zip(below[kept], above[kept], strict=True))) == len(set(below[kept]))


@given(keyed_rows())
def test_names_of_states_mean_nothing(rows: Rows):
    # Other values for the same states: "a" and "b" swapped, 0 and 1 as words.
    other = [
        row
        | {"state_keys": {"x": "ba"["ab".index(row["state_keys"]["x"])], "y": ("no", row["state_keys"]["y"])}}
        for row in rows
    ]
    one, two = (level_groups(StepTable.from_rows(r), 1, level_keys=("x", "y")) for r in (rows, other))
    for level in range(3):
        assert np.array_equal(one[level][:, None] == one[level], two[level][:, None] == two[level])


@given(any_rows(), st.booleans())
def test_the_key_in_use_alone_is_what_there_is_without_level_keys(rows: Rows, start_token: bool):
    steps = StepTable.from_rows(rows)
    named = level_groups(steps, 2, start_token=start_token, level_keys=("state_key",))
    np.testing.assert_array_equal(named, level_groups(steps, 2, start_token=start_token))


def test_a_key_that_the_table_lacks_is_named_with_those_that_it_has():
    steps = StepTable.from_rows([row | {"state_keys": {"seen": 0}} for row in walk_rows(("AB", [0.0, 0.0]))])
    with pytest.raises(
        ValueError, match=r"no state key 'full_state', only seen, state_key; .*state_key_full_state"
    ):
        level_groups(steps, 1, level_keys=("seen", "full_state"))


@pytest.mark.parametrize("wrong", ["seen", (), ("seen", "seen"), (1,)])
def test_level_keys_are_different_names(wrong: Any):
    with pytest.raises(ValueError, match=r"level_keys is .*; give different names of state keys"):
        check_level_keys(wrong)


@pytest.mark.parametrize("history_length", [-1, 1.5, None])
def test_history_length_is_a_count(history_length: int):
    with pytest.raises(ValueError, match=r"history_length is .*; give an integer of at least 0"):
        level_groups(walks(("A", [0.0])), history_length)


def test_history_longer_than_any_trajectory():
    groups = level_groups(walks(("AB", [0, 0])), history_length=5)
    assert groups.shape == (6, 2)
    assert np.all(groups[2:] == -1)
