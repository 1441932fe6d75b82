"""TRL: its GRPO trainer with one row per step, or with advantages per token.

The names are imported on first use, after a check of TRL's version, because TRL takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hgpo.adapters.versions import supported_version

if TYPE_CHECKING:
    from hgpo.adapters.trl.arguments import StepwiseGRPOConfig
    from hgpo.adapters.trl.rollout_worker import StepwiseRolloutWorker
    from hgpo.adapters.trl.token_advantages import TokenAdvantages
    from hgpo.adapters.trl.trainer import StepwiseGRPOTrainer

__all__ = ["StepwiseGRPOConfig", "StepwiseGRPOTrainer", "StepwiseRolloutWorker", "TokenAdvantages"]

_MODULES = {
    "StepwiseGRPOConfig": "arguments",
    "StepwiseGRPOTrainer": "trainer",
    "StepwiseRolloutWorker": "rollout_worker",
    "TokenAdvantages": "token_advantages",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    supported_version("trl")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
