"""HGPO: steps are compared with steps of the same state, and the more so the more history they share."""

from __future__ import annotations

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
from hgpo.estimators.grpo import GRPO
from hgpo.groups import check_history_length, iterate_level_groups
from hgpo.returns import discounted_returns, require_discount, trajectory_returns
from hgpo.steps import StepTable

CountingLevels = Literal["different_returns", "nonzero_advantages"]
"""Which levels take a share of a row's weight."""


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
    """α: 0 weighs all levels alike, infinity takes the deepest alone."""
    discount: float = 0.95
    """γ of the returns to go."""
    normalization: Normalization = "mean_std"
    """"mean_std" divides by the standard deviation, "mean" does not."""
    level_offset: int = 1
    """Level k weighs (k + level_offset)^α: 1, 2, 3 by default; 2, 3, 4 in the released recipe."""
    counting_levels: CountingLevels = "different_returns"
    """A level counts where the row has a peer with a different return ("different_returns"), or where the
    row's advantage is not 0 ("nonzero_advantages", the released recipe: a row that lies on its group's mean
    gives that level's share to its other levels)."""
    weight_epsilon: float = 0.0
    """Added to the sum of the unnormalised weights; 1e-6 in the released recipe."""
    episode_level: bool = False
    """Add one more, shallowest level: GRPO's comparison of whole trajectories. It weighs 1^α, and level k
    then (k + 2)^α at least. An ablation of the paper."""
    episode_statistics: Statistics = "trajectories"
    """What the episode level's mean and Bessel's standard deviation run over; "rows" in the released
    recipe."""
    epsilon: float = 1e-6
    """ε beside the standard deviation, in units of reward."""
    invalid_penalty: float = 0.0
    """Taken off the return of a row whose action was not valid, in units of reward; 0.1 in published runs."""
    propagate_penalty: bool = False
    """Take the penalty off the reward instead, so that it reaches the returns of earlier steps."""

    def __post_init__(self) -> None:
        check_history_length(self.history_length)
        require_non_negative("alpha", self.alpha, infinite=True)
        require_discount(self.discount)
        require_one_of("normalization", self.normalization, Normalization)
        if self.level_offset < 1:
            raise ValueError(f"level_offset is {self.level_offset}; give an integer of at least 1")
        require_one_of("counting_levels", self.counting_levels, CountingLevels)
        require_non_negative("weight_epsilon", self.weight_epsilon)
        require_one_of("episode_statistics", self.episode_statistics, Statistics)
        require_non_negative("epsilon", self.epsilon)
        require_non_negative("invalid_penalty", self.invalid_penalty)

    @classmethod
    def paper(cls, **overrides: Any) -> HGPO:
        """The method as the paper defines it: the defaults, with `overrides`."""
        return cls(**overrides)

    @classmethod
    def reference(cls, **overrides: Any) -> HGPO:
        """The method as the released recipe computes it, with `overrides`.

        It reproduces that code to float32 accuracy, but for two things that are exactly 0 here: the advantage
        within a group of equal returns (there, rounding noise divided by ε), and the episode level of a task
        with a single row (there, the raw score).
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
        penalty = {"invalid_penalty": self.invalid_penalty, "propagate_penalty": self.propagate_penalty}
        returns = discounted_returns(steps, self.discount, **penalty)
        return self.advantages_from_returns(
            steps, returns, trajectory_returns(steps, **penalty) if self.episode_level else None
        )

    def advantages_from_returns(
        self,
        steps: StepTable,
        returns: NDArray[np.float64],
        episode_returns: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Advantages from returns that the caller has already computed.

        Args:
            steps: The step table, for the groups alone; its rewards are not read.
            returns: Shape (rows,), the return to go of each row, penalties included.
            episode_returns: Shape (rows,), the return of each row's trajectory; needed with `episode_level`.

        Returns:
            Shape (rows,), in the order of the table.
        """
        first_base = max(self.level_offset, 2) if self.episode_level else self.level_offset
        bases = [first_base + level for level in range(self.history_length + 1)]
        mean = _WeightedMean(len(steps), [1, *bases] if self.episode_level else bases, self.alpha)
        if self.episode_level:
            if episode_returns is None:
                raise ValueError("episode_level=True compares trajectories; give episode_returns")
            episode = GRPO(
                normalization=self.normalization, statistics=self.episode_statistics, epsilon=self.epsilon
            )
            mean.add(*self._counting(*episode.compare(steps, episode_returns)))
        for groups in iterate_level_groups(steps, self.history_length):
            mean.add(
                *self._counting(
                    *group_advantages(
                        returns, groups, normalization=self.normalization, epsilon=self.epsilon, ddof=0
                    )
                )
            )
        return mean.result(self.weight_epsilon)

    def _counting(
        self, advantages: NDArray[np.float64], compared: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        return advantages, compared if self.counting_levels == "different_returns" else advantages != 0.0


class _WeightedMean:
    """Σ_k w_k A_k with w_k = b_k^α / (Σ_j b_j^α + ε), over the levels that count, added shallowest first.

    Sums and weights are kept relative to the deepest level that has counted for the row, whose weight is then
    1: no α overflows, an infinite one leaves the deepest level alone, and memory does not grow with K.
    """

    def __init__(self, rows: int, bases: list[int], alpha: float) -> None:
        base = np.array(bases, np.float64)
        # shrink[i, j] = (b_i / b_j)^α: what level i's share becomes when the deeper level j takes over as the
        # unit. Only i < j is looked up; the minimum keeps the rest from overflowing.
        self.shrink = np.minimum(base[:, None] / base[None, :], 1.0) ** alpha
        self.unit = base**-alpha
        self.level = 0
        self.deepest = np.full(rows, -1, np.int32)
        self.weighted = np.zeros(rows)
        self.total = np.zeros(rows)

    def add(self, advantages: NDArray[np.float64], counting: NDArray[np.bool_]) -> None:
        """Add the next deeper level for the rows where it counts."""
        shrink = np.where(counting, self.shrink[self.deepest, self.level], 1.0)
        self.weighted *= shrink
        self.weighted += advantages * counting
        self.total *= shrink
        self.total += counting
        self.deepest[counting] = self.level
        self.level += 1

    def result(self, epsilon: float) -> NDArray[np.float64]:
        """The mean of what was added; exactly 0 for rows where nothing counted."""
        total = self.total + epsilon * self.unit[self.deepest]
        return np.divide(self.weighted, total, out=np.zeros(len(total)), where=self.deepest >= 0)
