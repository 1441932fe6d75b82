"""Advantage estimators: small frozen dataclasses, each a function from a StepTable to one advantage per row.

A new estimator is a class that follows `Estimator` and a line in `ESTIMATORS`. Reports, metrics and
diagnostics read its groups from its `comparison`. AEM and EMPG can be combined with any estimator.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.comparison import Comparison, Level
from hgpo.estimators.crbc import CRBC
from hgpo.estimators.ecpo import ECPO
from hgpo.estimators.entropy_credit import AEM, EMPG, ENTROPY_CREDITS, EntropyCreditName
from hgpo.estimators.g2po import G2PO
from hgpo.estimators.gagpo import GAGPO, GRAFT
from hgpo.estimators.gigpo import GiGPO
from hgpo.estimators.graphgpo import GraphGPO
from hgpo.estimators.grpo import GRPO, RLOO, DrGRPO
from hgpo.estimators.hbc import HBC
from hgpo.estimators.hgpo import HGPO
from hgpo.estimators.ppo import PPO
from hgpo.estimators.reinforce import ReinforcePlusPlus
from hgpo.estimators.trial import wrong_results
from hgpo.registry import Registry
from hgpo.steps import StepTable


class Estimator(Protocol):
    """Anything that maps a step table to one advantage per row, and reports which rows it compares."""

    def __call__(self, steps: StepTable, /) -> NDArray[np.float64]:
        """Advantages, shape (rows,), in the order of the table."""
        ...

    def comparison(self, steps: StepTable, /) -> Comparison:
        """The returns behind the advantages, and the groups within which they are compared at each level.

        Another trajectory's rewards affect the advantage of a row only if the two share a group, except
        through weights that are estimated from all rows, or through chains of groups if returns are `pooled`.
        """
        ...


@runtime_checkable
class CriticEstimator(Estimator, Protocol):
    """An estimator that reads `StepTable.value`, so that training needs a critic."""

    def value_targets(self, steps: StepTable, /) -> NDArray[np.float64]:
        """The critic's target for each row, shape (rows,)."""
        ...


def missing_column(estimator: Estimator, steps: StepTable) -> str | None:
    """The column that an estimator needs and a table lacks; None if the table has all of them."""
    if isinstance(estimator, CriticEstimator) and steps.value is None:
        return "value"
    tells_actions_apart = getattr(estimator, "needs_actions", False)
    return "action" if tells_actions_apart and steps.action is None and steps.action_key is None else None


ESTIMATORS: Registry[Any] = Registry(
    "an estimator",
    {
        "hgpo": HGPO,
        "hbc": HBC,
        "gigpo": GiGPO,
        "grpo": GRPO,
        "dr_grpo": DrGRPO,
        "rloo": RLOO,
        "reinforce_plus_plus": ReinforcePlusPlus,
        "ppo": PPO,
        "graphgpo": GraphGPO,
        "g2po": G2PO,
        "gagpo": GAGPO,
        "graft": GRAFT,
        "crbc": CRBC,
        "ecpo": ECPO,
    },
    group="hgpo.estimators",
    needs=("__call__", "comparison"),
    how="docs/your-own-estimator.md has an example",
    trial=wrong_results,
)
"""The estimators by name."""

__all__ = [
    "AEM",
    "CRBC",
    "ECPO",
    "EMPG",
    "ENTROPY_CREDITS",
    "ESTIMATORS",
    "G2PO",
    "GAGPO",
    "GRAFT",
    "GRPO",
    "HBC",
    "HGPO",
    "PPO",
    "RLOO",
    "Comparison",
    "CriticEstimator",
    "DrGRPO",
    "EntropyCreditName",
    "Estimator",
    "GiGPO",
    "GraphGPO",
    "Level",
    "ReinforcePlusPlus",
    "missing_column",
]
