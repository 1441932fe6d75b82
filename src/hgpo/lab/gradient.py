"""How well an estimator's policy gradient is aligned with the true one, in expectation and from few groups.

This differs from the cosine of advantages: rows share the policy's weights, so the noise of many rows
averages out, but their bias does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from hgpo.analysis.intervals import Interval, bootstrap
from hgpo.lab.decision_processes import (
    Processes,
    ProcessShape,
    SampledSteps,
    draw_processes,
    exact_gradient,
    exact_values,
    sample_steps,
    score_gradients,
)
from hgpo.lab.estimators import REFERENCES, Estimator, published_estimators
from hgpo.lab.kinds import KINDS, discount_of
from hgpo.lab.measure import alignment_of
from hgpo.returns import discounted_returns

MANY = 16
"""Number of task groups for the less noisy gradient."""

GroupSizes = Annotated[tuple[int, ...], tyro.conf.arg(metavar="N …")]


@dataclass(frozen=True)
class GradientSetting:
    """The settings of the comparison of gradients on processes."""

    group_sizes: GroupSizes = (8, 16)
    """N: number of rollouts per task."""
    groups: int = 192
    """Task groups per process. Kinds of processes with longer episodes have proportionally fewer."""
    processes: int = 16
    """Number of processes; intervals are over processes."""
    history_length: int = 2
    """History depth K of the estimators."""


@dataclass(frozen=True)
class Cosines:
    """Cosines with the true values, each with its interval over processes or tasks."""

    row: Interval
    """Between the estimated and the exact advantages of all rows."""
    expected: Interval
    """Between the expected gradient and the true one, which only bias lowers."""
    few: Interval
    """Between the gradient of one task group and the true one, mean over groups."""
    many: Interval
    """Between the mean gradient of 16 task groups and the true one."""


@dataclass(frozen=True)
class Aligned:
    """One estimator's results in one kind of processes."""

    kind: str
    group_size: int
    estimator: str
    cosines: Cosines
    many_less: Mapping[str, Interval]
    """`cosines.many` minus that of each of `REFERENCES`, process by process."""


def gradient_cosines(kind: str, setting: GradientSetting, seed: int) -> list[Aligned]:
    """The cosines of every estimator in processes of one kind.

    Args:
        kind: one of `KINDS`.
        setting: the settings of the comparison.
        seed: seed of processes and rollouts.
    """
    shape = KINDS[kind]
    number = setting.processes
    groups = MANY * max(2, setting.groups * ProcessShape.horizon // shape.horizon // MANY)
    processes = draw_processes(shape, [np.random.default_rng([seed, each]) for each in range(number)])
    values = exact_values(processes, 1.0)
    true = exact_gradient(processes, values).reshape(number, -1)
    named = published_estimators(setting.history_length, discount_of(shape))
    found = []
    for size in setting.group_sizes:
        rng = np.random.default_rng([seed, number, size])
        sample = sample_steps(processes, values, groups=groups, group_size=size, rng=rng)
        found += _aligned(kind, size, processes, sample, true, named)
    return found


def _aligned(
    kind: str,
    group_size: int,
    processes: Processes,
    sample: SampledSteps,
    true: NDArray[np.float64],
    named: Mapping[str, Estimator],
) -> Iterator[Aligned]:
    number = len(processes)
    tasks = int(sample.steps.task_code.max()) + 1

    def per_group(advantages: NDArray[np.float64]) -> NDArray[np.float64]:
        gradients = score_gradients(processes, sample, advantages, sample.steps.task_code, tasks)
        return gradients.reshape(number, tasks // number, -1) / group_size

    # Control variates: gradients that differ from the true one only by noise that estimators have in common.
    returns = discounted_returns(sample.steps, 1.0)
    controls = [per_group(each) - true[:, None] for each in (sample.advantage, returns - sample.value)]
    found: dict[str, tuple[Cosines, NDArray[np.float64]]] = {}
    for name, estimator in named.items():
        advantages = estimator(sample.steps)
        gradients = per_group(advantages)
        many = noisy_cosine(batches(gradients), true)
        rows = (column.reshape(number, -1) for column in (advantages, sample.advantage))
        cosines = Cosines(
            row=bootstrap(
                np.array([[alignment_of(ours, exact, exact)] for ours, exact in zip(*rows, strict=True)])
            ),
            expected=bootstrap(
                corrected_cosine(_less_noise(gradients, controls), np.stack([true, true]))[:, None]
            ),
            few=bootstrap(noisy_cosine(gradients, true)[:, None]),
            many=bootstrap(many[:, None]),
        )
        found[name] = cosines, many
    for name, (cosines, many) in found.items():
        less = {other: bootstrap((many - found[other][1])[:, None]) for other in REFERENCES}
        yield Aligned(kind, group_size, name, cosines, less)


def _less_noise(
    gradients: NDArray[np.float64], controls: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The gradients of groups minus the part of their noise that control variates (with mean 0) predict.

    Args:
        gradients: Shape (processes, groups, weights).
        controls: the control variates, each of the same shape.
    """
    adjusted = np.empty_like(gradients)
    for number, noisy in enumerate(gradients):
        known = np.stack([control[number].ravel() for control in controls], axis=1)
        centred = noisy - noisy.mean(axis=0)
        slopes, *_ = np.linalg.lstsq(known, centred.ravel(), rcond=None)
        adjusted[number] = noisy - (known @ slopes).reshape(noisy.shape)
    return adjusted


def batches(gradients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over 16 groups each, [processes, groups / 16, weights]."""
    return gradients.reshape(len(gradients), -1, MANY, gradients.shape[2]).mean(axis=2)


def corrected_cosine(gradients: NDArray[np.float64], truths: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosine between the expected and the true gradient, [processes], corrected for the noise of both.

    The square of a mean includes noise, while the product of the means of two independent halves has the
    square of the expectation as its expectation. The result is therefore not a cosine of two given vectors,
    and may exceed 1 by chance.

    Args:
        gradients: Shape (processes, groups, weights), the gradient of each task group.
        truths: Shape (2, processes, weights), two estimates of the true gradient with independent errors; if
            the gradient is exact, the same one twice.
    """
    first, second = gradients[:, 0::2].mean(axis=1), gradients[:, 1::2].mean(axis=1)
    product = _dot(first + second, truths[0] + truths[1]) / 4
    square, true_square = _dot(first, second), _dot(truths[0], truths[1])
    known = (square > 0) & (true_square > 0)
    return np.divide(product, np.sqrt(np.abs(square * true_square)), out=np.zeros_like(product), where=known)


def noisy_cosine(
    gradients: NDArray[np.float64], true: NDArray[np.float64], true_square: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """The mean cosine of noisy gradients with the true one, [processes]; 0 where a gradient is 0.

    Args:
        gradients: Shape (processes, gradients, weights).
        true: Shape (processes, weights).
        true_square: Shape (processes,), the true gradient's squared norm, if `true` is a noisy estimate.
    """
    square = _dot(true, true) if true_square is None else np.maximum(true_square, 0.0)
    product = _dot(gradients, true[:, None])
    norm = np.sqrt(_dot(gradients, gradients) * square[:, None])
    return np.divide(product, norm, out=np.zeros_like(product), where=norm > 0).mean(axis=1)


def _dot(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return (first * second).sum(axis=-1)
