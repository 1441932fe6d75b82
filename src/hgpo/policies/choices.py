"""Responses that must be one of a list: the tokens that may come next, and the distribution over them.

A restricted policy draws each token from the model's distribution π over only those tokens that continue one
of the listed responses:

    π_A(y) = π(y) / Σ_{a ∈ A} π(a)    for y in A, the allowed tokens

Log-probabilities, entropies and gradients of a restricted response are those of π_A.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Choices = tuple[tuple[int, ...], ...]
"""Token ids of each response that is allowed."""


@lru_cache(maxsize=2**12)
def continuations(choices: Choices) -> dict[tuple[int, ...], NDArray[np.int64]]:
    """The tokens that may come next, in ascending order, after each beginning of an allowed response."""
    following: dict[tuple[int, ...], set[int]] = {}
    for response in choices:
        for place, token in enumerate(response):
            following.setdefault(response[:place], set()).add(token)
    return {begun: np.array(sorted(tokens)) for begun, tokens in following.items()}


def restricted(distribution: Tensor, allowed: Sequence[NDArray[np.int64]]) -> Tensor:
    """Log-probabilities renormalized over the allowed tokens of each row; −∞ for all others.

    Args:
        distribution: log-probabilities, [rows, vocabulary].
        allowed: the allowed tokens of each row.
    """
    rows = torch.arange(len(allowed)).repeat_interleave(torch.tensor([len(tokens) for tokens in allowed]))
    places = rows.to(distribution.device), torch.from_numpy(np.concatenate(allowed)).to(distribution.device)
    kept = torch.full_like(distribution, -torch.inf)
    kept[places] = distribution[places]
    return torch.log_softmax(kept, dim=-1)


class Restriction:
    """The allowed tokens of a response while it is being written."""

    def __init__(self, choices: Choices) -> None:
        """Take the allowed responses."""
        self._following = continuations(choices)
        self.allowed: list[NDArray[np.int64]] = []
        """The tokens that each token so far was drawn from."""

    def after(self, written: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The tokens that may follow what has been written."""
        self.allowed.append(self._following[tuple(int(token) for token in written)])
        return self.allowed[-1]


def padded(rows: Sequence[Sequence[NDArray[np.int64]]]) -> Tensor:
    """The allowed tokens of all tokens of all rows, in turn, [tokens, most allowed]; filled up with −1.

    Args:
        rows: for each row, the allowed tokens of each of its tokens.
    """
    flat = [tokens for row in rows for tokens in row]
    matrix = np.full((len(flat), max(map(len, flat))), -1, np.int64)
    for line, tokens in zip(matrix, flat, strict=True):
        line[: len(tokens)] = tokens
    return torch.from_numpy(matrix)
