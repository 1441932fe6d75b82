"""GAGPO and GRAFT: generalised advantages from values of states computed from rollouts, without a critic."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.comparison import Level, whole_task
from hgpo.estimators.episode_and_step import EpisodeAndStep
from hgpo.estimators.graph import MergedGraph
from hgpo.returns import (
    Returns,
    generalized_advantages,
    invalid_penalties,
    require_discount,
    returns_to_go,
)
from hgpo.steps import StepTable


@dataclass(frozen=True, kw_only=True)
class _FromStateValues(EpisodeAndStep):
    """The common part: generalised advantages from values of states, normalised within groups."""

    episode_weight: float = 0.0
    """w_e, the weight of GRPO's advantage as an episode term; 0 leaves it out."""
    discount: float = 0.95
    """γ: discount factor."""
    gae_lambda: float = 0.95
    """λ: with 1 only the returns count, A = R − V; with 0 only the values, A = δ."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_discount(self.discount)
        if not 0.0 <= self.gae_lambda <= 1.0:
            raise ValueError(f"gae_lambda is {self.gae_lambda!r}; give a number between 0 and 1, e.g. 0.95")

    def _step_term(self, steps: StepTable) -> NDArray[np.float64]:
        values = self._values(steps)
        estimates = Returns(self._estimates(steps, values.values), values.rounding)
        (level,) = self._step_levels(steps)
        return self._within(estimates, level)

    def _compared(self, steps: StepTable) -> NDArray[np.float64]:
        """λ-returns, A_t + V(s_t), minus penalties."""
        values = self._values(steps).values
        return self._estimates(steps, values) + values

    def _estimates(self, steps: StepTable, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """A_t minus penalties, before normalisation; shape (rows,)."""
        advantages = generalized_advantages(steps.with_values(values), self.discount, self.gae_lambda)
        return advantages - invalid_penalties(steps, self.invalid_penalty)

    @abstractmethod
    def _values(self, steps: StepTable) -> Returns:
        """V(s_t) of every row, and the resulting bound on the error of A_t."""


@dataclass(frozen=True, kw_only=True)
class GAGPO(_FromStateValues):
    """Generalized Advantage Grouped Policy Optimization: GAE on the mean returns of states.

        A    = (A_t − mean(task)) / (std(task) + ε),   A_t = Σ_l (γ λ)^l δ_{t+l}
        δ_t  = r_t + γ V(s_{t+1}) − V(s_t),   V after the last step = 0
        V(s) = mean of the discounted returns to go over all visits of s by rollouts of the task

    The rest of the method, one importance ratio for all tokens of an action, belongs to the loss.
    Source: arXiv 2605.13217, as given by four summaries. They do not have its γ and λ; the defaults are
    PPO's.
    """

    def _values(self, steps: StepTable) -> Returns:
        graph = MergedGraph.of(steps)
        returns = returns_to_go(steps, self.discount)
        values = graph.mean(returns.values)[graph.node]
        return Returns(values, graph.largest_of_task(4.0 * returns.rounding))

    def _step_levels(self, steps: StepTable) -> tuple[Level, ...]:
        return (whole_task(steps),)


@dataclass(frozen=True, kw_only=True)
class GRAFT(_FromStateValues):
    """GRAFT: GAE on the Bellman values of the merged graph of a task's rollouts, normalised in each state.

        A    = (A_t − mean(G)) / (std(G) + ε),   A_t = Σ_l (γ λ)^l δ_{t+l},   G = the task's rows in s_t
        δ_t  = r_t + γ V(s_{t+1}) − V(s_t),   V after the last step = 0
        V(s) = mean over the task's rows in s of r + γ V(s')

    Source: a one-line summary of a paper of 2026 whose text was not available. The summary has V on the
    merged graph with γ = 0.99, γ V(s') − V(s), λ = 0.95 (ALFWorld) or 0.8 (WebShop) over the graph's edges,
    and normalisation in each node. Choices made here: V averages over what the rollouts did instead of taking
    the best, the sum over l follows the row's own trajectory, and the standard deviation is Bessel's. (If the
    sum averaged over all edges that leave each node, the later δ would cancel and λ would have no effect.)
    """

    discount: float = 0.99
    """γ: discount factor."""

    def _values(self, steps: StepTable) -> Returns:
        values = MergedGraph.of(steps).closure(steps, self.discount)
        return Returns(values.value, values.precision)
