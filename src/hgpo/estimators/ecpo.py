"""ECPO: GRPO, and each action's mean return, shrunk according to the evidence for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.actions import TriedActions, where_actions_differ
from hgpo.estimators.baseline import require_non_negative
from hgpo.estimators.comparison import Level
from hgpo.estimators.episode_and_step import EpisodeAndStep, same_state
from hgpo.estimators.graph import MergedGraph
from hgpo.returns import Returns, require_discount, returns_to_go
from hgpo.steps import StepTable


@dataclass(frozen=True, kw_only=True)
class ECPO(EpisodeAndStep):
    """Evidence-Calibrated Policy Optimization: an episode term, and a step term of shrunken action means.

        A      = w_e A_episode + w_s ρ(s) A_step,   A_episode: GRPO's
        A_step = (m(s, a) − μ(s)) / (std(s) + ε),   m(s, a) = (n_a mean(s, a) + κ μ(s)) / (n_a + κ)
        ρ(s)   = tanh(n / τ) B / (B + W + ε)

    mean(s, a), n_a: mean and number of the returns to go of the task's rows with the action a in the state
    s; μ(s), std(s), n: those of all rows in s. B and W split the population's variance in s into the variance
    between the means of actions and the variance within actions. The table needs `action` or `action_key`.
    Source: arXiv 2606.05885, as given by summaries of it, which have the formulas of m, ρ and A. Choices made
    here: A_step is divided by the standard deviation (Bessel's) of the state's returns, τ, and w_s.
    """

    discount: float = 0.95
    """γ of the returns to go."""
    shrinkage: float = 2.0
    """κ: this number of returns equal to the state's mean is added to each action's returns."""
    evidence_scale: float = 4.0
    """τ, in rows: a state with τ rows has 76 % of the weight of a state with very many."""

    pooled: ClassVar[bool] = False
    """Returns are compared within a state, not pooled along chains of shared states."""
    needs_actions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_discount(self.discount)
        require_non_negative("shrinkage", self.shrinkage)
        if not 0.0 < self.evidence_scale < math.inf:
            raise ValueError(f"evidence_scale is {self.evidence_scale!r}; give a number above 0, e.g. 4.0")

    def _step_term(self, steps: StepTable) -> NDArray[np.float64]:
        graph = MergedGraph.of(steps)
        tried = TriedActions.of(graph.node, steps.action_code)
        returns = self._returns(steps)
        contrast = tried.contrast(returns.values)
        contrast[np.abs(contrast) <= graph.largest_of_task(2.0 * returns.rounding)] = 0.0
        tries, visits = tried.pair_size[tried.pairs], graph.visits[graph.node]
        shrunken = contrast * tries / (tries + self.shrinkage)
        between = graph.mean(np.square(contrast))[graph.node]
        variance = graph.mean(np.square(returns.values - graph.mean(returns.values)[graph.node]))[graph.node]
        reliability = np.tanh(visits / self.evidence_scale) * between
        np.divide(reliability, variance + self.epsilon, out=reliability, where=between > 0.0)
        if self.normalization == "mean_std":
            deviation = np.sqrt(variance * visits / np.maximum(visits - 1, 1)) + self.epsilon
            np.divide(shrunken, deviation, out=shrunken, where=shrunken != 0.0)
        return reliability * shrunken

    def _step_levels(self, steps: StepTable) -> tuple[Level, ...]:
        return (where_actions_differ(same_state(steps), steps.action_code),)

    def _compared(self, steps: StepTable) -> NDArray[np.float64]:
        return self._returns(steps).values

    def _returns(self, steps: StepTable) -> Returns:
        return returns_to_go(steps, self.discount, invalid_penalty=self.invalid_penalty)
