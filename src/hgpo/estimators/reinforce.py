"""REINFORCE++: returns normalised over the whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.baseline import Ddof, group_advantages, require_non_negative, require_one_of
from hgpo.estimators.comparison import Comparison, Level, whole_batch, whole_task
from hgpo.returns import Returns, require_discount, returns_to_go
from hgpo.steps import StepTable

Baseline = Literal["batch", "task"]
"""The mean that is subtracted from a return before the division."""


@dataclass(frozen=True, kw_only=True)
class ReinforcePlusPlus:
    """REINFORCE++: the return to go compared with all rows of the batch, of any task.

        A = (B_t − mean_batch(B)) / (std_batch(B) + ε)
        B_t = R_t                          baseline "batch"
        B_t = R_t − mean(R of the task)    baseline "task", "REINFORCE++ with baseline" in the paper

    R_t is the discounted return to go; means and standard deviation run over rows. The divergence from a
    reference policy, which the paper subtracts from the reward, is a term of the loss here.
    Source: arXiv 2501.03262.
    """

    baseline: Baseline = "batch"
    """"batch", or "task" if each task has several rollouts."""
    discount: float = 1.0
    """γ of the returns to go; 1 in the paper."""
    epsilon: float = 1e-6
    """ε added to the standard deviation, in units of reward."""
    ddof: Ddof = 1
    """1 for Bessel's standard deviation, 0 for the population's."""
    invalid_penalty: float = 0.0
    """Subtracted from the return of a row whose action was not valid, in units of reward."""
    propagate_penalty: bool = False
    """Subtract the penalty from the reward instead, so that it also lowers the returns of earlier steps."""

    def __post_init__(self) -> None:
        require_one_of("baseline", self.baseline, Baseline)
        require_discount(self.discount)
        require_non_negative("epsilon", self.epsilon)
        require_one_of("ddof", self.ddof, Ddof)
        require_non_negative("invalid_penalty", self.invalid_penalty)

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table."""
        returns = self._returns(steps)
        *narrower, batch = self._levels(steps)
        for level in narrower:
            centred, _ = group_advantages(
                returns, level, normalization="mean", epsilon=self.epsilon, ddof=self.ddof
            )
            # The error of the mean is at most the mean error of the returns.
            off = np.bincount(level.groups, returns.rounding) / np.bincount(level.groups)
            returns = Returns(centred, returns.rounding + off[level.groups]).merged(batch.groups)
        advantages, _ = group_advantages(
            returns, batch, normalization="mean_std", epsilon=self.epsilon, ddof=self.ddof
        )
        return advantages

    def comparison(self, steps: StepTable) -> Comparison:
        """Returns to go, compared within each task if the baseline is the task's, and within the batch."""
        return Comparison(self._returns(steps).values, self._levels(steps))

    def _returns(self, steps: StepTable) -> Returns:
        return returns_to_go(
            steps,
            self.discount,
            invalid_penalty=self.invalid_penalty,
            propagate_penalty=self.propagate_penalty,
            groups=self._levels(steps)[0].groups,
        )

    def _levels(self, steps: StepTable) -> tuple[Level, ...]:
        batch = whole_batch(steps)
        if self.baseline == "batch":
            return (batch,)
        return whole_task(steps), batch
