"""The common part of estimators with two terms: one compares whole trajectories, the other single steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.baseline import Normalization, Statistics, group_advantages, require_non_negative
from hgpo.estimators.comparison import Comparison, Level, state_levels
from hgpo.estimators.grpo import GRPO
from hgpo.returns import Returns
from hgpo.steps import StepTable


@dataclass(frozen=True, kw_only=True)
class EpisodeAndStep(ABC):
    """A = w_e A_episode + w_s A_step: GRPO's advantage of the trajectory, and a subclass's of the step."""

    episode_weight: float = 1.0
    """w_e, the weight of the episode term; 0 leaves it out."""
    step_weight: float = 1.0
    """w_s, the weight of the step term."""
    normalization: Normalization = "mean_std"
    """In both terms: "mean_std" divides by the standard deviation, "mean" does not."""
    statistics: Statistics = "trajectories"
    """Whether the episode term's mean and standard deviation run over trajectories or rows; see GRPO."""
    epsilon: float = 1e-6
    """ε added to standard deviations, in units of reward."""
    invalid_penalty: float = 0.0
    """Subtracted where a row with an invalid action is compared, in both terms, in units of reward; the
    values of states do not include it."""

    task_local: ClassVar[bool] = True
    """Whether the advantages of a task depend on that task only."""
    pooled: ClassVar[bool] = True
    """Whether a state's value depends on rollouts that never visited it; see `Comparison`."""

    def __post_init__(self) -> None:
        require_non_negative("episode_weight", self.episode_weight)
        require_non_negative("step_weight", self.step_weight)
        self._episode_term()  # checks the settings that both terms share

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table."""
        advantages = self.step_weight * self._step_term(steps)
        if self.episode_weight:
            advantages += self.episode_weight * self._episode_term()(steps)
        return advantages

    def comparison(self, steps: StepTable) -> Comparison:
        """The amounts that the step term compares, after penalties, and the groups of both terms."""
        episode = (self._episode_term().level(steps),) if self.episode_weight else ()
        levels = (*episode, *self._step_levels(steps))
        return Comparison(self._compared(steps), levels, pooled=self.pooled)

    @abstractmethod
    def _step_term(self, steps: StepTable) -> NDArray[np.float64]:
        """A_step, shape (rows,)."""

    @abstractmethod
    def _compared(self, steps: StepTable) -> NDArray[np.float64]:
        """The amounts from which A_step is computed, shape (rows,)."""

    def _step_levels(self, steps: StepTable) -> tuple[Level, ...]:
        """The groups within which the step term compares, the shallowest first."""
        return (same_state(steps),)

    def _episode_term(self) -> GRPO:
        return GRPO(
            normalization=self.normalization,
            statistics=self.statistics,
            epsilon=self.epsilon,
            invalid_penalty=self.invalid_penalty,
        )

    def _within(self, amounts: Returns, level: Level) -> NDArray[np.float64]:
        """The amounts minus the mean of their group, divided according to `normalization`; shape (rows,)."""
        advantages, _ = group_advantages(
            amounts.merged(level.groups),
            level,
            normalization=self.normalization,
            epsilon=self.epsilon,
            ddof=1,
        )
        return advantages


def same_state(steps: StepTable) -> Level:
    """The level of the rows that acted in the same state of the task."""
    return next(state_levels(steps, history_length=0))
