"""Which rows are compared with each other: the levels of an estimator, from which advantages are computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.leave_one_out import OtherBlocks
from hgpo.groups import count_levels, iterate_level_groups
from hgpo.near_states import merge_similar
from hgpo.steps import StepTable


@dataclass(frozen=True, eq=False)
class Level:
    """One comparison: the return of a row against the mean return of its peers, the rows of its group."""

    name: str
    """Short and without spaces, because metric names end in it: "0", "1", "episode", "task", "batch"."""
    meaning: str
    """What the rows of a group have in common, e.g. "the same state"."""
    groups: NDArray[np.int64]
    """Shape (rows,), dense ids; −1 for a row that is not compared at this level."""
    sample: NDArray[np.bool_] | None = None
    """Shape (rows,), mask of the rows from which a group's mean and standard deviation are computed; at least
    one per group. All rows if None."""
    blocks: NDArray[np.int64] | None = None
    """Shape (rows,), ids of at least 0: rows of the same block, including the row itself, are left out of
    each other's mean. If None nothing is left out, and the row itself is part of the mean."""

    @cached_property
    def members(self) -> Members:
        """The rows of groups with at least two sampled rows."""
        bucket = self.groups + 1  # bucket 0 takes the rows without a group
        buckets = int(bucket.max(initial=0)) + 1
        size = np.bincount(bucket if self.sample is None else bucket[self.sample], minlength=buckets)
        size[0] = 0
        large = size >= 2
        rows = np.flatnonzero(large[bucket])
        number = np.cumsum(large) - 1
        groups = number[bucket[rows]]
        sample = slice(None) if self.sample is None else self.sample[rows]
        others = None if self.blocks is None else OtherBlocks(groups, self.blocks[rows], sample)
        return Members(rows, groups, size[large], sample, others)

    def peer_counts(self) -> NDArray[np.int64]:
        """Number of peers of each row, shape (rows,): sampled rows of its group except the row itself.

        If one row per trajectory is sampled, it represents all rows of its trajectory. A row without a peer
        has the advantage 0 at this level.
        """
        members = self.members
        counts = np.zeros(len(self.groups), np.int64)
        if members.others is None:
            counts[members.rows] = members.size[members.groups] - 1
        else:
            counts[members.rows] = members.others.counts()
        return counts


@dataclass(frozen=True, eq=False)
class Members:
    """Rows in groups of more than one row: only these are needed for a level's statistics."""

    rows: NDArray[np.int64]
    """Their indices in the table, ascending; all other arrays follow this order."""
    groups: NDArray[np.int64]
    """The group of each of these rows, as dense ids."""
    size: NDArray[np.int64]
    """Number of sampled rows of each group."""
    sample: NDArray[np.bool_] | slice
    """The sampled rows among them, as an index."""
    others: OtherBlocks | None
    """Statistics of the rows outside each row's block, if the level has blocks."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The rows that an estimator compares in a step table, and their groups."""

    returns: NDArray[np.float64]
    """Shape (rows,): the return of each row, penalties included, in units of reward. If there are levels of
    steps as well, a level of whole trajectories compares undiscounted sums instead."""
    levels: tuple[Level, ...]
    """The levels, shallowest first. Empty if rows are not compared with one another."""
    pooled: bool = False
    """Whether returns are pooled along chains of groups. A row's advantage then depends on every trajectory
    that is connected to it by a chain of shared states, not only on those in its own groups."""


def state_levels(
    steps: StepTable,
    history_length: int,
    *,
    start_token: bool = False,
    similarity: float | None = None,
    blocks: NDArray[np.int64] | None = None,
    level_keys: Sequence[str] | None = None,
) -> Iterator[Level]:
    """The levels of steps in the same state, yielded one by one so that memory does not grow.

    Args:
        steps: The step table.
        history_length: K, the number of previous states compared at the deepest level.
        start_token: See `hgpo.groups.level_groups`.
        similarity: treat observations at least this similar as the same state; see `hgpo.near_states`.
        blocks: See `Level`.
        level_keys: see `hgpo.groups.level_groups`; J keys add J − 1 levels.
    """
    if similarity is not None:
        steps = merge_similar(steps, similarity)
    keys = count_levels(0, level_keys)
    for level, groups in enumerate(
        iterate_level_groups(steps, history_length, start_token=start_token, level_keys=level_keys)
    ):
        same = "state" if level_keys is None else " and ".join(level_keys[: level + 1])
        past = max(0, level + 1 - keys)
        before = {0: "", 1: " and the state before it"}.get(past, f" and the {past} states before it")
        yield Level(str(level), f"the same {same}{before}", groups, blocks=blocks)


def whole_batch(steps: StepTable) -> Level:
    """The level at which every row of the table is compared with every other."""
    return Level("batch", "any step of the batch", np.zeros(len(steps), np.int64))


def whole_task(steps: StepTable) -> Level:
    """The level at which every row is compared with every other of its task."""
    return Level("task", "any step of the task", steps.task_code)
