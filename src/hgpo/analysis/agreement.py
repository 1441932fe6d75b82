"""How far estimators agree on the same rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators import Estimator
from hgpo.steps import StepTable


@dataclass(frozen=True)
class Agreement:
    """The agreement of every pair of estimators; rows and columns are in the order of `names`."""

    names: tuple[str, ...]
    correlation: NDArray[np.float64]
    """Pearson's correlation over the rows; NaN if an estimator gives all rows the same value."""
    same_sign: NDArray[np.float64]
    """Among the rows to which at least one of the two gives a value other than 0, the fraction to which both
    give the same sign; NaN if there is no such row."""
    zero_share: NDArray[np.float64]
    """Fraction of the rows to which each estimator gives exactly 0, [estimators]."""


def agreement(steps: StepTable, estimators: Mapping[str, Estimator]) -> Agreement:
    """Compare the advantages of estimators, by name, on the same table."""
    advantages = np.stack([estimator(steps) for estimator in estimators.values()])
    centred = advantages - advantages.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    products = np.outer(lengths, lengths)
    correlation = np.divide(
        centred @ centred.T, products, out=np.full(products.shape, np.nan), where=products > 0
    )
    signs = np.sign(advantages)
    same_sign = np.full(products.shape, np.nan)
    for i, one in enumerate(signs):
        for j, other in enumerate(signs):
            either = (one != 0) | (other != 0)
            if either.any():
                same_sign[i, j] = np.mean(one[either] == other[either])
    return Agreement(
        names=tuple(estimators),
        correlation=np.clip(correlation, -1.0, 1.0),
        same_sign=same_sign,
        zero_share=np.mean(advantages == 0, axis=1),
    )
