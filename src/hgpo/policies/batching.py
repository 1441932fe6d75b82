"""How sequences of different lengths share a forward pass without much padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def split_by_length(sorted_lengths: Sequence[int] | NDArray[np.int64], token_budget: int) -> Iterator[range]:
    """Ranges of consecutive rows, shortest first, whose padded size stays within the budget.

    A single row longer than the budget makes a range of its own.

    Args:
        sorted_lengths: tokens of each row, ascending.
        token_budget: most tokens of a range, counted as rows times its longest row.
    """
    start = 0
    for end in range(1, len(sorted_lengths) + 1):
        if end == len(sorted_lengths) or sorted_lengths[end] * (end + 1 - start) > token_budget:
            yield range(start, end)
            start = end
