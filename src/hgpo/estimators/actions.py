"""Compares the actions that were tried in the same context by what followed them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.comparison import Level
from hgpo.groups import dense


@dataclass(frozen=True, eq=False)
class TriedActions:
    """For each row, the rows with the same context and action among the rows with the same context."""

    contexts: NDArray[np.int64]
    """Shape (rows,), the context of each row as dense ids."""
    pairs: NDArray[np.int64]
    """Shape (rows,), the context and the action of each row as dense ids."""
    context_size: NDArray[np.int64]
    """n: number of rows of each context."""
    pair_size: NDArray[np.int64]
    """n_a: number of rows of each pair of context and action."""

    @classmethod
    def of(cls, contexts: NDArray[np.int64], actions: NDArray[np.int64]) -> TriedActions:
        """Rows by context and action.

        Args:
            contexts: Shape (rows,), dense ids.
            actions: Shape (rows,), numbers of at least 0, equal where actions are the same.
        """
        pairs = dense(contexts * (actions.max(initial=0) + 1) + actions)
        return cls(contexts, pairs, np.bincount(contexts), np.bincount(pairs))

    @property
    def contrast_size(self) -> NDArray[np.float64]:
        """m = n_a (n − n_a) / n of each row, the effective size of the comparison of its action with the
        others; 0 if only one action was tried in the context."""
        n, own = self.context_size[self.contexts], self.pair_size[self.pairs]
        return own * (n - own) / n

    def contrast(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """mean_{C,a} − mean_C of the amounts, for each row; exactly 0 if the context has only one action."""
        of_pairs = np.bincount(self.pairs, amounts) / self.pair_size
        of_contexts = np.bincount(self.contexts, amounts) / self.context_size
        return of_pairs[self.pairs] - of_contexts[self.contexts]

    def pair_variance(self, amounts: NDArray[np.float64]) -> float | None:
        """Variance of the amounts within pairs, pooled over all pairs; None if no pair has two rows."""
        spare = len(self.pairs) - len(self.pair_size)
        if not spare:
            return None
        means = np.bincount(self.pairs, amounts) / self.pair_size
        return float(np.sum(np.square(amounts - means[self.pairs])) / spare)


def where_actions_differ(level: Level, actions: NDArray[np.int64]) -> Level:
    """The level without the groups in which only one action was tried: no row is compared there.

    Args:
        level: the level of the contexts.
        actions: As in `TriedActions.of`.
    """
    several = TriedActions.of(level.groups, actions).contrast_size > 0
    return Level(level.name, level.meaning, np.where(several, level.groups, -1))
