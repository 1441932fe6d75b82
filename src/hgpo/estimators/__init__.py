"""Advantage estimators: small frozen dataclasses, each a function from a StepTable to one advantage per row.

A new estimator is a class that follows `Estimator` and a line in `ESTIMATORS`.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.gigpo import GiGPO
from hgpo.estimators.grpo import GRPO
from hgpo.estimators.hgpo import HGPO
from hgpo.steps import StepTable


class Estimator(Protocol):
    """Anything that maps a step table to one advantage per row."""

    def __call__(self, steps: StepTable, /) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table."""
        ...


ESTIMATORS: dict[str, type[HGPO] | type[GiGPO] | type[GRPO]] = {"hgpo": HGPO, "gigpo": GiGPO, "grpo": GRPO}
"""The estimators by name."""

__all__ = ["ESTIMATORS", "GRPO", "HGPO", "Estimator", "GiGPO"]
