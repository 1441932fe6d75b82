"""Rounding: which numbers count as equal because they may represent the same exact value.

A return has a bound on its rounding error. The bound depends on the size of the rewards that were summed, not
on the size of their sum, which may be near 0, and on the precision of the rewards. Only this module decides
which values are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.columns import precisions

ARITHMETIC = 1e-12
"""Relative rounding error, in units of the rewards' sizes, of float64 sums of thousands of rewards."""

PRECISION = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}
"""Largest relative rounding error when a number is stored in a type: half a unit in the last place."""

_SHORT = np.uint32(0b111)
"""The last three of float32's 24 binary digits: if they are 0, a number may be exact."""


def kept_rounding(values: NDArray[np.float64], given: Any) -> NDArray[np.float64] | None:
    """Rounding error of each value of a column from being stored in the column's type.

    A column of whole numbers is exact, unless one is so large that its type cannot represent halves there.
    Values that are float64 but were float32 before, as from `tensor.tolist()`, are recognised by their
    digits: they are float32 numbers, and some of them need that type's last digits.

    Args:
        values: Shape (rows,), finite.
        given: The column from which they were made: its type, or those of its elements, give the precision.

    Returns:
        Shape (rows,), or None if all values have float64 precision.
    """
    size = np.abs(values)
    whole = values == np.rint(values)
    largest = size.max(initial=0.0)
    if whole.all() and largest * max(PRECISION.values()) <= 0.5:
        return None
    share = max((PRECISION.get(name, 0.0) for name in precisions(given)), default=0.0)
    if whole.all() and largest * share <= 0.5:
        return None
    if share:
        return share * size
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    was_narrow = narrow == values
    if not np.any(was_narrow & ~whole & (narrow.view(np.uint32) & _SHORT != 0)):
        return None
    return np.where(was_narrow, PRECISION["float32"] * size, 0.0)


def sums_are_equal(amounts: Sequence[Sequence[float]]) -> bool:
    """Whether the sums of several lists of amounts are equal up to rounding."""
    everything = [amount for own in amounts for amount in own]
    values = np.array(everything, np.float64)
    kept = kept_rounding(values, everything)
    off = ARITHMETIC * np.abs(values) + (0.0 if kept is None else kept)
    number = np.repeat(np.arange(len(amounts)), np.array([len(own) for own in amounts], np.int64))
    sums, rounding = (np.bincount(number, weights, len(amounts)).astype(float) for weights in (values, off))
    return bool(np.max(sums - rounding, initial=-np.inf) <= np.min(sums + rounding, initial=np.inf))


def merge_equal(
    values: NDArray[np.float64], rounding: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The values, where those of a group that are equal up to rounding are made exactly equal.

    Values may represent one exact value if the intervals value ± rounding have a common point. In order of
    size, nearest values are merged first, as long as this holds: values that differ by more than their
    rounding are never joined through others between them. Merged values get the midpoint of their intervals'
    intersection.

    Args:
        values: Shape (rows,).
        rounding: Shape (rows,), the largest rounding error of each.
        groups: Shape (rows,), dense ids; values of different groups are left alone.
    """
    # In most tables no two values are this near to each other, which a single sort shows.
    in_order = np.sort(values)
    gaps = np.diff(in_order)
    reach = 2.0 * rounding.max(initial=0.0)
    if not np.any((gaps > 0.0) & (gaps <= reach)):
        return values
    order = np.argsort(values)
    near = np.concatenate([[False], gaps <= reach])
    near[:-1] |= near[1:]
    rows = order[near]
    rows = rows[np.lexsort((values[rows], groups[rows]))]
    return _merged(values, rounding, groups, rows)


def _merged(
    values: NDArray[np.float64],
    rounding: NDArray[np.float64],
    groups: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The result of `merge_equal`; `rows` are those that may change, sorted by group and value."""
    value, group = values[rows], groups[rows]
    is_new = np.concatenate([[True], (value[1:] != value[:-1]) | (group[1:] != group[:-1])])
    starts = np.flatnonzero(is_new)
    off = np.minimum.reduceat(rounding[rows], starts)
    first = last = value[starts]
    low, high, group = first - off, first + off, group[starts]
    # For each different value, the index of its cluster.
    cluster = np.arange(len(starts))
    while True:
        meet = (group[1:] == group[:-1]) & (np.maximum(low[1:], low[:-1]) <= np.minimum(high[1:], high[:-1]))
        if not meet.any():
            break
        width = np.where(meet, last[1:] - first[:-1], np.inf)
        join = (
            meet
            & (width < np.concatenate([[np.inf], width[:-1]]))
            & (width <= np.concatenate([width[1:], [np.inf]]))
        )
        kept = np.concatenate([[True], ~join])
        heads = np.flatnonzero(kept)
        cluster = (np.cumsum(kept) - 1)[cluster]
        low, high = np.maximum.reduceat(low, heads), np.minimum.reduceat(high, heads)
        first, last, group = first[heads], np.maximum.reduceat(last, heads), group[heads]
    middle = np.where(first == last, first, (low + high) / 2.0)
    result = values.copy()
    result[rows] = middle[cluster][np.cumsum(is_new) - 1]
    return result
