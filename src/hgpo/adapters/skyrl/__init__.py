"""SkyRL: a trainer, a generator and an entrypoint with one row per step.

The names are imported on first use, after a check of SkyRL's version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hgpo.adapters.versions import names_on_first_use

if TYPE_CHECKING:
    from hgpo.adapters.skyrl.entrypoint import StepwiseExperiment, main
    from hgpo.adapters.skyrl.generator import StepwiseGenerator
    from hgpo.adapters.skyrl.settings import StepwiseTrainConfig
    from hgpo.adapters.skyrl.trainer import StepwiseTrainer

__all__ = ["StepwiseExperiment", "StepwiseGenerator", "StepwiseTrainConfig", "StepwiseTrainer", "main"]

__getattr__ = names_on_first_use(
    __name__,
    "skyrl",
    {
        "StepwiseExperiment": "entrypoint",
        "StepwiseGenerator": "generator",
        "StepwiseTrainConfig": "settings",
        "StepwiseTrainer": "trainer",
        "main": "entrypoint",
    },
)
