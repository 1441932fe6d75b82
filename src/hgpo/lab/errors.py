"""What an estimate is off by, split into bias and variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Errors:
    """Mean squared error of an estimator over rows, in units of return squared, and its two parts.

    E (Â − A)² = E (E[Â | kind] − A)² + E Var(Â | kind)
    """

    mean_squared: float
    bias_squared: float
    """May come out below 0 where it is none: it is an unbiased estimate."""

    @property
    def variance(self) -> float:
        """The rest."""
        return self.mean_squared - self.bias_squared


def split_errors(
    error: NDArray[np.float64],
    kind: NDArray[np.int64],
    half: NDArray[np.bool_],
    other_error: NDArray[np.float64] | None = None,
) -> Errors:
    """Bias and variance from rows of two independent halves.

    The mean error of a kind in one half, times that in the other, has the expectation bias², as their noises
    have nothing to do with one another; a mean squared would have the noise in it. Each kind counts as often
    as it occurs; one that is in one half alone counts by none.

    Args:
        error: Shape (rows,), Â − A.
        kind: Shape (rows,), ids of rows for which A, and the distribution of Â, are the same.
        half: Shape (rows,), which half of the sample the row is of.
        other_error: Shape (rows,), where A is an estimate itself: Â less another, independent estimate of it.
            Then neither part has the noise of A in it.
    """
    other = error if other_error is None else other_error
    _, number = np.unique(kind, return_inverse=True)
    kinds = int(number.max(initial=-1)) + 1
    first, second = number[~half], number[half]
    count_first, count_second = np.bincount(first, minlength=kinds), np.bincount(second, minlength=kinds)
    both = (count_first > 0) & (count_second > 0)
    mean_first = np.bincount(first, error[~half], kinds) / np.maximum(count_first, 1)
    mean_second = np.bincount(second, other[half], kinds) / np.maximum(count_second, 1)
    weight = (count_first + count_second)[both]
    squared = (mean_first * mean_second)[both]
    return Errors(
        mean_squared=float(np.mean(error * other)),
        bias_squared=float(np.average(squared, weights=weight)) if len(weight) else float("nan"),
    )
