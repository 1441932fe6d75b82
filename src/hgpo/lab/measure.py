"""One measurement: a process, its sample, and every estimator's advantages on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.leave_one_out import Peers
from hgpo.lab.decision_processes import ProcessShape, SampledSteps, draw_processes, exact_values, sample_steps
from hgpo.lab.errors import Errors, split_errors
from hgpo.lab.estimators import Estimator, critics_advantages, fitted_critic, named_estimators
from hgpo.returns import discounted_returns

CRITICS = {"GAE λ=0.95": 0.95, "GAE λ=1": 1.0}
"""λ of the estimators that use a critic."""
CRITIC_GROUPS = 16
"""Number of task groups on which a critic is fitted, as if from the previous iteration."""


@dataclass(frozen=True)
class Scores:
    """The quality of an estimator on a sample."""

    errors: Errors
    """Errors against the exact advantage, on the rows that it compares."""
    coverage: float
    """Fraction of the rows that it compares with at least one other row."""
    alignment: float
    """Σ Â A / √(Σ Â² Σ A²) over all rows, with 0 for rows that are not compared: the cosine between estimated
    and exact advantages. Unlike the errors it does not depend on the scale, which has no effect on optimizers
    such as Adam."""


@dataclass(frozen=True)
class Setting:
    """The settings of a measurement on processes."""

    shape: ProcessShape = field(default_factory=ProcessShape)
    """The shape of the processes."""
    group_size: int = 8
    """N: number of rollouts per task."""
    history_length: int = 2
    """History depth K of HGPO."""
    discount: float = 1.0
    """Discount γ; 1 measures only the effect of grouping, as any other value changes GRPO's return as
    well."""
    rows: int = 100_000
    """Number of steps sampled from each process."""
    processes: int = 8
    """Number of processes; intervals are over processes."""


def draw_sample(
    setting: Setting, seed: int, number: int, *, draw: int = 0, groups: int | None = None
) -> SampledSteps:
    """Steps sampled from a process, with their true values.

    Args:
        setting: what is sampled.
        seed, number: determine the process, independently of the samples.
        draw: index of the sample, among independent ones.
        groups: number of task groups; None: as many as give the setting's number of rows.
    """
    process = draw_processes(setting.shape, [np.random.default_rng([seed, number])])
    return sample_steps(
        process,
        exact_values(process, setting.discount),
        groups=groups or max(2, setting.rows // (setting.group_size * setting.shape.horizon)),
        group_size=setting.group_size,
        rng=np.random.default_rng([seed, number, draw + 1]),
    )


def estimates(
    setting: Setting,
    seed: int,
    number: int,
    extra: Mapping[str, Estimator] | None = None,
    peers: Peers = "all",
) -> tuple[SampledSteps, dict[str, NDArray[np.float64]]]:
    """The sample, and every estimator's advantages; NaN for a row that is not compared."""
    sample = draw_sample(setting, seed, number)
    before = draw_sample(setting, seed, number, draw=1, groups=CRITIC_GROUPS)
    value = fitted_critic(before.prompt, discounted_returns(before.steps, setting.discount))(sample.prompt)
    named = {**named_estimators(setting.history_length, setting.discount, peers=peers), **(extra or {})}
    found = {name: estimator(sample.steps) for name, estimator in named.items()}
    for name, gae_lambda in CRITICS.items():
        found[name] = critics_advantages(sample.steps, value, setting.discount, gae_lambda)
    returns = discounted_returns(sample.steps, setting.discount)
    found["exact value"] = returns - sample.value
    return sample, found


def score(sample: SampledSteps, estimate: NDArray[np.float64]) -> Scores:
    """The quality of an estimate; its two halves are the even and the odd task groups."""
    compared = ~np.isnan(estimate)
    half = (sample.steps.task_code % 2 == 1)[compared]
    return Scores(
        errors=split_errors(estimate[compared] - sample.advantage[compared], sample.kind[compared], half),
        coverage=float(compared.mean()),
        alignment=alignment_of(np.where(compared, estimate, 0.0), sample.advantage, sample.advantage),
    )


def alignment_of(
    estimate: NDArray[np.float64], truth: NDArray[np.float64], other: NDArray[np.float64]
) -> float:
    """The cosine between an estimate and the truth, which may be given as two independent estimates."""
    # The product of the two has no noise bias; it can be negative by chance if the truth is near 0.
    norm = np.sqrt(np.square(estimate).sum() * max(0.0, (truth * other).sum()))
    return float((estimate * (truth + other) / 2).sum() / norm) if norm else 0.0
