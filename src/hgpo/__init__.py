"""Hierarchy-of-Groups Policy Optimization (HGPO) for LLM agents on long-horizon tasks.

    steps = hgpo.StepTable(task_id=..., trajectory_id=..., step_index=..., state_key=..., reward=...)
    advantages = hgpo.HGPO(history_length=2)(steps)  # one float64 per row

Importing this package loads numpy and nothing heavier.
"""

from hgpo.estimators import (
    AEM,
    CRBC,
    ECPO,
    EMPG,
    ESTIMATORS,
    G2PO,
    GAGPO,
    GRAFT,
    GRPO,
    HBC,
    HGPO,
    PPO,
    RLOO,
    DrGRPO,
    Estimator,
    GiGPO,
    GraphGPO,
    ReinforcePlusPlus,
)
from hgpo.estimators.parallel import in_parallel
from hgpo.steps import StepTable

__version__ = "0.1.0"

__all__ = [
    "AEM",
    "CRBC",
    "ECPO",
    "EMPG",
    "ESTIMATORS",
    "G2PO",
    "GAGPO",
    "GRAFT",
    "GRPO",
    "HBC",
    "HGPO",
    "PPO",
    "RLOO",
    "DrGRPO",
    "Estimator",
    "GiGPO",
    "GraphGPO",
    "ReinforcePlusPlus",
    "StepTable",
    "__version__",
    "in_parallel",
]
