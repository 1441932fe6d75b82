"""PPO's advantages: generalised advantage estimation over steps, from the values of a critic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.baseline import Ddof, group_advantages, require_non_negative, require_one_of
from hgpo.estimators.comparison import Comparison, whole_batch
from hgpo.returns import Returns, generalized_advantages, invalid_penalties, require_discount
from hgpo.rounding import ARITHMETIC
from hgpo.steps import StepTable


@dataclass(frozen=True, kw_only=True)
class PPO:
    """Proximal Policy Optimization's advantages, by GAE over steps (turns), not tokens.

        δ_t = r_t + γ V_{t+1} − V_t,   A_t = Σ_l (γ λ)^l δ_{t+l},   V after the last step = 0

    V_t is the table's `value`: the critic's estimate of the return to go when the agent sees step t. A
    trajectory that the step limit truncates ends there like any other, because the limit is part of the task.
    The critic's target is A_t + V_t, `value_targets`.
    Sources: arXiv 1707.06347; GAE arXiv 1506.02438 (eq. 16).
    """

    discount: float = 0.95
    """γ: discount factor."""
    gae_lambda: float = 0.95
    """λ: with 1 only the returns count, A = R − V; with 0 only the critic, A = δ."""
    whiten: bool = True
    """Shift and scale the advantages to mean 0 and standard deviation 1 over all rows, as is common."""
    epsilon: float = 1e-6
    """ε added to that standard deviation, in units of reward."""
    ddof: Ddof = 1
    """1 for Bessel's standard deviation, 0 for the population's."""
    invalid_penalty: float = 0.0
    """Subtracted from the advantage of a row whose action was not valid, before whitening, in units of
    reward."""
    propagate_penalty: bool = False
    """Subtract the penalty from the reward instead, so that it also affects the critic and earlier steps."""

    def __post_init__(self) -> None:
        require_discount(self.discount)
        if not 0.0 <= self.gae_lambda <= 1.0:
            raise ValueError(f"gae_lambda is {self.gae_lambda!r}; give a number between 0 and 1, e.g. 0.95")
        require_non_negative("epsilon", self.epsilon)
        require_one_of("ddof", self.ddof, Ddof)
        require_non_negative("invalid_penalty", self.invalid_penalty)

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table; ValueError without a `value` column."""
        advantages = self._less_penalties(steps)
        if self.whiten:
            assert steps.value is not None
            rounding = ARITHMETIC * (np.abs(advantages) + np.abs(steps.value) + np.abs(steps.reward))
            advantages, _ = group_advantages(
                Returns(advantages, rounding),
                whole_batch(steps),
                normalization="mean_std",
                epsilon=self.epsilon,
                ddof=self.ddof,
            )
        return advantages

    def comparison(self, steps: StepTable) -> Comparison:
        """λ-returns, A_t + V_t, minus penalties; whitening compares their differences from V_t."""
        advantages = self._less_penalties(steps)
        assert steps.value is not None
        return Comparison(advantages + steps.value, (whole_batch(steps),) if self.whiten else ())

    def value_targets(self, steps: StepTable) -> NDArray[np.float64]:
        """The critic's targets, A_t + V_t before whitening; shape (rows,)."""
        advantages = self._before_whitening(steps)
        assert steps.value is not None
        return advantages + steps.value

    def _less_penalties(self, steps: StepTable) -> NDArray[np.float64]:
        """The advantages before whitening."""
        advantages = self._before_whitening(steps)
        if self.propagate_penalty:
            return advantages
        return advantages - invalid_penalties(steps, self.invalid_penalty)

    def _before_whitening(self, steps: StepTable) -> NDArray[np.float64]:
        return generalized_advantages(
            steps,
            self.discount,
            self.gae_lambda,
            invalid_penalty=self.invalid_penalty if self.propagate_penalty else 0.0,
        )
