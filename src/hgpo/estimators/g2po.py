"""G2PO: GRPO, and each step compared by the value of the state that it leads to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.comparison import Level, whole_task
from hgpo.estimators.episode_and_step import EpisodeAndStep, same_state
from hgpo.estimators.graph import MergedGraph
from hgpo.returns import Returns, invalid_penalties, require_discount, whole_returns
from hgpo.steps import StepTable


@dataclass(frozen=True, kw_only=True)
class G2PO(EpisodeAndStep):
    """Group-Graph Policy Optimization: an episode term, and a step term by the values of two states.

        A      = w_e A_episode + w_s (norm_G(V(s')) + norm_task(V(s') − V(s))),   A_episode: GRPO's
        V(s)   = mean over the visits of s by rollouts of the task of γ^(T − t) R_τ
        norm_X(x) = (x − mean(X)) / (std(X) + ε)

    s' is the state that the step leads to, t its number and T that of the rollout's steps; after the last
    step V(s') = R_τ. G holds the task's rows in the state s.
    Source: arXiv 2606.22995, and the authors' code.
    """

    discount: float = 0.95
    """γ: discount factor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_discount(self.discount)

    def _step_term(self, steps: StepTable) -> NDArray[np.float64]:
        after, gain = self._values(steps)
        return self._within(after, same_state(steps)) + self._within(gain, whole_task(steps))

    def _compared(self, steps: StepTable) -> NDArray[np.float64]:
        return self._values(steps)[0].values

    def _step_levels(self, steps: StepTable) -> tuple[Level, ...]:
        return whole_task(steps), same_state(steps)

    def _values(self, steps: StepTable) -> tuple[Returns, Returns]:
        """V(s') minus penalties, and V(s') − V(s)."""
        graph = MergedGraph.of(steps)
        whole = whole_returns(steps)
        length = np.bincount(steps.trajectory_code)[steps.trajectory_code]
        values = graph.mean(self.discount ** (length - steps.step_index) * whole.values)
        after = graph.ahead(values, at_end=whole.values)
        rounding = graph.largest_of_task(2.0 * whole.rounding)
        compared = Returns(after - invalid_penalties(steps, self.invalid_penalty), rounding)
        return compared, Returns(after - values[graph.node], 2.0 * rounding)
