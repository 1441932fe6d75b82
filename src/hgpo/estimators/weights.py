"""How the advantages of HGPO's levels become one: weighted means, built up level by level."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hgpo.groups import group_sizes
from hgpo.variance import nested_variance

LevelWeights = Literal["power", "size", "reliability"]
"""What a level's weight follows: its depth, its depth and the row's number of peers, or how well its mean
is estimated to tell the expected return."""


class LevelMean(Protocol):
    """Σ_k w_k A_k of every row, the weights of a row adding up to 1."""

    def add(
        self, advantages: NDArray[np.float64], counting: NDArray[np.bool_], groups: NDArray[np.int64]
    ) -> None:
        """Add the next deeper level.

        Args:
            advantages: Shape (rows,), the level's.
            counting: Shape (rows,), where the level counts.
            groups: Shape (rows,), the level's group ids.
        """
        ...

    def result(self) -> NDArray[np.float64]:
        """The mean of what was added, shape (rows,); exactly 0 for rows where nothing counted."""
        ...


class PowerMean:
    """w_k = b_k^α n_k / (Σ_j b_j^α n_j + ε), over the levels that count.

    Sums and weights are kept relative to the deepest level that has counted for the row, whose b_k^α is then
    1: no α overflows, an infinite one leaves the deepest level alone, and memory does not grow with K.
    """

    def __init__(
        self,
        rows: int,
        bases: list[int],
        alpha: float,
        *,
        epsilon: float,
        by_size: bool,
        part: NDArray[np.int64] | None,
    ) -> None:
        """Take b_k of every level, α and ε.

        Args:
            rows: How many.
            bases: b_k, rising.
            alpha: α.
            epsilon: ε, beside the sum of the weights.
            by_size: n_k is the row's number of peers; else 1.
            part: Shape (rows,), rows of one part are not peers; see `group_advantages`.
        """
        base = np.array(bases, np.float64)
        # shrink[i, j] = (b_i / b_j)^α: what level i's share becomes when the deeper level j takes over as the
        # unit. Only i < j is looked up; the minimum keeps the rest from overflowing.
        self.shrink = np.minimum(base[:, None] / base[None, :], 1.0) ** alpha
        self.unit = base**-alpha
        self.epsilon, self.by_size, self.part = epsilon, by_size, part
        self.level = 0
        self.deepest = np.full(rows, -1, np.int32)
        self.weighted = np.zeros(rows)
        self.total = np.zeros(rows)

    def add(
        self, advantages: NDArray[np.float64], counting: NDArray[np.bool_], groups: NDArray[np.int64]
    ) -> None:
        """Add the next deeper level; see `LevelMean`."""
        weight = np.where(counting, peer_counts(groups, self.part), 0) if self.by_size else counting
        shrink = np.where(counting, self.shrink[self.deepest, self.level], 1.0)
        self.weighted *= shrink
        self.weighted += advantages * weight
        self.total *= shrink
        self.total += weight
        self.deepest[counting] = self.level
        self.level += 1

    def result(self) -> NDArray[np.float64]:
        """The mean of what was added; see `LevelMean`."""
        total = self.total + self.epsilon * self.unit[self.deepest]
        return np.divide(self.weighted, total, out=np.zeros(len(total)), where=self.deepest >= 0)


class ReliabilityMean:
    """Each deeper level takes over as far as its mean is worth more than what stands above it.

        A ← A + B_k (A_k − A),   B_k = τ_k² / (τ_k² + σ_k² / n_k)

    τ_k² is the variance of expected returns between the level's groups within one group of the level above,
    what the shallower level leaves untold; σ_k² / n_k that of the mean of n_k returns, its noise. B_k is the
    weight with which the mean has the least expected squared error, given what the levels above say. The
    components are estimated from the table (see `nested_variance`), apart for rows of steps 0, 1, 2–3, 4–7,
    8–15, …: how much a return varies depends on how much of the episode lies ahead. The derivation and its
    assumptions are in docs/estimators.md.
    """

    def __init__(
        self, returns: NDArray[np.float64], step_index: NDArray[np.int64], *, part: NDArray[np.int64] | None
    ) -> None:
        """Take the returns that are compared, [rows], their steps, and the parts whose rows are not peers."""
        self.returns, self.part = returns, part
        self.stretch = np.frexp(step_index)[1]
        self.mean = np.zeros(len(returns))
        self.groups: NDArray[np.int64] | None = None

    def add(
        self, advantages: NDArray[np.float64], counting: NDArray[np.bool_], groups: NDArray[np.int64]
    ) -> None:
        """Add the next deeper level; see `LevelMean`.

        A level counts wherever the row has peers: that all of them have its return is knowledge too.
        """
        if self.groups is None:
            self.mean += advantages
        else:
            trust = self._trust(self.groups, groups, peer_counts(groups, self.part))
            self.mean += trust * (advantages - self.mean)
        self.groups = groups

    def _trust(
        self, outer: NDArray[np.int64], inner: NDArray[np.int64], peers: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """B_k of every row; 0 without a peer."""
        trust = np.zeros(len(peers))
        for stretch in np.unique(self.stretch):
            rows = np.flatnonzero(self.stretch == stretch)
            variance = nested_variance(self.returns[rows], outer[rows], inner[rows])
            if variance.between > 0:
                # Of the mean that a row is compared with: of its peers, and of itself unless left out.
                noise = variance.within / np.maximum(peers[rows] + (self.part is None), 1)
                trust[rows] = (peers[rows] > 0) * variance.between / (variance.between + noise)
        return trust

    def result(self) -> NDArray[np.float64]:
        """The mean of what was added; see `LevelMean`."""
        return self.mean


def peer_counts(groups: NDArray[np.int64], part: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """How many other rows each row is compared with; 0 where the id is −1. Shape (rows,).

    Args:
        groups: Shape (rows,), dense ids; −1 for a row in no group.
        part: Shape (rows,), dense ids; rows of one part are not peers. Each row alone if None.
    """
    own = 1
    if part is not None:
        pairs = (groups + 1) * (part.max(initial=0) + 1) + part
        _, cell, count = np.unique(pairs, return_inverse=True, return_counts=True)
        own = count[cell]
    return np.where(groups >= 0, group_sizes(groups) - own, 0)
