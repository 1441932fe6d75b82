"""Divides sequences of different lengths into forward passes with little padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def split_by_length(
    sorted_lengths: Sequence[int] | NDArray[np.int64], token_budget: int, call_tokens: float
) -> Iterator[range]:
    """Ranges of consecutive rows, shortest rows first; the padded size of each range is within the budget.

    A range also ends where padding its rows to the length of the next row would cost more than another call.
    A single row longer than the budget is a range by itself.

    Args:
        sorted_lengths: number of tokens of each row, ascending.
        token_budget: largest number of tokens in a range, counted as rows times the longest row.
        call_tokens: number of padding tokens that cost as much as another call; inf pads up to the budget.
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
