"""Statistics of groups, worked out by hand."""

from __future__ import annotations

import pytest

from hgpo import StepTable
from hgpo.analysis.groups import aliased_share, level_statistics


def table(states: dict[str, str], task: str = "t") -> StepTable:
    """One trajectory for each name; each letter is a state."""
    rows = [(name, index, state) for name, path in states.items() for index, state in enumerate(path)]
    return StepTable(
        task_id=[task] * len(rows),
        trajectory_id=[name for name, _, _ in rows],
        step_index=[index for _, index, _ in rows],
        state_key=[state for _, _, state in rows],
        reward=[0.0] * len(rows),
    )


def test_group_sizes_and_peers_by_level():
    # x: A B A, y: A C. Level 0: A three times (x twice, y once), B, C: 3 groups of 5 rows.
    # Level 1 (from the second step on): AB, BA, AC: 3 groups of one. Two rows of five do not have the level.
    zero, one = level_statistics(table({"x": "ABA", "y": "AC"}), 1)
    assert (zero.groups, zero.mean_size, zero.largest) == (3, pytest.approx(5 / 3), 3)
    assert (zero.peer_share, zero.other_trajectory_share) == (3 / 5, 3 / 5)
    assert (one.groups, one.mean_size, one.largest, one.peer_share) == (3, 1.0, 1, 0.0)


def test_a_revisit_is_a_peer_but_not_one_of_another_trajectory():
    (zero,) = level_statistics(table({"x": "ABA", "y": "CD"}), 0)
    assert (zero.peer_share, zero.other_trajectory_share) == (2 / 5, 0.0)


def test_aliasing_counts_the_rows_of_a_key_with_several_true_states():
    # Key o stands for the true states 1 and 2 (three rows), key p for 3 alone (two rows).
    keys, truth = table({"x": "oop", "y": "op"}), table({"x": "123", "y": "13"})
    assert aliased_share(keys, truth) == 3 / 5
    assert aliased_share(truth, truth) == 0.0


def test_aliasing_of_other_steps_is_refused():
    with pytest.raises(ValueError, match="same steps"):
        aliased_share(table({"x": "ab"}), table({"x": "a"}))
