"""The random streams of a run: one seed, and a separate stream for each purpose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WEIGHTS, WARM_TASKS, WARM_ORDER, TASKS, ROLLOUT, UPDATE, EVALUATION, PROBE, CRITIC = range(9)
PHRASES, READING_TASKS, READING_ORDER, CROSS = range(9, 13)
"""The number of each purpose. A number that was once used is never used for another purpose."""


@dataclass(frozen=True)
class RandomStreams:
    """Random streams of a run, each identified by a number, so that no two give the same random numbers."""

    seed: int
    """The run's seed."""

    def generator(self, stream: int, *place: int) -> np.random.Generator:
        """The generator of a stream at a point of the run, such as an iteration."""
        return np.random.default_rng([self.seed, stream, *place])

    def integer(self, stream: int, *place: int) -> int:
        """The first integer of the stream at that point, below 2³¹, to seed something else."""
        return int(self.generator(stream, *place).integers(2**31))
