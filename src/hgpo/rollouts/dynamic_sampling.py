"""Dynamic sampling: groups with equal returns give no gradient and are replaced by others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hgpo.rollouts.episodes import Trajectory
from hgpo.rounding import sums_are_equal


@dataclass(frozen=True)
class Sample:
    """The trajectories of an iteration, grouped. Failed trajectories are in `tried`, but not in `kept`."""

    tried: list[Trajectory]
    """All trajectories that were rolled out."""
    kept: list[Trajectory]
    """The trajectories that the update uses."""
    rounds: int
    """Number of rounds of rollouts."""


def sample_groups(
    roll_out: Callable[[int], list[Trajectory]], *, groups: int, group_size: int, max_rounds: int
) -> Sample:
    """Roll out groups until enough of them have trajectories of different returns.

    With more than one round, groups of equal returns are dropped (DAPO, arXiv 2503.14476, eq. 11), and so are
    surplus groups of the last round. If no group has different returns, the first round is kept.

    Args:
        roll_out: returns the trajectories of the round with this number, group by group.
        groups: number of groups that the update needs.
        group_size: number of trajectories per group.
        max_rounds: largest number of rounds; 1 keeps all groups.
    """
    tried = roll_out(0)
    if max_rounds == 1:
        return Sample(tried, _whole(tried), 1)
    kept_groups = _with_different_returns(tried, group_size)
    rounds = 1
    while len(kept_groups) < groups and rounds < max_rounds:
        # A task may be drawn again in another round; its rollouts are then a different group.
        again = [replace(trajectory, round=rounds) for trajectory in roll_out(rounds)]
        tried = tried + again
        kept_groups += _with_different_returns(again, group_size)
        rounds += 1
    kept = [trajectory for group in kept_groups[:groups] for trajectory in group]
    return Sample(tried, kept or _whole(tried[: groups * group_size]), rounds)


def _whole(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    return [trajectory for trajectory in trajectories if trajectory.failure is None]


def _with_different_returns(trajectories: list[Trajectory], group_size: int) -> list[list[Trajectory]]:
    """The groups with different returns, without their failed trajectories."""
    kept = []
    for start in range(0, len(trajectories), group_size):
        group = _whole(trajectories[start : start + group_size])
        if not sums_are_equal([trajectory.rewards for trajectory in group]):
            kept.append(group)
    return kept
