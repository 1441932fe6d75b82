"""Who is compared with whom: sizes of the groups of each level, and how much a state key leaves untold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.groups import group_sizes, iterate_level_groups
from hgpo.steps import StepTable


@dataclass(frozen=True)
class LevelStatistics:
    """The groups of one level."""

    level: int
    """k: same state and the same k states before it."""
    groups: int
    """How many groups there are, those of one row included."""
    mean_size: float
    """Σ over groups of their rows / groups."""
    largest: int
    """Rows of the largest group."""
    peer_share: float
    """Share of all rows that share their group with another row."""
    other_trajectory_share: float
    """Share of all rows that share their group with a row of another trajectory."""


def level_statistics(steps: StepTable, history_length: int) -> list[LevelStatistics]:
    """Statistics of the levels 0 … K of a table with rows."""
    statistics = []
    for level, groups in enumerate(iterate_level_groups(steps, history_length)):
        sizes = group_sizes(groups)
        count = int(groups.max(initial=-1)) + 1
        members = int((groups >= 0).sum())
        statistics.append(
            LevelStatistics(
                level=level,
                groups=count,
                mean_size=members / count if count else 0.0,
                largest=int(sizes.max(initial=0)),
                peer_share=float(np.mean(sizes >= 2)),
                other_trajectory_share=float(np.mean(_kinds_met(groups, steps.trajectory_code) >= 2)),
            )
        )
    return statistics


def aliased_share(steps: StepTable, truth: StepTable) -> float:
    """Share of the rows whose state key stands, within their task, for more than one true state.

    Args:
        steps: the rows with the keys in question.
        truth: the same rows in the same order, with keys that tell every state apart.

    Raises:
        ValueError: if the tables are not of the same steps.
    """
    if len(steps) != len(truth) or not np.array_equal(steps.step_index, truth.step_index):
        raise ValueError("both tables must hold the same steps in the same order")
    groups = next(iterate_level_groups(steps, 0))
    return float(np.mean(_kinds_met(groups, truth.state_code) >= 2))


def _kinds_met(groups: NDArray[np.int64], kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many different kinds each row's group has; 0 for a row in no group."""
    pairs = np.unique(np.stack([groups, kinds]), axis=1)
    met = np.bincount(pairs[0] + 1)[groups + 1]
    met[groups < 0] = 0
    return met
