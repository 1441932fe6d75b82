"""HBC: what follows an action, pooled over all steps of its contexts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.actions import TriedActions, where_actions_differ
from hgpo.estimators.baseline import require_non_negative, require_one_of
from hgpo.estimators.bellman import BellmanValues, bellman_values
from hgpo.estimators.comparison import Comparison, Level, state_levels
from hgpo.estimators.grpo import GRPO
from hgpo.estimators.shrinkage import contrast_shrinkage, value_shrinkage
from hgpo.groups import check_history_length, check_level_keys
from hgpo.returns import discounted_returns, invalid_penalties, require_discount
from hgpo.steps import StepTable

ShrinkageWeights = Literal["constant", "estimated"]
"""How many rows a shallower context counts for: a number that is given, or one that the batch tells."""


@dataclass(frozen=True, kw_only=True)
class HBC:
    """Hierarchical Bellman Credit: actions against one another by what all steps after them led to.

    HGPO compares the return of one step with those of its contexts; that return holds all the chance of the
    rest of one episode. Here the rest is pooled: the value of a context is what followed on average in any
    rollout, so that every later step tells of the actions before it. With n rows in C_k, n_a of them with the
    row's action a:

        T_i = r_i + γ V_{i+1},   V after the last step = 0
        v_0 = mean_{C_0} T,   v_k = v_{k−1} + n / (n + κ) (mean_{C_k} T − v_{k−1}),   V_i = v_K
        a_0 = mean_{C_0,a} T − mean_{C_0} T
        a_k = a_{k−1} + m / (m + κ) [mean_{C_k,a} (T − a_{k−1}) − mean_{C_k} (T − a_{k−1})],
              m = n_a (n − n_a) / n,   0 where the context has seen one action alone
        A   = a_K + w (R_τ − mean_task R_τ)

    C_0 … C_K are HGPO's contexts: the same state, and the same state with the 1 … K states before it, where a
    token stands for what is before the start. V is the fixed point of these equations. κ draws deeper
    contexts, which are less biased and smaller, to the ones before them. With K = 0 the graph of states alone
    is left; where no state comes twice, w times GRPO's comparison.

    Nothing is divided by a standard deviation. The table needs `action` or `action_key`.
    Source: this package; docs/theory.md tells what it was measured to bring. The contexts are HGPO's (arXiv
    2602.22817), pooled values by state those of GraphGPO (arXiv 2605.26684) and its relatives.
    """

    history_length: int = 2
    """K, how many states before the current one tell contexts apart at the deepest level."""
    level_keys: tuple[str, ...] | None = None
    """Names of state keys, the coarsest first: levels for them come before those of history, as in HGPO; None
    for the table's `state_key` alone."""
    shrinkage: float = 1.0
    """κ, in rows: how many of its rows a deeper context needs to weigh as much as the one before it."""
    weights: ShrinkageWeights = "constant"
    """"constant" takes κ as it is. "estimated" takes for each level, from the whole batch, the variance
    within its contexts over the variance between them, and κ only where nothing comes twice."""
    episode_weight: float = 0.3
    """w, the weight of the whole trajectory's return against those of its task."""
    discount: float = 0.95
    """γ: discount factor."""
    invalid_penalty: float = 0.0
    """Taken off T of a row whose action was not valid where actions are compared, but not in the values, in
    units of reward."""

    needs_actions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_history_length(self.history_length)
        object.__setattr__(self, "level_keys", check_level_keys(self.level_keys))
        require_non_negative("shrinkage", self.shrinkage)
        require_one_of("weights", self.weights, ShrinkageWeights)
        require_non_negative("episode_weight", self.episode_weight)
        require_discount(self.discount)
        require_non_negative("invalid_penalty", self.invalid_penalty)

    @property
    def task_local(self) -> bool:
        """Whether what a task's rows get depends on that task alone."""
        return self.weights == "constant"

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table."""
        contexts = self._contexts(steps)
        values = self._values(steps, contexts)
        target = values.target - invalid_penalties(steps, self.invalid_penalty)
        contrasts = self._contrasts(steps, contexts, target)
        contrasts[np.abs(contrasts) <= values.precision] = 0.0
        return contrasts + self.episode_weight * self._episode_term()(steps)

    def values(self, steps: StepTable) -> BellmanValues:
        """What the advantages are made of: T and V of each row, without penalties."""
        return self._values(steps, self._contexts(steps))

    def comparison(self, steps: StepTable) -> Comparison:
        """T of the rows, compared in contexts that have seen several actions; whole trajectories with w."""
        states = list(self._state_levels(steps))
        contexts = [level.groups for level in states]
        target = self._values(steps, contexts).target - invalid_penalties(steps, self.invalid_penalty)
        episode = [self._episode_term().level(steps)] if self.episode_weight else []
        levels = (where_actions_differ(level, steps.action_code) for level in states)
        return Comparison(target, (*episode, *levels), pooled=True)

    def _contexts(self, steps: StepTable) -> list[NDArray[np.int64]]:
        return [level.groups for level in self._state_levels(steps)]

    def _state_levels(self, steps: StepTable) -> Iterator[Level]:
        return state_levels(steps, self.history_length, start_token=True, level_keys=self.level_keys)

    def _values(self, steps: StepTable, contexts: Sequence[NDArray[np.int64]]) -> BellmanValues:
        returns = discounted_returns(steps, self.discount)
        kappas = [self.shrinkage] * (len(contexts) - 1)
        if self.weights == "estimated":
            kappas = value_shrinkage(returns, contexts, otherwise=self.shrinkage)
        return bellman_values(steps, contexts, returns, discount=self.discount, shrinkage=kappas)

    def _contrasts(
        self, steps: StepTable, contexts: Sequence[NDArray[np.int64]], target: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """a_K of each row."""
        tried = [TriedActions.of(groups, steps.action_code) for groups in contexts]
        contrasts = tried[0].contrast(target)
        for actions in tried[1:]:
            left = target - contrasts
            contrast, size = actions.contrast(left), actions.contrast_size
            kappa = self.shrinkage
            if self.weights == "estimated":
                kappa = contrast_shrinkage(actions, left, contrast, otherwise=self.shrinkage)
            contrasts += contrast * np.divide(size, size + kappa, out=np.zeros(len(size)), where=size > 0)
        return contrasts

    def _episode_term(self) -> GRPO:
        return GRPO(normalization="mean")
