"""The group baseline: a return minus the mean of its group, over the group's standard deviation.

The one place where a group's mean, standard deviation, degrees of freedom and ε are decided.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hgpo.returns import Returns
from hgpo.rounding import ARITHMETIC
from hgpo.steps import StepTable

Normalization = Literal["mean_std", "mean"]
"""What a return's distance from the group mean is divided by: the standard deviation, or nothing."""

Statistics = Literal["trajectories", "rows"]
"""What the mean and standard deviation of a task group run over: one value per trajectory, or one per row."""

Ddof = Literal[0, 1]
"""The standard deviation divides by (group size − ddof): 0 is the population's, 1 Bessel's."""

Peers = Literal["all", "others", "other_trajectories"]
"""Whose mean a return is compared with: that of the whole group, its own included; of the other rows
(leave-one-out); of the rows of other trajectories, as a second visit is no second opinion."""


def group_advantages(
    returns: Returns,
    groups: NDArray[np.int64],
    *,
    normalization: Normalization,
    epsilon: float,
    ddof: Ddof,
    sample: NDArray[np.bool_] | None = None,
    part: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Advantages of the rows over their groups.

        A = (R − mean(P)) / (std(G) + ε)      "mean_std"
        A =  R − mean(P)                      "mean"

    P, the row's peers, is its whole group G, or what of it is not of the row's own part. The standard
    deviation is always the whole group's: of a single peer there is none. A row without a peer whose return
    is another gets exactly 0, and so does a row that lies on the mean of its peers but for rounding.

    Args:
        returns: Of the rows; those of a group that are equal but for rounding are so bit for bit.
        groups: Shape (rows,), dense ids; −1 for a row in no group.
        normalization: Which of the two.
        epsilon: ε, beside the standard deviation, in units of return.
        ddof: 0 for the population's standard deviation, 1 for Bessel's.
        sample: Shape (rows,), the rows that mean, standard deviation and the comparison of returns run over;
            each group holds at least one. All rows if None.
        part: Shape (rows,), dense ids; rows of one part are left out of one another's mean, and so is the
            row itself. Nothing is left out if None.

    Returns:
        The advantages and whether the row was compared, i.e. has a peer with another return; both (rows,).
    """
    # Rows without a peer drop out first: deep levels are mostly such rows, and need no statistics.
    rows, ids, size = _with_peers(groups, sample)
    in_sample = slice(None) if sample is None else sample[rows]
    sampled_ids = ids[in_sample]
    lowest, highest = _extremes(returns.values[rows][in_sample], sampled_ids, len(size))
    # Sums are taken above the group's lowest return: they lose no digits to a large common part.
    above = returns.values[rows] - lowest[ids]

    def mean_of_group(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.bincount(sampled_ids, amounts[in_sample], len(size)) / size)[ids]

    deviations = above - mean_of_group(above)
    std = None
    if normalization == "mean_std":
        squares = np.bincount(sampled_ids, np.square(deviations[in_sample]), len(size))
        std = np.sqrt(squares / (size - ddof))
    different, mean_of_peers = (highest > lowest)[ids], mean_of_group
    if part is not None:
        others = _Others(ids, part[rows], in_sample)
        different, mean_of_peers = others.differ_from(above), others.mean
        deviations = above - mean_of_peers(above)
    deviations[~different] = 0.0
    # Few rows are so near to a mean; only for them is it asked how far the mean itself may be off.
    reach = 2.0 * (returns.rounding.max(initial=0.0) + ARITHMETIC * above.max(initial=0.0))
    near = np.abs(deviations) <= reach
    if np.any(near & different):
        rounding = returns.rounding[rows]
        off = rounding + mean_of_peers(rounding + ARITHMETIC * above)
        deviations[near & (np.abs(deviations) <= off)] = 0.0
    if std is not None:
        np.divide(deviations, std[ids] + epsilon, out=deviations, where=different)

    advantages, compared = np.zeros(len(groups)), np.zeros(len(groups), np.bool_)
    advantages[rows], compared[rows] = deviations, different
    return advantages, compared


def parts(steps: StepTable, peers: Peers) -> NDArray[np.int64] | None:
    """The parts that `group_advantages` leaves out of one another's mean, so that `peers` remain."""
    if peers == "all":
        return None
    return np.arange(len(steps)) if peers == "others" else steps.trajectory_code


class _Others:
    """What of a row's group is not of the row's own part."""

    def __init__(
        self, ids: NDArray[np.int64], part: NDArray[np.int64], in_sample: NDArray[np.bool_] | slice
    ) -> None:
        # A cell is what one part has of one group.
        pairs, self.cell = np.unique(ids * (part.max(initial=0) + 1) + part, return_inverse=True)
        self.in_sample, self.cells, self.groups = in_sample, len(pairs), int(ids.max(initial=-1)) + 1
        self.group = np.empty(self.cells, np.int64)
        self.group[self.cell] = ids
        self.count = self._elsewhere(np.ones(len(ids)))

    def mean(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each row's others; 0 where there are none."""
        return (self._elsewhere(amounts) / np.maximum(self.count, 1.0))[self.cell]

    def differ_from(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether one of a row's others has a value that is not the row's own."""
        low, high = _extremes(values[self.in_sample], self.cell[self.in_sample], self.cells)
        # Where there are no others the lowest is ∞ and the highest −∞.
        lowest, highest = self._lowest_elsewhere(low), -self._lowest_elsewhere(-high)
        return (lowest[self.cell] < values) | (highest[self.cell] > values)

    def _elsewhere(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each cell: the sum over the other cells of its group."""
        own = np.bincount(self.cell[self.in_sample], amounts[self.in_sample], self.cells)
        whole = np.bincount(self.group, own, self.groups).astype(np.float64)
        return whole[self.group] - own

    def _lowest_elsewhere(self, low: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each cell: the lowest of `low` over the other cells of its group."""
        first, second = np.full(self.groups, np.inf), np.full(self.groups, np.inf)
        np.minimum.at(first, self.group, low)
        holder = np.empty(self.groups, np.int64)
        cells = np.flatnonzero(low == first[self.group])
        holder[self.group[cells]] = cells
        is_holder = holder[self.group] == np.arange(len(low))
        np.minimum.at(second, self.group[~is_holder], low[~is_holder])
        return np.where(is_holder, second[self.group], first[self.group])


def _extremes(
    values: NDArray[np.float64], ids: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest value of each id; ∞ and −∞ where there is none."""
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(lowest, ids, values)
    np.maximum.at(highest, ids, values)
    return lowest, highest


def _with_peers(
    groups: NDArray[np.int64], sample: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows of groups with at least two sampled rows; the numbers of these groups, by row; their sizes."""
    bucket = groups + 1  # bucket 0 takes the rows in no group
    buckets = int(bucket.max(initial=0)) + 1
    size = np.bincount(bucket if sample is None else bucket[sample], minlength=buckets)
    size[0] = 0
    peered = size >= 2
    rows = np.flatnonzero(peered[bucket])
    number = np.cumsum(peered) - 1
    return rows, number[bucket[rows]], size[peered]


def require_one_of(name: str, value: Any, allowed: Any) -> None:
    """Raise an error that lists the allowed values unless `value` is one of the Literal `allowed`."""
    if value not in get_args(allowed):
        raise ValueError(f"{name} is {value!r}; choose from {', '.join(map(repr, get_args(allowed)))}")


def require_non_negative(name: str, value: float, *, infinite: bool = False) -> None:
    """Raise an error unless `value` is a number of at least 0, finite unless `infinite`."""
    if not (value >= 0 and (infinite or math.isfinite(value))):
        raise ValueError(f"{name} is {value!r}; give a {'' if infinite else 'finite '}number of at least 0")
