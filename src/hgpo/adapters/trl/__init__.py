"""TRL: its GRPO trainer with one row per step, or with advantages per token.

The names are imported on first use, after a check of TRL's version, because TRL takes seconds to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hgpo.adapters.versions import names_on_first_use

if TYPE_CHECKING:
    from hgpo.adapters.trl.arguments import StepwiseGRPOConfig
    from hgpo.adapters.trl.rollout_worker import StepwiseRolloutWorker
    from hgpo.adapters.trl.token_advantages import TokenAdvantages
    from hgpo.adapters.trl.trainer import StepwiseGRPOTrainer

__all__ = ["StepwiseGRPOConfig", "StepwiseGRPOTrainer", "StepwiseRolloutWorker", "TokenAdvantages"]

__getattr__ = names_on_first_use(
    __name__,
    "trl",
    {
        "StepwiseGRPOConfig": "arguments",
        "StepwiseGRPOTrainer": "trainer",
        "StepwiseRolloutWorker": "rollout_worker",
        "TokenAdvantages": "token_advantages",
    },
)
