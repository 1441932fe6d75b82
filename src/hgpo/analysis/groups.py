"""Statistics of the groups at each level: their sizes, and how much of the returns' variance they explain."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators import HGPO, Comparison
from hgpo.groups import level_groups
from hgpo.steps import StepTable
from hgpo.variance import nested_variance


@dataclass(frozen=True)
class LevelStatistics:
    """The groups of one level of an estimator."""

    name: str
    """The estimator's name for the level; at HGPO's level "k", rows share a state and k states before it."""
    groups: int
    """Number of groups, including those of one row."""
    sizes: tuple[int, int, int]
    """The median, 90th percentile and maximum of the groups' sizes in rows."""
    peer_fraction: float
    """Fraction of all rows that have a peer, i.e. are compared with another row."""
    other_trajectory_fraction: float
    """Fraction of all rows whose group contains a row of another trajectory."""
    explained: float
    """Fraction of the returns' variance within tasks that lies between this level's groups, over the rows
    that have a peer at this level: 1 − σ²(level) / σ²(task), unbiased; NaN if all returns are equal or no row
    has a peer. It is below 0 if groups contain rows of tasks whose returns differ."""
    gain: float
    """The same fraction of the variance within the groups of the level above; for the first level, within
    tasks."""


@dataclass(frozen=True)
class DepthStatistics:
    """The advantages of HGPO with a given K."""

    advantage_mean: float
    """Mean advantage in units of the advantages' standard deviation."""
    zero_share: float
    """Fraction of the rows whose advantage is exactly 0."""


def level_statistics(steps: StepTable, comparison: Comparison) -> list[LevelStatistics]:
    """Statistics of each level at which an estimator compares the rows of a table.

    Args:
        steps: The step table, with rows.
        comparison: The estimator's `comparison` of this table.
    """
    returns = comparison.returns
    every_level = [steps.task_code, *(level.groups for level in comparison.levels)]
    statistics = []
    for level, (above, groups) in zip(comparison.levels, pairwise(every_level), strict=True):
        has_peer = level.peer_counts() > 0
        compared = np.where(has_peer, groups, -1)
        statistics.append(
            LevelStatistics(
                name=level.name,
                groups=int(groups.max(initial=-1)) + 1,
                sizes=_quantiles(groups),
                peer_fraction=float(np.mean(has_peer)),
                other_trajectory_fraction=float(np.mean(_kinds_met(groups, steps.trajectory_code) >= 2)),
                explained=_explained(returns, steps.task_code, compared),
                gain=_explained(returns, above, compared),
            )
        )
    return statistics


def depth_statistics(steps: StepTable, estimator: HGPO) -> list[DepthStatistics]:
    """Statistics of HGPO's advantages at K = 0, 1, … up to the estimator's own K."""
    statistics = []
    for history_length in range(estimator.history_length + 1):
        advantages = replace(estimator, history_length=history_length)(steps)
        mean = float(advantages.mean() / (advantages.std() or 1.0))
        statistics.append(DepthStatistics(mean, float(np.mean(advantages == 0.0))))
    return statistics


def aliased_share(steps: StepTable, truth: StepTable) -> float:
    """Fraction of the rows whose state key has more than one true state within their task.

    Args:
        steps: the rows with the keys to check.
        truth: the same rows in the same order, with keys that distinguish all states.

    Raises:
        ValueError: if the tables do not have the same steps.
    """
    if len(steps) != len(truth) or not np.array_equal(steps.step_index, truth.step_index):
        raise ValueError("both tables must hold the same steps in the same order")
    groups = level_groups(steps, 0)[0]
    return float(np.mean(_kinds_met(groups, truth.state_code) >= 2))


def _quantiles(groups: NDArray[np.int64]) -> tuple[int, int, int]:
    """The median, the ninth decile and the maximum of the groups' sizes."""
    size = np.bincount(groups[groups >= 0])
    if not len(size):
        return 0, 0, 0
    median, decile, largest = np.quantile(size, [0.5, 0.9, 1.0], method="inverted_cdf")
    return int(median), int(decile), int(largest)


def _explained(returns: NDArray[np.float64], outer: NDArray[np.int64], inner: NDArray[np.int64]) -> float:
    """1 − σ²(inner) / σ²(outer), where σ² is the variance within groups, over the rows in an inner group."""
    kept = inner >= 0
    outer = np.where(kept, outer, -1)
    everyone = np.zeros(len(returns), np.int64)
    before = nested_variance(returns, everyone, outer).within
    after = nested_variance(returns, everyone, inner).within
    return 1.0 - after / before if before > 0.0 else math.nan


def _kinds_met(groups: NDArray[np.int64], kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of different kinds in each row's group; 0 for a row without a group."""
    pairs = np.unique((groups + 1) * (kinds.max(initial=0) + 1) + kinds)
    met = np.bincount(pairs // (kinds.max(initial=0) + 1), minlength=int(groups.max(initial=-1)) + 2)[
        groups + 1
    ]
    met[groups < 0] = 0
    return met
