"""SkyRL's trainer with the advantages of any estimator of this package."""

from __future__ import annotations

from typing import Any

import torch
from skyrl.train.trainer import RayPPOTrainer  # pyright: ignore[reportMissingImports]

from hgpo.adapters.skyrl.generator import RECORDS
from hgpo.adapters.step_records import step_diagnostics, step_table


class StepwiseTrainer(RayPPOTrainer):
    """Computes the advantages of the steps that a `StepwiseGenerator` played; everything else is SkyRL's."""

    def __init__(self, cfg: Any, *args: Any, **kwargs: Any) -> None:
        """Create the trainer; `cfg` is a `StepwiseTrainConfig`, the other arguments are SkyRL's."""
        self.estimator = cfg.hgpo.make_estimator()
        super().__init__(cfg, *args, **kwargs)

    def convert_to_training_input(self, generator_output: Any, uids: list[str]) -> Any:
        """SkyRL's batch, with the records of its steps in the metadata."""
        data = super().convert_to_training_input(generator_output, uids)
        data.metadata[RECORDS] = generator_output[RECORDS]
        return data

    @torch.no_grad()
    def compute_advantages_and_returns(self, data: Any) -> Any:
        """The batch with each step's advantage on the tokens of its answer, and 0 on rows of padding."""
        records = data.metadata.pop(RECORDS)
        steps = step_table(records)
        advantages = self.estimator(steps)
        # SkyRL's rows of padding come last.
        of_rows = torch.zeros(len(data["response_mask"]), 1)
        of_rows[: len(records), 0] = torch.from_numpy(advantages)
        data["advantages"] = of_rows * data["response_mask"]
        data["returns"] = data["advantages"].clone()
        figures = step_diagnostics(steps, advantages, self.estimator)
        self.all_metrics.update({f"hgpo/{name}": float(value) for name, value in figures.items()})
        return data.to("cpu")
