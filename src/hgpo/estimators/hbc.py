"""HBC: the value of an action from what followed it, pooled over all steps of its contexts."""

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
"""How κ is set: as given, or estimated from the batch."""


@dataclass(frozen=True, kw_only=True)
class HBC:
    """Hierarchical Bellman Credit: actions are compared by what followed them, pooled over all rollouts.

    HGPO compares the return of one step with those of its contexts; that return contains the randomness of
    the rest of one episode. Here the rest is pooled: the value of a context is the mean of what followed it
    in any rollout, so that every later step provides information about the actions before it. With n rows in
    C_k, of which n_a have the row's action a:

        T_i = r_i + γ V_{i+1},   V after the last step = 0
        v_0 = mean_{C_0} T,   v_k = v_{k−1} + n / (n + κ) (mean_{C_k} T − v_{k−1}),   V_i = v_K
        a_0 = mean_{C_0,a} T − mean_{C_0} T
        a_k = a_{k−1} + m / (m + κ) [mean_{C_k,a} (T − a_{k−1}) − mean_{C_k} (T − a_{k−1})],
              m = n_a (n − n_a) / n,   0 if only one action was tried in the context
        A   = a_K + w (R_τ − mean_task R_τ)

    C_0 … C_K are HGPO's contexts: the same state, and the same state with the 1 … K states before it, where a
    token stands for the states before the start. V is the fixed point of these equations. κ shrinks deeper
    contexts, which are less biased but smaller, toward the ones before them. With K = 0 only the graph of
    states is used; if no state occurs twice, only w times GRPO's comparison is left.

    Nothing is divided by a standard deviation. The table needs `action` or `action_key`.
    Source: this package; docs/theory.md reports the measured effect. The contexts are HGPO's (arXiv
    2602.22817), pooled values by state those of GraphGPO (arXiv 2605.26684) and its relatives.
    """

    history_length: int = 2
    """K, the number of previous states that distinguish contexts at the deepest level."""
    level_keys: tuple[str, ...] | None = None
    """Names of state keys, coarsest first, with a level each before the levels of history, as in HGPO; None
    uses only the table's `state_key`."""
    shrinkage: float = 1.0
    """κ, in rows: with this number of rows a deeper context has as much weight as the one before it."""
    weights: ShrinkageWeights = "constant"
    """"constant" uses κ as given. "estimated" uses, for each level of the batch, the variance within contexts
    divided by the variance between them, and κ only if no context occurs twice."""
    episode_weight: float = 0.3
    """w, the weight of the whole trajectory's return compared with those of its task."""
    discount: float = 0.95
    """γ: discount factor."""
    invalid_penalty: float = 0.0
    """Subtracted from T of a row whose action was not valid when actions are compared, but not in the values,
    in units of reward."""

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
        """Whether the advantages of a task depend on that task only."""
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
        """T and V of each row, without penalties."""
        return self._values(steps, self._contexts(steps))

    def comparison(self, steps: StepTable) -> Comparison:
        """T of the rows, compared in contexts with several actions; whole trajectories with weight w."""
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
