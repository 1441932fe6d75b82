"""A user's own estimator on one page: compares each step with the same step of other trajectories.

hgpo train estimator:examples/own_estimator.py:SameStep --estimator.discount 0.9
hgpo compare --estimators hgpo grpo examples/own_estimator.py:SameStep
"""

from dataclasses import dataclass

import numpy as np

from hgpo import StepTable
from hgpo.estimators import Comparison, Level
from hgpo.estimators.baseline import group_advantages
from hgpo.returns import Returns, returns_to_go


@dataclass(frozen=True, kw_only=True)
class SameStep:
    """The return to go minus the mean over the task's trajectories at the same step."""

    discount: float = 0.95
    """γ of the returns to go."""
    invalid_penalty: float = 0.0
    """Subtracted from the return of a row whose action was not valid, in units of reward."""

    def __call__(self, steps: StepTable) -> np.ndarray:
        """Advantages, shape (rows,), in the order of the table."""
        return group_advantages(
            self._returns(steps), self._level(steps), normalization="mean", epsilon=1e-6, ddof=1
        )[0]

    def comparison(self, steps: StepTable) -> Comparison:
        """How the advantages arise: returns to go, compared at one level of groups."""
        return Comparison(self._returns(steps).values, (self._level(steps),))

    def _returns(self, steps: StepTable) -> Returns:
        return returns_to_go(steps, self.discount, invalid_penalty=self.invalid_penalty)

    def _level(self, steps: StepTable) -> Level:
        pairs = np.stack([steps.task_code, steps.step_index])
        groups = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)
        return Level("step", "the same task and step", groups)
