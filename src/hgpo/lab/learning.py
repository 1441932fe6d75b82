"""Learning on finite processes: log-linear policies trained with an estimator's gradient, evaluated exactly.

All processes of a kind are trained at once, with one task group in the step table per task group of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.intervals import Interval, bootstrap
from hgpo.lab.decision_processes import (
    Processes,
    ProcessShape,
    draw_processes,
    exact_gradient,
    exact_values,
    sample_steps,
    score_gradients,
)
from hgpo.lab.estimators import REFERENCES, Estimator, published_estimators
from hgpo.lab.gradient import GroupSizes
from hgpo.lab.kinds import KINDS, discount_of

RATES = (0.1, 0.3)
"""The learning rates to choose from, in logits per update."""
OPTIMUM_STEPS, OPTIMUM_RATE = 150, 0.3
"""Number of updates and learning rate of the exact gradient ascent that finds the optimum."""
LEAST_GAIN = 0.1
"""Processes whose optimum is less than this above the initial value are left out, because a fraction of such
a small gain would be noise; the scale of the final reward is 1."""
REPORTED, TUNING = 0, 1
"""Random streams for drawing processes; learning rates are chosen on other processes than those reported."""


@dataclass(frozen=True)
class LearningSetting:
    """How policies are trained on processes."""

    group_sizes: GroupSizes = (8, 16)
    """N: number of rollouts per task."""
    rollouts: int = 16
    """Rollouts per process and update, in groups of N."""
    iterations: int = 40
    """Number of updates."""
    processes: int = 128
    """Number of processes (seeds), each with its own policy. Kinds with longer episodes have proportionally
    fewer, so that the number of steps is the same."""
    tuning_processes: int = 24
    """Number of other processes on which each estimator's learning rate is chosen."""
    history_length: int = 2
    """History depth K of the estimators."""


@dataclass(frozen=True)
class Learned:
    """The results of one estimator in one kind of processes."""

    kind: str
    group_size: int
    estimator: str
    learning_rate: float
    """The learning rate with the largest share on other processes."""
    share: Interval
    """The policies' improvement as a share of the difference between the initial value and the optimum, mean
    over updates and processes."""
    less: Mapping[str, Interval]
    """`share` minus that of each of `REFERENCES`, in the same process with the same random numbers."""
    processes: int
    """Number of processes that the intervals are over."""


def learn_all(kind: str, setting: LearningSetting, seed: int) -> list[Learned]:
    """Train policies with every estimator in processes of one kind.

    Args:
        kind: one of `KINDS`.
        setting: how they are trained.
        seed: seed of processes and rollouts.
    """
    named = published_estimators(setting.history_length, discount_of(KINDS[kind]))
    tuning = _Course.draw(KINDS[kind], setting.tuning_processes, [seed, TUNING])
    reported = _Course.draw(KINDS[kind], setting.processes, [seed, REPORTED])
    found = []
    for size in setting.group_sizes:
        rates, shares = {}, {}
        for name, estimator in named.items():
            tried = {rate: tuning.shares(estimator, setting, size, rate, seed).mean() for rate in RATES}
            rates[name] = max(tried, key=lambda rate: tried[rate])
            shares[name] = reported.shares(estimator, setting, size, rates[name], seed)
        found += [
            Learned(
                kind=kind,
                group_size=size,
                estimator=name,
                learning_rate=rates[name],
                share=bootstrap(share[:, None]),
                less={other: bootstrap((share - shares[other])[:, None]) for other in REFERENCES},
                processes=len(share),
            )
            for name, share in shares.items()
        ]
    return found


@dataclass(frozen=True)
class _Course:
    """Processes with their initial policies, initial values and optima."""

    processes: Processes
    start: NDArray[np.float64]
    best: NDArray[np.float64]

    @staticmethod
    def draw(shape: ProcessShape, number: int, stream: Sequence[int]) -> _Course:
        count = max(2, number * ProcessShape.horizon // max(ProcessShape.horizon, shape.horizon))
        processes = draw_processes(shape, [np.random.default_rng([*stream, each]) for each in range(count)])
        start, best = exact_values(processes, 1.0).start, optimum(processes)
        kept = np.flatnonzero(best - start >= LEAST_GAIN)
        return _Course(processes.take(kept), start[kept], best[kept])

    def shares(
        self, estimator: Estimator, setting: LearningSetting, group_size: int, rate: float, seed: int
    ) -> NDArray[np.float64]:
        curve = learn(self.processes, estimator, setting, group_size, rate, seed)
        return (curve[1:].mean(axis=0) - self.start) / (self.best - self.start)


class Adam:
    """Gradient ascent with Adam (Kingma and Ba, 2015; β 0.9 and 0.999)."""

    def __init__(self, learning_rate: float) -> None:
        """Set the learning rate."""
        self._rate = learning_rate
        self._steps = 0
        self._mean: NDArray[np.float64] | float = 0.0
        self._square: NDArray[np.float64] | float = 0.0

    def ascend(self, weights: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weights after one more update."""
        self._steps += 1
        self._mean = 0.9 * self._mean + 0.1 * gradient
        self._square = 0.999 * self._square + 0.001 * gradient**2
        mean = self._mean / (1 - 0.9**self._steps)
        deviation = np.sqrt(self._square / (1 - 0.999**self._steps))
        return weights + self._rate * np.divide(
            mean, deviation, out=np.zeros_like(weights), where=deviation > 0
        )


def learn(
    processes: Processes,
    estimator: Estimator,
    setting: LearningSetting,
    group_size: int,
    learning_rate: float,
    seed: int,
) -> NDArray[np.float64]:
    """The exact value of each policy at the start and after every update, [iterations + 1, R].

    Args:
        processes: the processes with their initial policies.
        estimator: computes the advantages.
        setting: the numbers of rollouts and updates.
        group_size: N, number of rollouts per task.
        learning_rate: learning rate of Adam.
        seed: seed of the rollouts.
    """
    optimizer = Adam(learning_rate)
    values = exact_values(processes, 1.0)
    curve = [values.start]
    for iteration in range(setting.iterations):
        sample = sample_steps(
            processes,
            values,
            groups=setting.rollouts // group_size,
            group_size=group_size,
            rng=np.random.default_rng([seed, iteration]),
        )
        gradient = score_gradients(processes, sample, estimator(sample.steps), sample.process, len(processes))
        processes = processes.with_weights(optimizer.ascend(processes.weights, gradient))
        values = exact_values(processes, 1.0)
        curve.append(values.start)
    return np.stack(curve)


def optimum(processes: Processes) -> NDArray[np.float64]:
    """The best value that ascent along the exact gradient reaches, [R]: the optimum, unless the ascent ends
    in a local optimum.

    The policies and the optimizer are the same as for the estimators. The ascent starts once from the initial
    policies and once from equal probabilities of all actions.
    """
    best = exact_values(processes, 1.0).start
    for weights in (processes.weights, np.zeros_like(processes.weights)):
        optimizer = Adam(OPTIMUM_RATE)
        for _ in range(OPTIMUM_STEPS):
            now = processes.with_weights(weights)
            values = exact_values(now, 1.0)
            best = np.maximum(best, values.start)
            weights = optimizer.ascend(weights, exact_gradient(now, values))
    return best
