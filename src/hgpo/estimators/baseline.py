"""The group baseline: a return minus the mean of its group, over the group's standard deviation.

The one place where a group's mean, standard deviation, degrees of freedom and ε are decided.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Normalization = Literal["mean_std", "mean"]
"""What a return's distance from the group mean is divided by: the standard deviation, or nothing."""

Statistics = Literal["trajectories", "rows"]
"""What the mean and standard deviation of a task group run over: one value per trajectory, or one per row."""

Ddof = Literal[0, 1]
"""The standard deviation divides by (group size − ddof): 0 is the population's, 1 Bessel's."""

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
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Advantages of the rows over their groups.

        A = (R − mean(G)) / (std(G) + ε)      "mean_std"
        A =  R − mean(G)                      "mean"

    A row alone in its group, or in a group whose returns are all equal, gets exactly 0.

    Args:
        returns: Shape (rows,).
        groups: Shape (rows,), dense ids; −1 for a row in no group.
        normalization: Which of the two.
        epsilon: ε, beside the standard deviation, in units of return.
        ddof: 0 for the population's standard deviation, 1 for Bessel's.
        sample: Shape (rows,), the rows that mean, standard deviation and the comparison of returns run over;
            each group holds at least one. All rows if None.

    Returns:
        The advantages and whether the row was compared, i.e. its group has different returns; both (rows,).
    """
    # Rows without a peer drop out first: deep levels are mostly such rows, and need no statistics.
    rows, ids, size = _with_peers(groups, sample)
    values = returns[rows]
    in_sample = slice(None) if sample is None else sample[rows]
    sampled_ids, sampled_values = ids[in_sample], values[in_sample]

    lowest, highest = np.full(len(size), np.inf), np.full(len(size), -np.inf)
    np.minimum.at(lowest, sampled_ids, sampled_values)
    np.maximum.at(highest, sampled_ids, sampled_values)
    rounding = ROUNDING * np.maximum(-lowest, highest)
    different = (highest - lowest > rounding)[ids]

    # The mean is taken above the group's lowest return: it loses no digits to a large common part.
    mean = lowest + np.bincount(sampled_ids, sampled_values - lowest[sampled_ids], len(size)) / size
    deviations = values - mean[ids]
    deviations[~different | (np.abs(deviations) <= rounding[ids])] = 0.0
    if normalization == "mean_std":
        squares = np.square(deviations[in_sample])
        std = np.sqrt(np.bincount(sampled_ids, squares, len(size)) / (size - ddof))
        np.divide(deviations, std[ids] + epsilon, out=deviations, where=different)

    advantages, compared = np.zeros(len(returns)), np.zeros(len(returns), np.bool_)
    advantages[rows], compared[rows] = deviations, different
    return advantages, compared


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
