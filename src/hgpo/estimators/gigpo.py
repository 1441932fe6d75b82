"""GiGPO: GRPO plus a comparison of the steps taken from the same state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.baseline import Ddof, Normalization, Statistics, group_advantages, require_non_negative
from hgpo.estimators.comparison import Comparison, Level, state_levels
from hgpo.estimators.grpo import GRPO
from hgpo.near_states import require_similarity
from hgpo.returns import Returns, require_discount, returns_to_go
from hgpo.steps import StepTable


@dataclass(frozen=True, kw_only=True)
class GiGPO:
    """Group-in-Group Policy Optimization: an episode term and a step term.

        A = A_episode + ω A_step
        A_episode: GRPO's.   A_step = (R_t − mean(G)) / (std(G) + ε),  G = the task's rows in the same state

    R_t is the discounted return to go. A row whose state no other row shares has A_step = 0.
    Source: arXiv 2505.10978.
    """

    step_weight: float = 1.0
    """ω, the weight of the step term."""
    discount: float = 0.95
    """γ of the step term's returns to go."""
    normalization: Normalization = "mean_std"
    """In both terms: "mean_std" divides by the standard deviation, "mean" does not."""
    statistics: Statistics = "trajectories"
    """Whether the episode term's mean and standard deviation run over trajectories or rows; see GRPO."""
    similarity: float | None = None
    """Treat observations at least this similar (0 … 1) as the same state, instead of comparing state keys;
    0.95 in GiGPO's code. See `hgpo.near_states.similar_text_keys` for the measure and its cost."""
    epsilon: float = 1e-6
    """ε added to the standard deviation, in units of reward."""
    ddof: Ddof = 1
    """In both terms: 1 is Bessel's standard deviation, 0 the population's."""
    invalid_penalty: float = 0.0
    """Subtracted from the return of a row whose action was not valid, in units of reward."""
    propagate_penalty: bool = False
    """Subtract the penalty from the reward instead, so that it also lowers the returns of earlier steps."""

    task_local: ClassVar[bool] = True
    """Whether the advantages of a task depend on that task only."""

    def __post_init__(self) -> None:
        require_non_negative("step_weight", self.step_weight)
        require_discount(self.discount)
        if self.similarity is not None:
            require_similarity(self.similarity)
        self._episode_term()  # checks the settings that both terms share

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table."""
        step_advantages, _ = group_advantages(
            self._returns(steps),
            self._step_level(steps),
            normalization=self.normalization,
            epsilon=self.epsilon,
            ddof=self.ddof,
        )
        return self._episode_term()(steps) + self.step_weight * step_advantages

    def comparison(self, steps: StepTable) -> Comparison:
        """Returns to go, compared in the step term's groups; whole trajectories in the episode term's."""
        return Comparison(
            self._returns(steps).values, (self._episode_term().level(steps), self._step_level(steps))
        )

    def _returns(self, steps: StepTable) -> Returns:
        return returns_to_go(
            steps,
            self.discount,
            invalid_penalty=self.invalid_penalty,
            propagate_penalty=self.propagate_penalty,
        )

    def _step_level(self, steps: StepTable) -> Level:
        return next(state_levels(steps, history_length=0, similarity=self.similarity))

    def _episode_term(self) -> GRPO:
        return GRPO(
            normalization=self.normalization,
            statistics=self.statistics,
            epsilon=self.epsilon,
            ddof=self.ddof,
            invalid_penalty=self.invalid_penalty,
            propagate_penalty=self.propagate_penalty,
        )
