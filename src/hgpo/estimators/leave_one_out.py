"""Leave-one-out by blocks: the peers of a row are the rows of its group outside the row's own block."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hgpo.steps import StepTable

Peers = Literal["all", "others", "other_trajectories"]
"""The rows whose mean a return is compared with: the whole group, including the row; the other rows
(leave-one-out); or only rows of other trajectories, so that a trajectory is not compared with itself."""


def blocks_of(steps: StepTable, peers: Peers) -> NDArray[np.int64] | None:
    """The block of each row, shape (rows,), such that its peers are the rows outside it; None for "all"."""
    if peers == "all":
        return None
    return np.arange(len(steps)) if peers == "others" else steps.trajectory_code


class OtherBlocks:
    """For each row, statistics of the sampled rows of its group that are outside its own block."""

    def __init__(
        self, groups: NDArray[np.int64], blocks: NDArray[np.int64], sample: NDArray[np.bool_] | slice
    ) -> None:
        """Count the rows of each block in each group.

        Args:
            groups: Shape (rows,), dense ids.
            blocks: Shape (rows,), ids of at least 0.
            sample: The rows that statistics run over, as an index.
        """
        # A cell is the part of a group that belongs to one block.
        pairs, self.cell = np.unique(groups * (blocks.max(initial=0) + 1) + blocks, return_inverse=True)
        self.sample, self.cells, self.groups = sample, len(pairs), int(groups.max(initial=-1)) + 1
        self.group = np.empty(self.cells, np.int64)
        self.group[self.cell] = groups
        self.count = self._outside(np.ones(len(groups)))

    def counts(self) -> NDArray[np.int64]:
        """Number of rows, shape (rows,)."""
        return self.count.astype(np.int64)[self.cell]

    def mean(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of `amounts`, shape (rows,); 0 where there are no rows."""
        return (self._outside(amounts) / np.maximum(self.count, 1.0))[self.cell]

    def differ_from(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether at least one of them has a value that differs from the row's own, shape (rows,)."""
        low, high = extremes(values[self.sample], self.cell[self.sample], self.cells)
        # Without rows the lowest is ∞ and the highest −∞.
        lowest, highest = self._lowest_outside(low), -self._lowest_outside(-high)
        return (lowest[self.cell] < values) | (highest[self.cell] > values)

    def _outside(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """For each cell: the sum over the other cells of its group."""
        own = np.bincount(self.cell[self.sample], amounts[self.sample], self.cells)
        whole = np.bincount(self.group, own, self.groups).astype(np.float64)
        return whole[self.group] - own

    def _lowest_outside(self, low: NDArray[np.float64]) -> NDArray[np.float64]:
        """For each cell: the lowest of `low` over the other cells of its group."""
        first, second = np.full(self.groups, np.inf), np.full(self.groups, np.inf)
        np.minimum.at(first, self.group, low)
        holder = np.empty(self.groups, np.int64)
        cells = np.flatnonzero(low == first[self.group])
        holder[self.group[cells]] = cells
        is_holder = holder[self.group] == np.arange(len(low))
        np.minimum.at(second, self.group[~is_holder], low[~is_holder])
        return np.where(is_holder, second[self.group], first[self.group])


def extremes(
    values: NDArray[np.float64], ids: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest value of each id; ∞ and −∞ for an id without values."""
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(lowest, ids, values)
    np.maximum.at(highest, ids, values)
    return lowest, highest
