"""Combines the advantages of HGPO's levels into one: weighted means, built up level by level."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.comparison import Level
from hgpo.variance import nested_variance

LevelWeights = Literal["power", "size", "reliability"]
"""What a level's weight depends on: its depth; its depth and the row's number of peers; or how well its mean
is estimated to predict the expected return."""


class LevelMean(Protocol):
    """Σ_k w_k A_k of every row, where the weights of a row add up to 1."""

    def add(self, advantages: NDArray[np.float64], counting: NDArray[np.bool_], level: Level) -> None:
        """Add the next deeper level.

        Args:
            advantages: Shape (rows,), those of the level.
            counting: Shape (rows,), whether the level counts for the row.
            level: Its groups and the peers of each row.
        """
        ...

    def result(self) -> NDArray[np.float64]:
        """The mean of all levels added so far, shape (rows,); exactly 0 for rows where no level counted."""
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
    ) -> None:
        """Set b_k of every level, α and ε.

        Args:
            rows: number of rows.
            bases: b_k of each level, ascending.
            alpha: α.
            epsilon: ε added to the sum of the weights.
            by_size: whether n_k is the row's number of peers; otherwise it is 1.
        """
        base = np.array(bases, np.float64)
        # shrink[i, j] = (b_i / b_j)^α: the factor for level i's share when the deeper level j becomes the
        # unit. Only i < j is used; the minimum keeps the rest from overflowing.
        self.shrink = np.minimum(base[:, None] / base[None, :], 1.0) ** alpha
        self.unit = base**-alpha
        self.epsilon, self.by_size = epsilon, by_size
        self.number = 0
        self.deepest = np.full(rows, -1, np.int32)
        self.weighted = np.zeros(rows)
        self.total = np.zeros(rows)

    def add(self, advantages: NDArray[np.float64], counting: NDArray[np.bool_], level: Level) -> None:
        """Add the next deeper level; see `LevelMean`."""
        weight = np.where(counting, level.peer_counts(), 0) if self.by_size else counting
        shrink = np.where(counting, self.shrink[self.deepest, self.number], 1.0)
        self.weighted *= shrink
        self.weighted += advantages * weight
        self.total *= shrink
        self.total += weight
        self.deepest[counting] = self.number
        self.number += 1

    def result(self) -> NDArray[np.float64]:
        """The mean of all levels added so far; see `LevelMean.result`."""
        total = self.total + self.epsilon * self.unit[self.deepest]
        return np.divide(self.weighted, total, out=np.zeros(len(total)), where=self.deepest >= 0)


class ReliabilityMean:
    """Each deeper level replaces the mean of the levels above it as far as its own mean is more reliable.

        A ← A + B_k (A_k − A),   B_k = τ_k² / (τ_k² + σ_k² / n_k)

    τ_k² is the variance of expected returns between the level's groups within one group of the level above,
    which the shallower level does not explain; σ_k² / n_k is the noise of the mean of n_k returns. B_k is the
    weight with the least expected squared error, given the levels above. The components are estimated from
    the table (see `nested_variance`), separately for rows of steps 0, 1, 2–3, 4–7, 8–15, …, because the
    variance of a return depends on how much of the episode remains. The derivation and its assumptions are in
    docs/estimators.md.
    """

    def __init__(self, returns: NDArray[np.float64], step_index: NDArray[np.int64]) -> None:
        """Set the returns that are compared and their step numbers, each of shape (rows,)."""
        self.returns = returns
        self.stretch = np.frexp(step_index)[1]
        self.mean = np.zeros(len(returns))
        self.groups: NDArray[np.int64] | None = None

    def add(self, advantages: NDArray[np.float64], counting: NDArray[np.bool_], level: Level) -> None:
        """Add the next deeper level; see `LevelMean`.

        A level counts if the row has peers: peers with equal returns are information as well.
        """
        if self.groups is None:
            self.mean += advantages
        else:
            self.mean += self._trust(self.groups, level) * (advantages - self.mean)
        self.groups = level.groups

    def _trust(self, outer: NDArray[np.int64], level: Level) -> NDArray[np.float64]:
        """B_k of every row; 0 for a row without a peer."""
        peers = level.peer_counts()
        trust = np.zeros(len(peers))
        for stretch in np.unique(self.stretch):
            rows = np.flatnonzero(self.stretch == stretch)
            variance = nested_variance(self.returns[rows], outer[rows], level.groups[rows])
            if variance.between > 0:
                # Without blocks, the mean that a row is compared with includes the row itself.
                noise = variance.within / np.maximum(peers[rows] + (level.blocks is None), 1)
                trust[rows] = (peers[rows] > 0) * variance.between / (variance.between + noise)
        return trust

    def result(self) -> NDArray[np.float64]:
        """The mean of all levels added so far; see `LevelMean.result`."""
        return self.mean
