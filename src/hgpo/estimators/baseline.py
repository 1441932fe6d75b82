"""The group baseline: a return minus the mean of its group, over the group's standard deviation.

The one place where a group's mean, standard deviation, degrees of freedom and ε are decided.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

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

ROUNDING = 1e-12
"""Two returns count as equal when they differ by no more than this share of the largest in the group.

float64 sums of hundreds of rewards stay well below it, and no reward is defined to twelve digits. Without it
the residue of a rounding, divided by ε, could pass for an advantage."""


def group_advantages(
    returns: NDArray[np.float64],
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
    is another gets exactly 0.

    Args:
        returns: Shape (rows,).
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
    values = returns[rows]
    in_sample = slice(None) if sample is None else sample[rows]
    sampled_ids, sampled_values = ids[in_sample], values[in_sample]

    lowest, highest = _extremes(sampled_values, sampled_ids, len(size))
    rounding = ROUNDING * np.maximum(-lowest, highest)
    # Sums are taken above the group's lowest return: they lose no digits to a large common part.
    total = np.bincount(sampled_ids, sampled_values - lowest[sampled_ids], len(size)).astype(np.float64)
    mean = lowest + total / size
    if part is None:
        different = (highest - lowest > rounding)[ids]
        deviations = values - mean[ids]
    else:
        others = _Others(values, ids, part[rows], in_sample, lowest)
        different = others.differ_by_more_than(rounding[ids])
        deviations = values - others.mean(total, size)
    deviations[~different | (np.abs(deviations) <= rounding[ids])] = 0.0
    if normalization == "mean_std":
        squares = np.square(sampled_values - mean[sampled_ids])
        std = np.sqrt(np.bincount(sampled_ids, squares, len(size)) / (size - ddof))
        np.divide(deviations, std[ids] + epsilon, out=deviations, where=different)

    advantages, compared = np.zeros(len(returns)), np.zeros(len(returns), np.bool_)
    advantages[rows], compared[rows] = deviations, different
    return advantages, compared


def parts(steps: StepTable, peers: Peers) -> NDArray[np.int64] | None:
    """The parts that `group_advantages` leaves out of one another's mean, so that `peers` remain."""
    if peers == "all":
        return None
    return np.arange(len(steps)) if peers == "others" else steps.trajectory_code


class _Others:
    """What of a row's group is not of the row's own part: its mean, lowest and highest return."""

    def __init__(
        self,
        values: NDArray[np.float64],
        ids: NDArray[np.int64],
        part: NDArray[np.int64],
        in_sample: NDArray[np.bool_] | slice,
        lowest: NDArray[np.float64],
    ) -> None:
        # A cell is what one part has of one group.
        pairs, self.cell = np.unique(ids * (part.max(initial=0) + 1) + part, return_inverse=True)
        self.values, self.ids, self.lowest = values, ids, lowest
        self.group = np.empty(len(pairs), np.int64)
        self.group[self.cell] = ids
        cell, sampled = self.cell[in_sample], values[in_sample]
        self.size = np.bincount(cell, minlength=len(pairs))
        self.sum = np.bincount(cell, sampled - lowest[ids[in_sample]], len(pairs))
        self.low, self.high = _extremes(sampled, cell, len(pairs))

    def mean(self, total: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of each row's others, from the groups' sums above their lowest return, and their sizes."""
        sums = (total[self.group] - self.sum)[self.cell]
        count = (size[self.group] - self.size)[self.cell]
        return self.lowest[self.ids] + sums / np.maximum(count, 1)

    def differ_by_more_than(self, rounding: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether one of a row's others has a return that is farther from the row's own."""
        low = self._lowest_elsewhere(self.low)[self.cell]
        high = -self._lowest_elsewhere(-self.high)[self.cell]
        # Where there are no others low is ∞ and high −∞, and neither is farther.
        return (self.values - low > rounding) | (high - self.values > rounding)

    def _lowest_elsewhere(self, low: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each cell: the lowest of `low` over the other cells of its group."""
        groups = len(self.lowest)
        first, second = np.full(groups, np.inf), np.full(groups, np.inf)
        np.minimum.at(first, self.group, low)
        holder = np.empty(groups, np.int64)
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
