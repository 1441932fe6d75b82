"""Entropy credit: the advantages of any estimator, changed by the policy's entropy at each response.

H is the table's `entropy`: the mean entropy of the distributions that a response's tokens were drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.baseline import require_non_negative
from hgpo.estimators.comparison import Comparison
from hgpo.steps import StepTable

EntropyCreditName = Literal["none", "aem", "empg"]


@dataclass(frozen=True)
class _EntropyCredit:
    """The common part of AEM and EMPG: the estimator whose advantages they change."""

    estimator: Any
    """The inner estimator."""

    def comparison(self, steps: StepTable) -> Comparison:
        """The comparison of the inner estimator."""
        return self.estimator.comparison(steps)


@dataclass(frozen=True)
class AEM(_EntropyCredit):
    """Adaptive Entropy Modulation: within each task, low-entropy responses get more weight, others less.

        A' = α A,   α = exp(−λ H̃) / mean over the task of exp(−λ H̃),
        H̃ = (H − min) / (max − min) over the task's rows

    α is 1 on average in every task. If the entropies of a task differ by less than `min_range`, α is 1.
    Source: arXiv 2605.00425; docs/papers.md says which parts of it were available.
    """

    sensitivity: float = 1.0
    """λ: 0 changes nothing."""
    min_range: float = 0.1
    """Smallest range of entropies within a task, in nats, for which advantages are changed."""

    def __post_init__(self) -> None:
        require_non_negative("sensitivity", self.sensitivity)
        require_non_negative("min_range", self.min_range)

    @property
    def task_local(self) -> bool:
        """Whether the advantages of a task depend on that task only."""
        return getattr(self.estimator, "task_local", False)

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table; ValueError without an `entropy` column."""
        entropy, task = _entropy(steps), steps.task_code
        tasks = int(task.max(initial=-1)) + 1
        lowest, highest = np.full(tasks, np.inf), np.full(tasks, -np.inf)
        np.minimum.at(lowest, task, entropy)
        np.maximum.at(highest, task, entropy)
        span = highest - lowest
        counts = (span >= self.min_range) & (span > 0)
        relative = (entropy - lowest[task]) / np.where(counts, span, 1.0)[task]
        weight = np.where(counts[task], np.exp(-self.sensitivity * relative), 1.0)
        mean = np.bincount(task, weight) / np.bincount(task)
        return self.estimator(steps) * weight / mean[task]


@dataclass(frozen=True)
class EMPG(_EntropyCredit):
    """Entropy-Modulated Policy Gradients: low-entropy responses and steps that lead to them get more weight.

        A'_t = g(H_t) A_t + ζ f(H_{t+1}),   A'' = A' − mean over the batch of A'
        g(H) = exp(−k H̃) / mean over the batch of exp(−k H̃),   f(H) = exp(−k' H̃)
        H̃ = (H − min) / (max − min + ε) over the batch

    A trajectory's last step has no bonus. Because of the bonus and the subtracted mean, rows with advantage 0
    can get another value.
    Source: arXiv 2509.09265 (eq. 8, 10–12), as repeated in arXiv 2602.21534 (eq. S20–S23), whose settings for
    agents are the defaults (table S1).
    """

    scaling: float = 1.0
    """k: how fast g falls with the entropy; 0 leaves the advantages unchanged."""
    clarity: float = 1.0
    """k': how fast the bonus falls with the entropy of the next step."""
    bonus: float = 0.05
    """ζ: weight of the bonus, in units of advantage."""
    epsilon: float = 1e-8
    """ε, in nats."""

    def __post_init__(self) -> None:
        for name in ("scaling", "clarity", "bonus"):
            require_non_negative(name, getattr(self, name))
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon is {self.epsilon!r}; give a finite number above 0, e.g. 1e-8")

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table; ValueError without an `entropy` column."""
        entropy, advantages = _entropy(steps), self.estimator(steps)
        if len(entropy) == 0:
            return advantages
        relative = (entropy - entropy.min()) / (entropy.max() - entropy.min() + self.epsilon)
        weight = np.exp(-self.scaling * relative)
        modulated = advantages * weight / weight.mean()
        order, trajectory = steps.time_order, steps.trajectory_code
        goes_on = trajectory[order[:-1]] == trajectory[order[1:]]
        row, following = order[:-1][goes_on], order[1:][goes_on]
        modulated[row] += self.bonus * np.exp(-self.clarity * relative[following])
        return modulated - modulated.mean()


ENTROPY_CREDITS: dict[EntropyCreditName, Callable[[Any], Any]] = {
    "none": lambda estimator: estimator,
    "aem": AEM,
    "empg": EMPG,
}
"""The entropy credits by name; each makes an estimator from an estimator."""


def _entropy(steps: StepTable) -> NDArray[np.float64]:
    if steps.entropy is None:
        raise ValueError(
            "entropy credit needs the entropy of every response, and the table has none: give "
            "StepTable(entropy=…), or in a file the column entropy, the mean entropy of the distributions of "
            "the response's tokens in nats; hgpo train --entropy-credit aem --keep-rollouts writes it, and "
            "minus the mean log-probability of the tokens is an estimate of it"
        )
    return steps.entropy
