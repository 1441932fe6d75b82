"""GraphGPO: GRPO, and each step compared by how near to the goal it leads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.episode_and_step import EpisodeAndStep, same_state
from hgpo.estimators.graph import MergedGraph
from hgpo.returns import Returns, invalid_penalties, trajectory_returns
from hgpo.rounding import ARITHMETIC
from hgpo.steps import StepTable


@dataclass(frozen=True, kw_only=True)
class GraphGPO(EpisodeAndStep):
    """Graph-based Group Policy Optimization: an episode term, and a step term by distance to the goal.

        A      = w_e A_episode + w_s A_step,   A_episode: GRPO's
        A_step = (D − mean(G)) / (std(G) + ε),   D = 10 ω^d,   G = the task's rows in the same state

    d is the length of the shortest path from the state that the step leads to, over steps that any rollout of
    the task took, to the end of a successful rollout; it is 0 for the last step of such a rollout. If no path
    is known, d is one more than the longest known path in the task, so a task without success has A_step = 0.
    Source: arXiv 2605.26684, and the authors' code.
    """

    decay: float = 0.1
    """ω, the factor per step of distance, between 0 and 1; 0.1 on ALFWorld in the authors' recipes."""
    goal_value: float = 10.0
    """D of a step that reaches the goal, in units of reward; it has an effect only without division."""
    success_above: float = 0.0
    """A trajectory is successful if its rewards add up to more than this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.decay <= 1.0:
            raise ValueError(f"decay is {self.decay!r}; give a number between 0 and 1, e.g. 0.1")
        for name in ("goal_value", "success_above"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a finite number")

    def _step_term(self, steps: StepTable) -> NDArray[np.float64]:
        nearness = self._compared(steps)
        rounding = ARITHMETIC * (abs(self.goal_value) + self.invalid_penalty)
        return self._within(Returns(nearness, np.full(len(nearness), rounding)), same_state(steps))

    def _compared(self, steps: StepTable) -> NDArray[np.float64]:
        graph = MergedGraph.of(steps)
        reaches_goal = graph.ends & (trajectory_returns(steps) > self.success_above)
        nearness = self.goal_value * self.decay ** graph.distance_ahead(reaches_goal)
        return nearness - invalid_penalties(steps, self.invalid_penalty)
