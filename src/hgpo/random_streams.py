"""The random streams of a run: one seed, and a stream of its own for each thing that is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WEIGHTS, WARM_TASKS, WARM_ORDER, TASKS, ROLLOUT, UPDATE, EVALUATION, PROBE, CRITIC = range(9)
PHRASES, READING_TASKS, READING_ORDER, CROSS = range(9, 13)
"""What is drawn; a number, once given, is never given to something else."""


@dataclass(frozen=True)
class RandomStreams:
    """Random streams of a run; each is named by a number of its own, so that none repeats another."""

    seed: int
    """Of the run."""

    def generator(self, stream: int, *place: int) -> np.random.Generator:
        """The generator of a stream, at a place in the run such as an iteration."""
        return np.random.default_rng([self.seed, stream, *place])

    def integer(self, stream: int, *place: int) -> int:
        """The first integer that the stream draws there, below 2³¹: a seed for something else."""
        return int(self.generator(stream, *place).integers(2**31))
