"""Small runs and files to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hgpo import HGPO, StepTable
from hgpo.rollout_files import write_rollouts
from hgpo.training.config import TrainConfig, save_config

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script></script><!--"


def steps_of(iteration: int, wins: str = "10", observation: str = "in the hall") -> StepTable:
    """Two tasks with a rollout of two steps per letter of `wins`, 1 for one that ends with a reward of 10."""
    rows = [
        {
            "task_id": f"{group}/train/{name}",
            "trajectory_id": f"{group}/train/{name}/{member}",
            "step_index": step,
            "state_key": f"state {step}",
            "observation": f"{observation}, step {step}",
            "action": "open door" if win == "1" else "wait",
            "reward": 10.0 * (step == 1 and win == "1"),
            "prompt_tokens": [group, step],
            "response_tokens": [member, 7],
            "response_logprobs": [-0.5, -3.0],
            "policy_version": iteration,
        }
        for group, name in enumerate((f"cool{iteration % 3}", "heat"))
        for member, win in enumerate(wins)
        for step in range(2)
    ]
    return StepTable.from_rows(rows)


def write_iteration(folder: Path, iteration: int, steps: StepTable | None = None) -> None:
    """Add an iteration to a run: its rollouts and its metrics."""
    steps = steps_of(iteration) if steps is None else steps
    kind = ["cool" if "cool" in task else "heat" for task in steps.task_id.tolist()]
    total = np.bincount(steps.trajectory_code, steps.reward)[steps.trajectory_code]
    details = {
        "task_type": kind,
        "instruction": [f"{word} the egg" for word in kind],
        "won": (total > 0).tolist(),
    }
    write_rollouts(folder / "rollouts" / f"{iteration:06d}.parquet", steps, details=details)
    record: dict[str, Any] = {"iteration": iteration, "success_rate": iteration / 10, "environment_steps": 8}
    record |= {"steps_mean": 2.0, "valid_action_rate": 1.0}
    record |= {f"seconds_{part}": 1.0 for part in ("rollout", "advantages", "update")}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def write_run(folder: Path, iterations: int = 3, **settings: Any) -> Path:
    """A run that has kept its rollouts and plans one iteration more."""
    folder.mkdir(parents=True)
    values: dict[str, Any] = {"estimator": HGPO(history_length=1, normalization="mean", discount=1.0)}
    save_config(
        TrainConfig(**(values | {"iterations": iterations + 1, "keep_rollouts": True} | settings)),
        folder / "config.json",
    )
    for iteration in range(1, iterations + 1):
        write_iteration(folder, iteration)
    return folder
