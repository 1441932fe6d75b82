"""The group baseline: a return minus the mean of its group, divided by the group's standard deviation.

Mean, standard deviation, degrees of freedom and ε of a group are defined only here.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.comparison import Level
from hgpo.estimators.leave_one_out import extremes
from hgpo.returns import Returns
from hgpo.rounding import ARITHMETIC

Normalization = Literal["mean_std", "mean"]
"""The denominator of a return's distance from the group mean: the standard deviation, or 1."""

Statistics = Literal["trajectories", "rows"]
"""Whether the mean and standard deviation of a task group have one value per trajectory or one per row."""

Ddof = Literal[0, 1]
"""The standard deviation divides by (group size − ddof): 0 is the population's, 1 Bessel's."""


def group_advantages(
    returns: Returns, level: Level, *, normalization: Normalization, epsilon: float, ddof: Ddof
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Advantages of the rows at a level.

        A = (R − mean(P)) / (std(G) + ε)      "mean_std"
        A =  R − mean(P)                      "mean"

    P is the row's whole group G, or the part of it outside the row's block. The standard deviation is always
    the whole group's, because a single peer has none. A row without a peer whose return differs gets exactly
    0, and so does a row whose return equals the mean of its peers up to rounding.

    Args:
        returns: the rows' returns; those of a group that are equal up to rounding must be exactly equal.
        level: the groups, the rows from which mean and standard deviation are computed, and the blocks.
        normalization: "mean_std" or "mean".
        epsilon: ε added to the standard deviation, in units of return.
        ddof: 0 for the population's standard deviation, 1 for Bessel's.

    Returns:
        The advantages and whether the row was compared, i.e. has a peer with another return; both (rows,).
    """
    # Rows without a peer are left out: at deep levels most rows have none, and need no statistics.
    members = level.members
    rows, groups, size, sample = members.rows, members.groups, members.size, members.sample
    sampled_groups = groups[sample]
    lowest, highest = extremes(returns.values[rows][sample], sampled_groups, len(size))
    # Sums are of differences from the group's lowest return, so that no digits are lost to a large offset.
    above = returns.values[rows] - lowest[groups]

    def mean_of_group(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.bincount(sampled_groups, amounts[sample], len(size)) / size)[groups]

    deviations = above - mean_of_group(above)
    std = None
    if normalization == "mean_std":
        squares = np.bincount(sampled_groups, np.square(deviations[sample]), len(size))
        std = np.sqrt(squares / (size - ddof))
    different, mean_of_peers = (highest > lowest)[groups], mean_of_group
    if members.others is not None:
        different, mean_of_peers = members.others.differ_from(above), members.others.mean
        deviations = above - mean_of_peers(above)
    deviations[~different] = 0.0
    # The rounding error of the mean is computed only for the few rows that are this near to it.
    reach = 2.0 * (returns.rounding.max(initial=0.0) + ARITHMETIC * above.max(initial=0.0))
    near = np.abs(deviations) <= reach
    if np.any(near & different):
        rounding = returns.rounding[rows]
        off = rounding + mean_of_peers(rounding + ARITHMETIC * above)
        deviations[near & (np.abs(deviations) <= off)] = 0.0
    if std is not None:
        np.divide(deviations, std[groups] + epsilon, out=deviations, where=different)

    advantages, compared = np.zeros(len(level.groups)), np.zeros(len(level.groups), np.bool_)
    advantages[rows], compared[rows] = deviations, different
    return advantages, compared


def require_one_of(name: str, value: Any, allowed: Any) -> None:
    """Raise an error that lists the allowed values unless `value` is one of the Literal `allowed`."""
    if value not in get_args(allowed):
        raise ValueError(f"{name} is {value!r}; choose from {', '.join(map(repr, get_args(allowed)))}")


def require_non_negative(name: str, value: float, *, infinite: bool = False) -> None:
    """Raise an error unless `value` is a number of at least 0, finite unless `infinite`."""
    if not (value >= 0 and (infinite or math.isfinite(value))):
        raise ValueError(f"{name} is {value!r}; give a {'' if infinite else 'finite '}number of at least 0")
