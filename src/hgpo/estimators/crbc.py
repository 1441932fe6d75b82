"""CRBC: GRPO, and each action compared with its state's value in a task's merged rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.actions import TriedActions, where_actions_differ
from hgpo.estimators.baseline import require_non_negative
from hgpo.estimators.comparison import Level
from hgpo.estimators.episode_and_step import EpisodeAndStep, same_state
from hgpo.estimators.graph import MergedGraph
from hgpo.returns import (
    Returns,
    invalid_penalties,
    require_discount,
    trajectory_returns,
)
from hgpo.steps import StepTable


@dataclass(frozen=True, kw_only=True)
class CRBC(EpisodeAndStep):
    """Cross-Rollout Bellman Closure: an episode term, and a step term Q − V of the task's merged rollouts.

        A       = w_e A_episode + w_s A_step,   A_episode: GRPO's
        A_step  = (Q(s, a) − V(s)) / max(σ(s), σ_min),   0 if only one action was tried in s
        Q(s, a) = mean over the task's rows with the action a in s of γ (r + V(s')),   V after the end = 0
        V(s)    = the same mean over all rows in s
        σ(s)²   = mean over the rows in s of (Q(s, a) − V(s))²

    σ_min is in units of the largest return of the task: the paper's rewards are 1 for success and 0
    otherwise, so that V is the discounted probability of success. The table needs `action` or `action_key`.
    Source: arXiv 2609.35082 (eqs. 5 to 14).
    """

    step_weight: float = 5.0
    """w_s, the weight of the step term."""
    discount: float = 0.98
    """γ, the paper's β."""
    smallest_deviation: float = 0.1
    """σ_min, in units of the largest absolute return of the task."""

    needs_actions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_discount(self.discount)
        require_non_negative("smallest_deviation", self.smallest_deviation)

    def _step_term(self, steps: StepTable) -> NDArray[np.float64]:
        graph = MergedGraph.of(steps)
        targets = self._targets(steps, graph)
        credit = TriedActions.of(graph.node, steps.action_code).contrast(targets.values)
        credit[np.abs(credit) <= targets.rounding] = 0.0
        if self.normalization == "mean":
            return credit
        deviation = np.sqrt(graph.mean(np.square(credit)))[graph.node]
        unit = graph.largest_of_task(np.abs(trajectory_returns(steps)))
        divisor = np.maximum(deviation, self.smallest_deviation * unit)
        return np.divide(credit, divisor, out=np.zeros(len(credit)), where=credit != 0.0)

    def _step_levels(self, steps: StepTable) -> tuple[Level, ...]:
        return (where_actions_differ(same_state(steps), steps.action_code),)

    def _compared(self, steps: StepTable) -> NDArray[np.float64]:
        return self._targets(steps, MergedGraph.of(steps)).values

    def _targets(self, steps: StepTable, graph: MergedGraph) -> Returns:
        """γ (r + V(s')) of every row minus penalties, and the bound on its error."""
        values = graph.closure(steps, self.discount)
        # `values` has V = mean of r + γ V(s'). In the paper, success is a state of value 1 that is reached
        # one step after the last step, so all of its values are γ times these.
        targets = self.discount * values.target - invalid_penalties(steps, self.invalid_penalty)
        return Returns(targets, values.precision)
