"""Finds each row's step in its trajectory when rows may have been copied, dropped or reordered.

Without step numbers only the returns contain this information. Most agents' tasks reward only the last
step. Then R_t = γ R_{t+1}, and the returns of a trajectory are …, γ² c, γ c, c. The most frequent ratio of
neighbouring returns is γ, for any order of the rows. If all returns of a trajectory are powers of γ times one
number, two rows with the same state and return are copies, and exponents other than …, 2, 1, 0 mean that rows
are missing or in another order. The order cannot be found if a return is 0 or contains a penalty of its own
row.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PRECISION = 2e-6
"""Relative rounding error of a float32 return that is a sum over some dozens of steps."""
LEAST_DISCOUNT = 0.8
"""Smallest ratio taken as a discount: agents use 0.9 or more, and smaller ratios come from rewards."""


def rank_within(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, the number of earlier rows with the same code."""
    order = np.argsort(codes, kind="stable")
    length = np.bincount(codes)
    rank = np.empty_like(codes)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(length) - length, length)
    return rank


def originals(
    trajectory: NDArray[np.int64], step: NDArray[np.int64], facts: Mapping[str, NDArray[Any]]
) -> NDArray[np.int64]:
    """For each row, the first row of the same step: the row itself, or the row of which it is a copy.

    Args:
        trajectory, step: the trajectory and step number of each row.
        facts: by name, the values in which a copy must equal its original.

    Raises:
        ValueError: Two rows of one step differ in a fact.
    """
    _, first, number = np.unique([trajectory, step], axis=1, return_index=True, return_inverse=True)
    original = first[number.reshape(-1)]
    for name, values in facts.items():
        differs = values != values[original]
        if differs.any():
            row = int(np.argmax(differs))
            raise ValueError(
                f"row {row}: step {step[row]} of its trajectory is given twice, first in row "
                f"{original[row]}, and {name} differs; number the steps of a trajectory 0, 1, …"
            )
    return original


def check_time_order(
    returns: NDArray[np.float64],
    trajectory: NDArray[np.int64],
    state: NDArray[np.int64],
    names: Sequence[Any],
) -> None:
    """Raise an error if a row without a step number is a copy; warn if rows are missing or out of order.

    Args:
        returns: Shape (rows,), returns to go.
        trajectory: Shape (rows,), dense ids.
        state: Shape (rows,), equal for equal states.
        names: the caller's name for each row's trajectory.
    """
    order = np.argsort(trajectory, kind="stable")
    rows_of_each = np.split(order, np.cumsum(np.bincount(trajectory))[:-1])
    discount = _discount([returns[rows] for rows in rows_of_each])
    if discount is None:
        return
    wanted = (
        f", by the discount of {discount:.6g} that the returns show. Without step_index the rows of a "
        "trajectory must be all its steps, each once, in time order: give step_index=, or call this before "
        "rows are copied, dropped or reordered"
    )
    suspicions = []
    for rows in rows_of_each:
        power = _powers(returns[rows], discount)
        if power is None or np.all(np.diff(power) == -1):
            continue
        which = f"trajectory {names[rows[0]]!r}: "
        if copy := _copy(rows, power, state):
            raise ValueError(which + copy + wanted)
        at = int(np.argmax(np.diff(power) != -1))
        one, other, apart = rows[at], rows[at + 1], power[at] - power[at + 1]
        fault = (
            f"a row is missing between row {one} and" if apart > 1 else f"time does not run from row {one} to"
        )
        told = f"their returns {returns[one]:.6g} and {returns[other]:.6g} are {apart} steps apart"
        suspicions.append(f"{which}{fault} row {other}, as {told}")
    if suspicions:
        alike = f" (and {len(suspicions) - 1} trajectories more)" if len(suspicions) > 1 else ""
        warnings.warn(suspicions[0] + alike + wanted, stacklevel=3)


def _discount(returns: list[NDArray[np.float64]]) -> float | None:
    """The ratio of more than half of the neighbouring returns of all trajectories; None if there is none.

    It must hold for returns of different sizes, because a constant penalty can also give equal ratios, but
    only for returns of one size.
    """
    pairs = [np.empty((2, 0))]
    for of_trajectory in returns:
        for side in (of_trajectory, -of_trajectory):
            different = np.unique(side[side > 0])
            pairs.append(np.stack([different[:-1], different[1:]]))
    smaller, larger = np.concatenate(pairs, axis=1)
    smaller, larger = smaller[smaller >= LEAST_DISCOUNT * larger], larger[smaller >= LEAST_DISCOUNT * larger]
    order = np.argsort(smaller / larger)
    ratio, larger = (smaller / larger)[order], larger[order]
    alike = np.searchsorted(ratio, ratio * (1 + 2 * PRECISION), side="right") - np.arange(len(ratio))
    most = int(alike.max(initial=0))
    if 2 * most <= len(ratio):
        return None
    first = int(np.argmax(alike))
    sizes = larger[first : first + most]
    discount = float(np.median(ratio[first : first + most]))
    return discount if sizes.max() > 1.01 * sizes.min() and 1 - discount > 10 * PRECISION else None


def _powers(returns: NDArray[np.float64], discount: float) -> NDArray[np.int64] | None:
    """The exponents of the discount in a trajectory's returns, up to a constant; None if there are none.

    Equal returns give no information.
    """
    if not (np.all(returns > 0) or np.all(returns < 0)) or np.all(returns == returns[0]):
        return None
    power = np.log(returns / returns[0]) / np.log(discount)
    whole = np.rint(power)
    return whole.astype(np.int64) if np.all(np.abs(power - whole) <= PRECISION / (1 - discount)) else None


def _copy(rows: NDArray[np.int64], power: NDArray[np.int64], state: NDArray[np.int64]) -> str | None:
    """A message about a row that has the same return and state as an earlier row."""
    seen: dict[tuple[int, int], int] = {}
    for row, its in zip(rows.tolist(), power.tolist(), strict=True):
        first = seen.setdefault((its, int(state[row])), row)
        if first != row:
            return (
                f"row {row} is a copy of row {first}, because no order of the rows explains that both have "
                "the same state and the same return"
            )
    return None
