import numpy as np
import plain_loop
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, any_rows, walk_rows, walks

from hgpo import StepTable
from hgpo.groups import group_sizes, has_peer, level_groups


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


@pytest.mark.parametrize("history_length", [-1, 1.5, None])
def test_history_length_is_a_count(history_length: int):
    with pytest.raises(ValueError, match=r"history_length is .*; give an integer of at least 0"):
        level_groups(walks(("A", [0.0])), history_length)


def test_history_longer_than_any_trajectory():
    groups = level_groups(walks(("AB", [0, 0])), history_length=5)
    assert groups.shape == (6, 2)
    assert np.all(groups[2:] == -1)
