"""GRPO, Dr. GRPO and RLOO: comparisons of the trajectories of one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.baseline import (
    Ddof,
    Normalization,
    Statistics,
    group_advantages,
    require_non_negative,
    require_one_of,
)
from hgpo.estimators.comparison import Comparison, Level
from hgpo.estimators.leave_one_out import blocks_of
from hgpo.returns import Returns, whole_returns
from hgpo.steps import StepTable

TrajectoryPeers = Literal["all", "other_trajectories"]
"""Which trajectories of a task a trajectory is compared with."""


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Group Relative Policy Optimization: the whole trajectory's return against those of its task.

        A = (R_τ − mean) / (std + ε),  R_τ = Σ_t r_t,  on every row of τ

    A trajectory without others of its task gets 0.
    Source: arXiv 2402.03300, outcome supervision.
    """

    normalization: Normalization = "mean_std"
    """"mean_std" divides by the standard deviation, "mean" does not."""
    statistics: Statistics = "trajectories"
    """Mean and standard deviation over "trajectories", or over "rows", where long trajectories have more
    weight (the default of the released agent code). With trajectories, the row of step 0 gives its
    trajectory's value, which matters only if a penalty makes rows of one trajectory differ."""
    peers: TrajectoryPeers = "all"
    """The trajectories whose mean the return is compared with: "all", or "other_trajectories" (leave-one-out,
    see RLOO)."""
    epsilon: float = 1e-6
    """ε added to the standard deviation, in units of reward."""
    ddof: Ddof = 1
    """1 for Bessel's standard deviation, 0 for the population's."""
    invalid_penalty: float = 0.0
    """Subtracted from the return of a row whose action was not valid, in units of reward."""
    propagate_penalty: bool = False
    """Include the penalties in the trajectory's return, on all its rows, instead."""

    task_local: ClassVar[bool] = True
    """Whether the advantages of a task depend on that task only."""

    def __post_init__(self) -> None:
        require_one_of("normalization", self.normalization, Normalization)
        require_one_of("statistics", self.statistics, Statistics)
        require_one_of("peers", self.peers, TrajectoryPeers)
        require_non_negative("epsilon", self.epsilon)
        require_one_of("ddof", self.ddof, Ddof)
        require_non_negative("invalid_penalty", self.invalid_penalty)

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table."""
        return self.advantages_from_scores(self._scores(steps), self.level(steps))[0]

    def comparison(self, steps: StepTable) -> Comparison:
        """Returns of whole trajectories, compared within each task."""
        return Comparison(self._scores(steps).values, (self.level(steps),))

    def level(self, steps: StepTable) -> Level:
        """The groups: one per task; each trajectory, or each row of it, counts once."""
        return Level(
            "episode",
            "any trajectory of the task",
            steps.task_code,
            sample=steps.step_index == 0 if self.statistics == "trajectories" else None,
            blocks=blocks_of(steps, self.peers),
        )

    def advantages_from_scores(
        self, scores: Returns, level: Level
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Advantages of given scores, and whether each row's task has different scores; both (rows,).

        Args:
            scores: The return of each row's trajectory.
            level: What `level` returns.
        """
        return group_advantages(
            scores, level, normalization=self.normalization, epsilon=self.epsilon, ddof=self.ddof
        )

    def _scores(self, steps: StepTable) -> Returns:
        return whole_returns(
            steps, invalid_penalty=self.invalid_penalty, propagate_penalty=self.propagate_penalty
        )


@dataclass(frozen=True, kw_only=True)
class _Undivided:
    """The common part of Dr. GRPO and RLOO: GRPO without division by the standard deviation."""

    invalid_penalty: float = 0.0
    """Subtracted from the return of a row whose action was not valid, in units of reward."""
    propagate_penalty: bool = False
    """Include the penalties in the trajectory's return, on all its rows, instead."""

    task_local: ClassVar[bool] = True
    """Whether the advantages of a task depend on that task only."""

    def __post_init__(self) -> None:
        self._grpo()  # checks the settings

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table."""
        return self._grpo()(steps)

    def comparison(self, steps: StepTable) -> Comparison:
        """Returns of whole trajectories, compared within each task."""
        return self._grpo().comparison(steps)

    def _grpo(self, **settings: Any) -> GRPO:
        return GRPO(
            normalization="mean",
            invalid_penalty=self.invalid_penalty,
            propagate_penalty=self.propagate_penalty,
            **settings,
        )


@dataclass(frozen=True, kw_only=True)
class DrGRPO(_Undivided):
    """GRPO done right: no division by the standard deviation, which would favour tasks of near-equal returns.

        A = R_τ − mean,  R_τ = Σ_t r_t,  on every row of τ

    The other half of the proposal, no division by a response's length, is a setting of the loss
    (`PolicyLoss(average="constant")`). Source: arXiv 2503.20783.
    """

    statistics: Statistics = "trajectories"
    """What the mean runs over; see GRPO."""

    def _grpo(self, **settings: Any) -> GRPO:
        return super()._grpo(statistics=self.statistics, **settings)


@dataclass(frozen=True, kw_only=True)
class RLOO(_Undivided):
    """REINFORCE with a leave-one-out baseline: each trajectory's return against the mean of the others'.

        A = R_τ − mean_{τ' ≠ τ} R_τ',  R_τ = Σ_t r_t,  on every row of τ

    With n trajectories per task this is n / (n − 1) times Dr. GRPO's advantage. A single trajectory gets 0.
    Source: arXiv 2402.14740.
    """

    def _grpo(self, **settings: Any) -> GRPO:
        return super()._grpo(peers="other_trajectories", **settings)
