"""Means over repetitions with bootstrap confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
"""Number of bootstrap samples for every interval."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: NDArray[np.float64], draws: int = DRAWS, seed: int = 0) -> Interval:
    """The mean of a table of seeds and tasks, and the 95 % percentile interval.

    Seeds and tasks are resampled with replacement, independently of each other: all seeds play the same
    tasks, so neither seeds nor tasks alone are independent samples.

    Args:
        values: Shape (seeds, tasks).
        draws: Number of bootstrap samples.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    seeds, games = values.shape
    # The mean over the drawn seeds and tasks is a product with the number of times that each was drawn.
    seed_share = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    game_share = rng.multinomial(games, np.full(games, 1 / games), size=draws) / games
    means = np.einsum("ds,sg,dg->d", seed_share, values, game_share, optimize=True)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def interquartile_mean(scores: NDArray[np.float64]) -> float:
    """The mean of the middle half of the scores, leaving out a quarter (rounded down) at each end.

    A single very bad or very good run does not change it, and it is less noisy than the median. Source:
    Agarwal et al. 2021, arXiv 2108.13264 (section 4.3).

    Args:
        scores: One per seed, shape (seeds,).
    """
    ordered = np.sort(scores)
    left_out = len(ordered) // 4
    return float(ordered[left_out : len(ordered) - left_out].mean())


def probability_of_improvement(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> Interval:
    """The probability that a run of one method scores higher than a run of another.

        P = mean over all pairs of seeds of [x > y] + [x = y] / 2

    It is 0.5 if the methods are equal. The interval is the bootstrap over the seeds of both. Source: Agarwal
    et al. 2021, arXiv 2108.13264 (section 4.3).

    Args:
        scores: One per seed of the first method, shape (seeds,).
        reference: One per seed of the second method, shape (its seeds,).
    """
    return bootstrap(np.sign(scores[:, None] - reference[None]) / 2 + 0.5)
