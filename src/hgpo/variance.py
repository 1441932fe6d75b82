"""Components of variance: how much returns vary between groups, and how much within them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NestedVariance:
    """The two components for groups within larger groups, in units of return squared."""

    between: float
    """τ²: variance of the inner groups' expected returns within their outer group."""
    within: float
    """σ²: variance of the returns within an inner group."""


def nested_variance(
    values: NDArray[np.float64], outer: NDArray[np.int64], inner: NDArray[np.int64]
) -> NestedVariance:
    """Components of variance by the method of moments, for groups of unequal sizes.

    Each value is modelled as  m + b + e,  where m is the expectation of its outer group, b ~ (0, τ²) is drawn
    once per inner group, and e ~ (0, σ²) once per value. With n values in c inner groups of n_j values each,
    and p outer groups of n_i values each:

        σ² = Σ (v − mean_j)² / (n − c)
        τ² = max(0, (Σ_j n_j (mean_j − mean_i)² − (c − p) σ²) / (n − Σ_i Σ_{j in i} n_j² / n_i))

    Both numerators are sums of squares whose expectations are linear in τ² and σ² (analysis of variance for
    unbalanced nested designs; Searle, Casella & McCulloch, Variance Components, 1992, ch. 3).

    Args:
        values: Shape (rows,).
        outer: Shape (rows,), dense ids of the larger groups.
        inner: Shape (rows,), dense ids of groups within the larger ones; −1 leaves the row out.

    Returns:
        σ² is 0 if no inner group has two values, and τ² is 0 if no outer group has two inner ones.
    """
    kept = inner >= 0
    values, outer, inner = values[kept], outer[kept], inner[kept]
    size, mean = _means(values, inner)
    if not len(size):
        return NestedVariance(0.0, 0.0)
    outer_of = np.zeros(len(size), np.int64)
    outer_of[inner] = outer
    outer_size, outer_mean = _means(values, outer)
    freedom_within = len(values) - np.count_nonzero(size)
    squares_within = np.square(values - mean[inner]).sum()
    within = squares_within / freedom_within if freedom_within else 0.0
    freedom_between = np.count_nonzero(size) - np.count_nonzero(outer_size)
    squares_between = (size * np.square(mean - outer_mean[outer_of])).sum()
    shared = np.bincount(outer_of, np.square(size.astype(np.float64)), len(outer_size))
    spread = len(values) - (shared / np.maximum(outer_size, 1)).sum()
    between = (squares_between - freedom_between * within) / spread if freedom_between else 0.0
    return NestedVariance(max(0.0, float(between)), float(within))


def _means(
    values: NDArray[np.float64], ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Size and mean of every group; 0 and 0 for ids that do not occur.

    Sums are of differences from one of the group's values, so that the mean of equal values is exact.
    """
    size = np.bincount(ids)
    one = np.zeros(len(size))
    one[ids] = values
    return size, one + np.bincount(ids, values - one[ids]) / np.maximum(size, 1)
