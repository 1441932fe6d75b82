"""HGPO: compares steps in the same state, with more weight for comparisons that share more history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.baseline import (
    Normalization,
    Statistics,
    group_advantages,
    require_non_negative,
    require_one_of,
)
from hgpo.estimators.comparison import Comparison, Level, state_levels
from hgpo.estimators.grpo import GRPO
from hgpo.estimators.leave_one_out import Peers, blocks_of
from hgpo.estimators.weights import LevelMean, LevelWeights, PowerMean, ReliabilityMean
from hgpo.groups import check_history_length, check_level_keys, count_levels
from hgpo.near_states import require_similarity
from hgpo.returns import Returns, require_discount, returns_to_go, whole_returns
from hgpo.steps import StepTable

CountingLevels = Literal["different_returns", "nonzero_advantages"]
"""Which levels share a row's weight."""


@dataclass(frozen=True, kw_only=True)
class HGPO:
    """Hierarchy-of-Groups Policy Optimization.

        A   = Σ_k w_k A_k,          w_k ∝ (k + 1)^α over the levels that count for the row
        A_k = (R_t − mean(G_k)) / (std(G_k) + ε)

    G_k holds the task's rows with the same current state and the same k states before it (see hgpo.groups);
    R_t is the discounted return to go; the standard deviation is the population's. A level does not exist for
    rows with t < k, and does not count for a row that is alone in its group or whose group has equal returns.
    A row for which no level counts gets exactly 0.
    Source: arXiv 2602.22817. The defaults are `HGPO.paper()`; `HGPO.reference()` is the released recipe.
    """

    history_length: int = 2
    """K: the deepest level, in states before the current one. 2 or 4 in the paper."""
    alpha: float = 1.0
    """α: with 0 all levels have equal weight, with infinity only the deepest counts."""
    discount: float = 0.95
    """γ of the returns to go."""
    normalization: Normalization = "mean_std"
    """"mean_std" divides by the standard deviation, "mean" does not."""
    peers: Peers = "all"
    """The rows whose mean a return is compared with. "all": the group, including the row itself (the paper).
    "others": the group without the row itself, which makes the baseline independent of the action.
    "other_trajectories": the group without all rows of the same trajectory, so that a trajectory that returns
    to a state is not compared with itself. One independent reproduction reports 96.9 % success on ALFWorld
    with "other_trajectories" and 90.6 % without, and 75.0 % and 56.0 % on WebShop. The standard deviation is
    always that of the whole group."""
    start_token: bool = False
    """Let a token stand for the states before the first one, so that rows with t < k are compared at level k
    with rows of step t and the same whole history. This is not from the paper: there, the first K steps,
    which most rollouts share, have no deep levels."""
    level_weights: LevelWeights = "power"
    """"power": (k + 1)^α (the paper). "size": (k + 1)^α times the row's number of peers at level k, because a
    mean over more peers is less noisy. "reliability": by how much each level's mean improves on the level
    above, from components of variance estimated from the batch; α is not used. In five synthetic cases, from
    an irrelevant history to one that decides everything, its baseline was the nearest to the true value or
    within 2 % of the nearest; "size" and each fixed α were far from it in some cases (docs/estimators.md has
    the derivation and the figures). It has not been shown that an agent learns faster with it."""
    similarity: float | None = None
    """Treat observations at least this similar (0 … 1) as the same state, instead of comparing state keys;
    0.95 in GiGPO's code. See `hgpo.near_states.similar_text_keys` for the measure and its cost."""
    level_keys: tuple[str, ...] | None = None
    """Names of the table's state keys, coarsest first. The first levels compare rows that agree in the first
    1, 2, … of them; the K levels of history follow, with states that agree in all keys. With J keys there are
    J + K levels, and level j has the weight (j + 1)^α as before. None compares only `StepTable.state_key`
    (the paper)."""
    level_offset: int = 1
    """Level k has the weight (k + level_offset)^α, which for α = 1 is 1, 2, 3 by default and 2, 3, 4 in the
    released recipe."""
    counting_levels: CountingLevels = "different_returns"
    """A level counts if the row has a peer with a different return ("different_returns"), or if the row's
    advantage is not 0 ("nonzero_advantages", the released recipe: a row at its group's mean leaves that
    level's weight to its other levels)."""
    weight_epsilon: float = 0.0
    """Added to the sum of the unnormalised weights; 1e-6 in the released recipe."""
    episode_level: bool = False
    """Add one more level, shallower than all others: GRPO's comparison of whole trajectories. It has the
    weight 1^α, and level k then has at least (k + 2)^α. An ablation of the paper."""
    episode_statistics: Statistics = "trajectories"
    """What the episode level's mean and Bessel's standard deviation run over; "rows" in the released
    recipe."""
    epsilon: float = 1e-6
    """ε added to the standard deviation, in units of reward."""
    invalid_penalty: float = 0.0
    """Subtracted from the return of a row whose action was not valid, in units of reward; 0.1 in published
    runs."""
    propagate_penalty: bool = False
    """Subtract the penalty from the reward instead, so that it also lowers the returns of earlier steps."""

    def __post_init__(self) -> None:
        check_history_length(self.history_length)
        require_non_negative("alpha", self.alpha, infinite=True)
        require_discount(self.discount)
        require_one_of("normalization", self.normalization, Normalization)
        require_one_of("peers", self.peers, Peers)
        require_one_of("level_weights", self.level_weights, LevelWeights)
        if self.level_weights == "reliability" and self.episode_level:
            raise ValueError(
                "level_weights='reliability' estimates how returns to go vary from level to level, but the "
                "episode level compares whole returns: choose level_weights='power' or episode_level=False"
            )
        object.__setattr__(self, "level_keys", check_level_keys(self.level_keys))
        if self.similarity is not None:
            require_similarity(self.similarity)
            if self.level_keys is not None:
                raise ValueError(
                    f"similarity={self.similarity} compares observations instead of state keys, and "
                    f"level_keys={self.level_keys!r} compares state keys: give one of the two"
                )
        if self.level_offset < 1:
            raise ValueError(f"level_offset is {self.level_offset}; give an integer of at least 1")
        require_one_of("counting_levels", self.counting_levels, CountingLevels)
        require_non_negative("weight_epsilon", self.weight_epsilon)
        require_one_of("episode_statistics", self.episode_statistics, Statistics)
        require_non_negative("epsilon", self.epsilon)
        require_non_negative("invalid_penalty", self.invalid_penalty)

    @property
    def task_local(self) -> bool:
        """Whether the advantages of a task depend on that task only."""
        return self.level_weights != "reliability"

    @classmethod
    def paper(cls, **overrides: Any) -> HGPO:
        """The method as the paper defines it: the defaults, with `overrides`."""
        return cls(**overrides)

    @classmethod
    def reference(cls, **overrides: Any) -> HGPO:
        """The method as the released recipe computes it, with `overrides`.

        It reproduces that code to float32 accuracy, except for two values that are exactly 0 here: the
        advantage within a group of equal returns (there, rounding noise divided by ε), and the episode level
        of a task with a single row (there, the raw score).
        """
        settings: dict[str, Any] = {
            "level_offset": 2,
            "counting_levels": "nonzero_advantages",
            "weight_epsilon": 1e-6,
            "episode_statistics": "rows",
        }
        return cls(**(settings | overrides))

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table."""
        episode_returns = whole_returns(steps, **self._penalty()) if self.episode_level else None
        return self.advantages_from_returns(steps, self._returns(steps), episode_returns)

    def comparison(self, steps: StepTable) -> Comparison:
        """Returns to go, compared at the levels of states; whole trajectories at the episode level."""
        return Comparison(self._returns(steps).values, tuple(self._levels(steps)))

    def advantages_from_returns(
        self, steps: StepTable, returns: Returns, episode_returns: Returns | None = None
    ) -> NDArray[np.float64]:
        """Advantages from returns that are already computed; see `hgpo.returns.given_returns`.

        Args:
            steps: The step table, used only for the groups; its rewards are not read.
            returns: The return to go of each row, penalties included.
            episode_returns: The return of each row's trajectory; needed with `episode_level`.

        Returns:
            Shape (rows,), in the order of the table.
        """
        if self.episode_level and episode_returns is None:
            raise ValueError("episode_level=True compares trajectories; give episode_returns")
        mean = self._level_mean(steps, returns.values)
        levels = self._levels(steps)
        if self.episode_level and episode_returns is not None:
            level = next(levels)
            advantages, compared = self._episode_term().advantages_from_scores(episode_returns, level)
            # Weights by size count rows at every level, even here, where trajectories are compared.
            by_rows = Level(level.name, level.meaning, level.groups, blocks=blocks_of(steps, self.peers))
            mean.add(advantages, self._counting(advantages, compared), by_rows)
        for level in levels:
            advantages, compared = group_advantages(
                returns, level, normalization=self.normalization, epsilon=self.epsilon, ddof=0
            )
            mean.add(advantages, self._counting(advantages, compared), level)
        return mean.result()

    def _penalty(self) -> dict[str, Any]:
        return {"invalid_penalty": self.invalid_penalty, "propagate_penalty": self.propagate_penalty}

    def _returns(self, steps: StepTable) -> Returns:
        return returns_to_go(steps, self.discount, **self._penalty())

    def _levels(self, steps: StepTable) -> Iterator[Level]:
        """The levels one by one, with the episode level first if there is one."""
        if self.episode_level:
            yield self._episode_term().level(steps)
        yield from state_levels(
            steps,
            self.history_length,
            start_token=self.start_token,
            similarity=self.similarity,
            blocks=blocks_of(steps, self.peers),
            level_keys=self.level_keys,
        )

    def _episode_term(self) -> GRPO:
        return GRPO(
            normalization=self.normalization,
            statistics=self.episode_statistics,
            peers="all" if self.peers == "all" else "other_trajectories",
            epsilon=self.epsilon,
        )

    def _level_mean(self, steps: StepTable, returns: NDArray[np.float64]) -> LevelMean:
        if self.level_weights == "reliability":
            return ReliabilityMean(returns, steps.step_index)
        first_base = max(self.level_offset, 2) if self.episode_level else self.level_offset
        bases = [first_base + level for level in range(count_levels(self.history_length, self.level_keys))]
        return PowerMean(
            len(returns),
            [1, *bases] if self.episode_level else bases,
            self.alpha,
            epsilon=self.weight_epsilon,
            by_size=self.level_weights == "size",
        )

    def _counting(self, advantages: NDArray[np.float64], compared: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return compared if self.counting_levels == "different_returns" else advantages != 0.0
