"""The error of an estimate, split into bias and variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Errors:
    """Mean squared error of an estimator over rows, in units of return squared, and its two parts.

    E (Â − A)² = E (E[Â | kind] − A)² + E Var(Â | kind)

    Both are NaN without rows; bias² is also NaN if no kind occurs in both halves of the sample.
    """

    mean_squared: float
    bias_squared: float
    """An unbiased estimate, which may therefore be below 0 if the bias is 0."""

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

    The product of a kind's mean errors in the two halves has the expectation bias², because their noise is
    independent; the square of one mean would include its noise. Each kind is weighted by its number of rows;
    a kind that occurs in only one half is left out.

    Args:
        error: Shape (rows,), Â − A.
        kind: Shape (rows,), ids of rows for which A, and the distribution of Â, are the same.
        half: Shape (rows,), the half of the sample that each row belongs to.
        other_error: Shape (rows,), given if A is itself an estimate: Â minus another, independent estimate of
            A. Then neither part contains the noise of A.
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
        mean_squared=float(np.mean(error * other)) if len(error) else float("nan"),
        bias_squared=float(np.average(squared, weights=weight)) if len(weight) else float("nan"),
    )
