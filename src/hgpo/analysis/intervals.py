"""A mean over repetitions and how far it may be off: the bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
"""Bootstrap samples behind every interval."""


@dataclass(frozen=True)
class Interval:
    """A mean and the 95 % interval about it."""

    mean: float
    low: float
    high: float


def bootstrap(values: NDArray[np.float64], draws: int = DRAWS, seed: int = 0) -> Interval:
    """The mean of a table of seeds and games, and the 95 % percentile interval.

    Seeds and games are drawn with replacement, each for itself: all seeds play the same games, so neither
    alone is a sample of independent values.

    Args:
        values: Shape (seeds, games).
        draws: Bootstrap samples.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    seeds, games = values.shape
    # The mean over drawn seeds and games is a product with how often each was drawn.
    seed_share = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    game_share = rng.multinomial(games, np.full(games, 1 / games), size=draws) / games
    means = np.einsum("ds,sg,dg->d", seed_share, values, game_share, optimize=True)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def interquartile_mean(scores: NDArray[np.float64]) -> float:
    """The mean of the middle half of the scores.

    It is less noisy than the median, and one run moves it less than the mean.

    A quarter of the scores, rounded down, is left out at each end (arXiv 2108.13264,
    section 4.3).

    Args:
        scores: one per run and task type, shape (seeds, task types).
    """
    ordered = np.sort(scores, axis=None)
    left_out = ordered.size // 4
    return float(ordered[left_out : ordered.size - left_out].mean())


def probability_of_improvement(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """How likely a run of one method scores higher than a run of another on the same task type.

    P = mean over task types and over all pairs of seeds of [x > y] + [x = y] / 2 (Agarwal et al. 2021,
    arXiv 2108.13264, section 4.3). ½ where the methods are equal.

    Args:
        scores: of the one method, shape (seeds, task types).
        reference: of the other, shape (seeds of its own, task types).
    """
    difference = scores[:, None] - reference[None]
    return float((np.sign(difference) / 2 + 0.5).mean())
