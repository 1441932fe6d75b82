"""How sequences of different lengths share a forward pass without much padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def split_by_length(
    sorted_lengths: Sequence[int] | NDArray[np.int64], token_budget: int, call_tokens: float
) -> Iterator[range]:
    """Ranges of consecutive rows, shortest first; the padded size of each stays within the budget.

    A range ends, too, where padding its rows to the length of the next one would cost more than another call.
    A single row longer than the budget is a range by itself.

    Args:
        sorted_lengths: tokens of each row, ascending.
        token_budget: most tokens of a range, counted as rows times its longest row.
        call_tokens: tokens of padding that cost as much as another call; inf pads to the budget.
    """
    start, padding = 0, 0
    for end in range(1, len(sorted_lengths) + 1):
        rows = end - start
        if end < len(sorted_lengths):
            padding += rows * (int(sorted_lengths[end]) - int(sorted_lengths[end - 1]))
            if padding <= call_tokens and sorted_lengths[end] * (rows + 1) <= token_budget:
                continue
        yield range(start, end)
        start, padding = end, 0
