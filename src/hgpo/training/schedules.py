"""Schedules: how the learning rate and the loss's coefficients change over the iterations of a run.

A schedule is a function of the iteration and keeps no state, so that a resumed run follows it exactly. The
shapes are those of transformers' `get_wsd_schedule`, which only handles learning rates. The one exception is
an entropy coefficient with a target, whose value is saved with each checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

DecayShape = Literal["constant", "linear", "cosine"]

_SHAPES: dict[DecayShape, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: (1.0 + math.cos(math.pi * progress)) / 2,
}
"""Falls from 1 to 0 as the progress goes from 0 to 1; "constant" stays at 1."""


@dataclass(frozen=True)
class Decay:
    """How a setting changes from its initial value to a fraction of it at the end of the run.

        value × (f + (1 − f) s(p))

    with the final fraction f, the progress p from 0 to 1 (see `progress_at`), and s(p) = 1 (constant), 1 − p
    (linear) or (1 + cos πp) / 2 (cosine).
    """

    shape: DecayShape = "constant"
    """"constant" keeps the initial value and ignores `final`; "linear" and "cosine" decay to the
    fraction."""
    final: float = 0.0
    """f: the last iteration's value as a fraction of the initial one; with 0.2, 6e-4 falls to 1.2e-4."""

    def __post_init__(self) -> None:
        if self.shape not in _SHAPES:
            raise ValueError(f"shape is {self.shape!r}: expected one of {', '.join(_SHAPES)}")
        if not 0 <= self.final < math.inf:
            raise ValueError(f"final is {self.final}: expected a fraction of at least 0")

    def fraction(self, progress: float) -> float:
        """The factor that multiplies the setting at a progress from 0 to 1."""
        return self.final + (1.0 - self.final) * _SHAPES[self.shape](progress)


@dataclass(frozen=True)
class EntropyTarget:
    """Holds the policy's entropy at a target by changing the entropy coefficient η; off by default.

        η ← max(0, η + λ (H* − H))

    after every iteration, where H is the entropy measured in the update (the metric `entropy`). η starts at
    the loss's entropy coefficient. Soft actor-critic adjusts its temperature by the same gradient step, for
    the entropy of actions: arXiv 1812.05905 (section 5).
    """

    nats: float | None = None
    """H*: target for the mean entropy of the token distributions; None: the coefficient does not depend on
    the entropy."""
    rate: float = 0.01
    """λ: change of the coefficient per iteration and per nat of difference from the target."""

    def __post_init__(self) -> None:
        if self.nats is not None and not 0 < self.nats < math.inf:
            raise ValueError(f"entropy_target.nats is {self.nats}: expected an entropy above 0")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"entropy_target.rate is {self.rate}: expected a number above 0")

    def next_coefficient(self, coefficient: float, entropy: float) -> float:
        """The entropy coefficient of the next iteration.

        Args:
            coefficient: the coefficient of this iteration.
            entropy: the entropy measured in this iteration, in nats.
        """
        return coefficient if self.nats is None else max(0.0, coefficient + self.rate * (self.nats - entropy))


class EntropyControl:
    """A run's entropy coefficient, which follows the measured entropy if there is a target."""

    def __init__(self, target: EntropyTarget, coefficient: float) -> None:
        """Start with the loss's entropy coefficient."""
        self.target, self.coefficient = target, coefficient

    def update(self, entropy: float) -> None:
        """Set the next iteration's coefficient from the entropy measured in this one, in nats."""
        self.coefficient = self.target.next_coefficient(self.coefficient, entropy)


def warm_up(iteration: int, length: int) -> float:
    """The factor of the learning rate during warm-up: min(1, (i + 1) / (w + 1)).

    Args:
        iteration: i, the number of iterations done so far.
        length: w, the number of iterations below the full rate.
    """
    return min(1.0, (iteration + 1) / (length + 1))


def progress_at(iteration: int, iterations: int, *, warmup: int = 0, budget_used: float = 0.0) -> float:
    """Progress of a schedule: 0 in the first iteration after the warm-up, 1 in the last iteration.

        p = max((i − w) / (n − 1 − w), budget used), limited to 0 … 1

    A run that ends by a budget has no fixed number of iterations, so the used fraction of the budget counts
    if it is larger.

    Args:
        iteration: i, the number of iterations done so far.
        iterations: n, iterations of the whole run.
        warmup: w, number of warm-up iterations.
        budget_used: the fraction of the budget used before this iteration, from 0 to 1.
    """
    by_iteration = (iteration - warmup) / max(1, iterations - 1 - warmup)
    return min(1.0, max(0.0, by_iteration, budget_used))
