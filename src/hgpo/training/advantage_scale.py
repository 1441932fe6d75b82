"""The scale of advantages, and how to give every estimator the same scale in a comparison."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators import Estimator
from hgpo.steps import StepTable


def root_mean_square(advantages: NDArray[np.float64]) -> float:
    """√(mean A²) over all rows, including those with advantage 0; without rows 0."""
    return float(np.sqrt(np.mean(np.square(advantages)))) if len(advantages) else 0.0


def matched(advantages: NDArray[np.float64], steps: StepTable, like: Estimator) -> NDArray[np.float64]:
    """Advantages with the root mean square that another estimator has on the same rows.

    The effect of the entropy bonus, the KL penalty and `subsample_below` depends on the size of the
    advantages: with advantages half as large they are twice as strong. With one root mean square they mean
    the same for every estimator. It is taken from another estimator instead of fixed at 1, so that
    advantages still shrink when most tasks are solved.

    Args:
        advantages: Shape (rows,). All 0 stays all 0.
        steps: The rows.
        like: The estimator that gives the scale.
    """
    own = root_mean_square(advantages)
    return advantages * (root_mean_square(like(steps)) / own) if own else advantages
