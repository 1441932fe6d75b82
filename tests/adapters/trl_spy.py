"""A `StepwiseGRPOTrainer` that records what it played and what its loss read; one run per process.

    python tests/adapters/trl_spy.py FOLDER JSON

trains the model in FOLDER/model once for each name in JSON, with the arguments there, and writes
FOLDER/NAME-RANK.pickle.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hgpo.adapters.trl import StepwiseGRPOConfig, StepwiseGRPOTrainer

SMALL = {
    # Penalties reach earlier steps, so that returns differ.
    "suite": "uneven_household:UnevenHousehold",
    "suite_settings": {"split_size": 3},
    "estimator_settings": {"discount": 0.95, "invalid_penalty": 0.1, "propagate_penalty": True},
    **{"response": "number", "max_completion_length": 2, "num_generations": 4},
    **{"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 3},
    **{"learning_rate": 1e-3, "save_strategy": "no", "report_to": "none", "seed": 5, "logging_steps": 1},
    **{"bf16": False, "use_cpu": True, "gradient_checkpointing": False, "disable_tqdm": True},
}


class Spy(StepwiseGRPOTrainer):
    """Writes down every row that was played, and every row that the loss read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.played: list[list[Any]] = []
        self.evaluation: list[list[Any]] = []
        self.read: list[list[Any]] = []
        self.losses: list[tuple[int, float]] = []
        super().__init__(*args, **kwargs)

    def _play(self, tasks):
        rows = super()._play(tasks)
        (self.played if self.model.training else self.evaluation).append(rows)
        return rows

    def _compute_loss(self, model, inputs):
        mask = inputs["completion_mask"] * inputs["tool_mask"]
        rows = []
        for place in range(len(mask)):
            prompt = inputs["prompt_ids"][place][inputs["prompt_mask"][place].bool()]
            answer = inputs["completion_ids"][place][inputs["completion_mask"][place].bool()]
            padding = not mask[place].any()
            rows.append(
                (*map(tuple, (prompt.tolist(), answer.tolist())), inputs["advantages"][place].item(), padding)
            )
        self.read.append(rows)
        loss = super()._compute_loss(model, inputs)
        self.losses.append((self.state.global_step, loss.item()))
        return loss


def run(folder: Path, name: str, changes: dict[str, Any]) -> None:
    """Train once; `evaluate` and `resume` among the changes are of `Trainer.evaluate` and `Trainer.train`."""
    resume, evaluate = changes.pop("resume", None), changes.pop("evaluate", False)
    args = StepwiseGRPOConfig(output_dir=str(folder / "out"), **{**SMALL, **changes})
    spy = Spy(str(folder / "model"), args)
    before = weights_of(spy)
    spy.train(resume_from_checkpoint=resume and str(folder / "out" / resume))
    record = {
        **{"played": spy.played, "read": spy.read, "losses": spy.losses, "log": spy.state.log_history},
        **{"before": before, "after": weights_of(spy)},
        "evaluated": spy.evaluate() if evaluate else {},
        "evaluation": spy.evaluation,
    }
    (folder / f"{name}-{spy.accelerator.process_index}.pickle").write_bytes(pickle.dumps(record))


def weights_of(trainer: Any) -> np.ndarray:
    return np.concatenate([each.detach().numpy().ravel() for each in trainer.model.parameters()])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for run_name, run_changes in json.loads(sys.argv[2]).items():
        run(Path(sys.argv[1]), run_name, run_changes)
