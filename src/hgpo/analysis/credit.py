"""Whether advantages agree with their comparisons, and with the success of rollouts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators import Comparison, Level
from hgpo.steps import StepTable

RELATIVE_ROUNDING = 1e-9
"""Returns that differ by less than this share of the largest one count as equal."""


def against_comparison(
    steps: StepTable, comparison: Comparison, advantages: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which rows have an advantage with the opposite sign of all their comparisons, [rows].

    A row is compared at each level with the mean of its peers. If it was never above a mean, and at least
    once below one, an advantage above 0 contradicts that; and the other way round. At levels of whole
    trajectories, the sums of rewards are compared as well as the returns, because estimators differ in that.
    Nothing is found for pooled returns, whose advantages depend on more than a row's own groups.
    """
    above, below = np.zeros(len(steps), bool), np.zeros(len(steps), bool)
    if comparison.pooled:
        return above
    totals = np.bincount(steps.trajectory_code, steps.reward)[steps.trajectory_code].astype(np.float64)
    for level in comparison.levels:
        amounts = [comparison.returns]
        if _of_trajectories(level, steps):
            amounts.append(totals)
        for values in amounts:
            difference = _minus_peers(level, values)
            tiny = RELATIVE_ROUNDING * float(np.abs(values).max(initial=0.0))
            above |= difference > tiny
            below |= difference < -tiny
    return ((advantages > 0) & below & ~above) | ((advantages < 0) & above & ~below)


def _of_trajectories(level: Level, steps: StepTable) -> bool:
    """Whether the rows of a trajectory are all in one group."""
    first = np.zeros(int(steps.trajectory_code.max(initial=-1)) + 1, np.int64)
    first[steps.trajectory_code] = level.groups
    return bool((first[steps.trajectory_code] == level.groups).all())


def _minus_peers(level: Level, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value of each row minus the mean of its group or, with blocks, of its peers; 0 without peers."""
    members = level.members
    difference = np.zeros(len(values))
    own = values[members.rows]
    if members.others is None:
        sampled = members.groups[members.sample]
        mean = np.bincount(sampled, own[members.sample], len(members.size)) / members.size
        difference[members.rows] = own - mean[members.groups]
    else:
        difference[members.rows] = np.where(members.others.counts() > 0, own - members.others.mean(own), 0.0)
    return difference


def misordered_pairs(
    task: NDArray[np.int64], won: NDArray[np.bool_], credit: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a won and a lost rollout of one task: how many, and in how many the lost one has more credit.

    Args:
        task: The task of each rollout, [rollouts], integers of at least 0.
        won: Whether it was won, [rollouts].
        credit: Its mean advantage, [rollouts].

    Returns:
        Two counts per task, [tasks]. A pair of equal credit counts as half a misordered one, rounded down.
    """
    tasks = int(task.max(initial=-1)) + 1
    wins = np.bincount(task[won], minlength=tasks)
    losses = np.bincount(task[~won], minlength=tasks)
    # The sum of ranks by credit, of the won rollouts within their task (Mann and Whitney's statistic).
    order = np.lexsort((credit, task))
    ordered, sizes = task[order], np.bincount(task, minlength=tasks)
    starts = np.cumsum(sizes) - sizes
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]) | (credit[order][1:] != credit[order][:-1])])
    tie = np.cumsum(new) - 1
    place = np.arange(len(order)) - starts[ordered] + 1.0
    rank = (np.bincount(tie, place) / np.bincount(tie))[tie] if len(order) else place
    of_wins = np.bincount(ordered[won[order]], rank[won[order]], tasks)
    in_order = of_wins - wins * (wins + 1) / 2
    pairs = wins * losses
    return pairs, np.floor(pairs - in_order).astype(np.int64)
