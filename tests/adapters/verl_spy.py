"""Imported by verl's processes in tests: a trainer that writes down what its updates read, and games that die."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgpo.envs import HouseholdSuite
from hgpo.envs.base import Task

FOLDER = "HGPO_SPY"
"""The environment variable that names the folder for what is written."""


def register_spies() -> None:
    """Make the trainers spy_sync and spy_colocate_async known to verl."""
    import torch
    import transfer_queue as tq
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
    from verl.trainer.ppo.v1.trainer_base import register_trainer

    from hgpo.adapters.verl.trainers import StepwiseColocateAsync, StepwiseSeparateAsync, StepwiseSync

    class Spy:
        config: Any
        global_steps: int
        local_trigger_step: int

        def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
            data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id)
            seen: dict[str, Any] = {
                name: [row.tolist() for row in torch.unbind(data[name])]
                for name in (
                    *("prompts", "responses", "response_mask", "advantages"),
                    *("old_log_probs", "rollout_log_probs"),
                )
            }
            for name in ("uid", "extra_fields", "index", "session_id"):
                seen[name] = data.pop(name).tolist()
            seen["keys"] = list(batch.keys)
            seen["padding"] = [tag.get("is_padding", False) for tag in batch.tags]
            out = super()._update_actor(batch, metrics)  # pyright: ignore[reportAttributeAccessIssue]
            seen["mini_batch_rows"] = (
                self.config.actor_rollout_ref.actor.ppo_mini_batch_size
                * self.config.actor_rollout_ref.rollout.n
            )
            seen["metrics"] = dict(metrics)
            folder = Path(os.environ[FOLDER])
            (folder / f"update_{self.global_steps + self.local_trigger_step / 10:g}.pickle").write_bytes(
                pickle.dumps(seen)
            )
            return out

    for name, loss in POLICY_LOSS_REGISTRY.items():
        POLICY_LOSS_REGISTRY[name] = _noted(name, loss)
    register_trainer("spy_sync")(type("SpySync", (Spy, StepwiseSync), {}))
    register_trainer("spy_colocate_async")(type("SpyColocateAsync", (Spy, StepwiseColocateAsync), {}))
    register_trainer("spy_separate_async")(type("SpySeparateAsync", (Spy, StepwiseSeparateAsync), {}))


def _noted(name: str, loss: Callable[..., Any]) -> Callable[..., Any]:
    """The loss, which leaves a file with its name when it is computed."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        (Path(os.environ[FOLDER]) / f"loss_{name}").touch()
        return loss(*args, **kwargs)

    return noted


@dataclass(frozen=True)
class DyingHousehold(HouseholdSuite):
    """Household games of which, once in a run, a process dies at the second step of an episode."""

    def make(self) -> Any:
        return _Dying(super().make())


class _Dying:
    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.steps = 0

    def reset(self, task: Task, seed: int = 0) -> Any:
        return self.environment.reset(task, seed)

    def step(self, command: str) -> Any:
        self.steps += 1
        if self.steps == 2:
            try:
                (Path(os.environ[FOLDER]) / "died").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os._exit(1)
        return self.environment.step(command)


if FOLDER in os.environ:
    register_spies()
