"""Shrinkage of deeper levels: the variance within their groups divided by the variance between them.

Suppose that a quantity has the variance τ² given what is already known, and that it is estimated by the mean
of n rows with variance σ² each. The best estimate gives the mean the weight n / (n + κ), κ = σ² / τ²
(empirical Bayes). Both variances are estimated by the method of moments from all rows of a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.actions import TriedActions


def value_shrinkage(
    returns: NDArray[np.float64], groups: Sequence[NDArray[np.int64]], *, otherwise: float
) -> list[float]:
    """κ_1 … κ_K, by which the mean return of a level's group is shrunk toward that of the group around it.

    With means μ_k of the G_k groups of level k:

        σ_k² = Σ_i (R_i − μ_k)² / (rows − G_k)
        τ_k² = [Σ_i (μ_k − μ_{k−1})² − (G_k − G_{k−1}) σ_k²] / Σ_{C_k} (n_k − n_k² / n_{k−1}), at least 0

    Args:
        returns: Shape (rows,), in units of reward.
        groups: the groups of the levels 0 … K, as dense ids; each level splits the groups of the one before.
        otherwise: κ for a level in which no group has two rows, or no group is split.
    """
    sizes = [np.bincount(ids) for ids in groups]
    means = [(np.bincount(ids, returns) / size)[ids] for ids, size in zip(groups, sizes, strict=True)]
    kappas = []
    for level in range(1, len(groups)):
        size, around = sizes[level][groups[level]], sizes[level - 1][groups[level - 1]]
        spare = len(returns) - len(sizes[level])
        worth = float(np.sum(1.0 - size / around))  # Σ over rows of 1 − n/n' is Σ over groups of n − n²/n'
        if not spare or not worth:
            kappas.append(otherwise)
            continue
        within = float(np.sum(np.square(returns - means[level]))) / spare
        between = float(np.sum(np.square(means[level] - means[level - 1])))
        split = len(sizes[level]) - len(sizes[level - 1])
        kappas.append(_ratio(within, (between - split * within) / worth))
    return kappas


def contrast_shrinkage(
    actions: TriedActions, amounts: NDArray[np.float64], contrast: NDArray[np.float64], *, otherwise: float
) -> float:
    """κ, by which contrasts of actions are shrunk toward 0.

    A contrast c of size m has the variance τ² + σ² (1 − n_a/n)² / m, so that over all pairs of context and
    action

        τ² = [Σ m c² − σ² Σ (1 − n_a/n)²] / Σ m, at least 0

    where σ² is the variance of amounts within pairs.

    Args:
        actions: the pairs of context and action.
        amounts: Shape (rows,), the amounts that are compared.
        contrast: Shape (rows,), `actions.contrast(amounts)`.
        otherwise: κ if no pair has two rows, or no context has two actions.
    """
    within = actions.pair_variance(amounts)
    own = actions.pair_size[actions.pairs]
    share = 1.0 / own  # each pair counts once, although all of its rows are summed over
    size = actions.contrast_size
    worth = float(np.sum(size * share))
    if within is None or not worth:
        return otherwise
    others = np.square(1.0 - own / actions.context_size[actions.contexts])
    between = float(np.sum(share * (size * np.square(contrast) - within * others))) / worth
    return _ratio(within, between)


def _ratio(within: float, between: float) -> float:
    return within / between if between > 0.0 else math.inf
