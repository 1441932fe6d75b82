# ruff: noqa: E402
"""Trinity's own path from tasks to the loss, without its engines: one run per workflow.

    python tests/adapters/trinity_spy.py FOLDER

reads Trinity's configurations FOLDER/*.yaml. For each it runs the tasks with Trinity's runner, passes the
experiences in another order to its pipeline, reads them from its buffer as its trainer does, and writes what the
loss reads to FOLDER/NAME.pickle. vLLM, which Trinity imports but a CPU has not, is replaced, and the model's
answers are scripted.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
import random
import sys
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

for name in ("vllm", "vllm.config", "vllm.entrypoints", "vllm.entrypoints.chat_utils", "vllm.inputs"):
    sys.modules[name] = MagicMock()

import numpy as np
import torch
from trinity.algorithm.policy_loss_fn.ppo_policy_loss import PPOPolicyLossFn  # pyright: ignore
from trinity.buffer import get_buffer_reader  # pyright: ignore
from trinity.buffer.pipelines.experience_pipeline import ExperiencePipeline  # pyright: ignore
from trinity.common.config import load_config  # pyright: ignore
from trinity.common.experience import Experience  # pyright: ignore
from trinity.common.models.allocator import Allocator  # pyright: ignore
from trinity.common.models.model import ModelWrapper  # pyright: ignore
from trinity.explorer.workflow_runner import WorkflowRunner  # pyright: ignore
from trinity.trainer.verl.utils import to_data_proto  # pyright: ignore

WALK = (
    *("go to sink 1", "take mug 1 from sink 1", "go to cabinet 1"),
    *("open cabinet 1", "move mug 1 to cabinet 1"),
)
"""Wins the game; the answer "dance" changes nothing."""


class Answering(ModelWrapper, ABC):
    """Trinity's model, but for its answers."""

    runs = itertools.count()

    @abstractmethod
    def text(self, said: int) -> str:
        """The next answer of a run that has given this number of answers in the conversation."""

    def clone_with_isolated_history(self) -> Any:
        clone: Any = super().clone_with_isolated_history()
        clone.run, clone.steps = next(self.runs), itertools.count()
        return clone

    def chat(self, messages: list[dict[str, str]], **_: Any) -> list[Any]:
        text = self.text(sum(message["role"] == "assistant" for message in messages))
        prompt, written = [1] * len(messages), list(text.encode())
        experience = Experience(
            tokens=prompt + written,
            prompt_length=len(prompt),
            logprobs=[-0.5] * len(written),
            response_text=text,
        )
        if self.enable_history:
            self._record_history([experience])
        return [experience]

    async def chat_async(self, messages: list[dict[str, str]], **_: Any) -> list[Any]:
        return self.chat(messages)

    async def _version(self) -> int:
        return 0

    model_version_async = property(_version)


class Walking(Answering):
    """Walks to the goal, but dances in step r of run r: runs have equal states in different steps."""

    def text(self, said: int) -> str:
        place = self.run % 4
        command = "dance" if said == place else WALK[said - (said > place)]
        return f"<think>Step {said}.</think><action>{command}</action>"


class Guessing(Answering):
    """Guesses numbers, most of which are those of a listed command."""

    def text(self, said: int) -> str:
        return f"#{np.random.default_rng([self.run, next(self.steps)]).choice([1, 2, 3, 4, 100])}"


async def run(folder: Path, name: str) -> None:
    config = load_config(str(folder / f"{name}.yaml"))
    # The buffer would otherwise live in an actor of Ray.
    buffer = replace(config.buffer.trainer_input.experience_buffer.to_storage_config(), wrap_in_ray=False)
    config.buffer.trainer_input.experience_buffer = buffer
    Answering.runs = itertools.count()
    answering = {"alfworld": Walking, "household": Guessing}[name]
    model = answering(model=object(), config=config.explorer.rollout_model)
    Allocator.get_model = lambda *_: model
    taskset = config.buffer.explorer_input.taskset
    tasks = await get_buffer_reader(taskset).read(2)
    runner = WorkflowRunner(config, 0, [], 0)
    chunks = []
    for number, task in enumerate(tasks):
        task.batch_id, task.task_id = "1", number
        status, chunk = await runner.run_task(task, "1", repeat_times=4, run_id_base=0)
        assert status.ok, status.message
        chunks.append(chunk)
    played = [experience for chunk in chunks for experience in Experience.deserialize_many(chunk)]
    random.Random(0).shuffle(played)
    pipeline = ExperiencePipeline(config)
    await pipeline.prepare()
    metrics = await pipeline.process(Experience.serialize_many(played))
    read = await get_buffer_reader(buffer).read(len(played))
    batch = to_data_proto(read, pad_token_id=0, model=object(), logger=logging.getLogger()).batch
    zero = torch.zeros_like(batch["advantages"])
    loss, _ = PPOPolicyLossFn(clip_range=0.2)(zero, zero, batch["response_mask"], batch["advantages"])
    record = {
        "rows": [
            {
                **{"task": each.eid.task, "run": each.eid.run, "step": each.eid.step},
                **{
                    "info": each.info,
                    "reward": each.reward,
                    "metrics": each.metrics,
                    "text": each.response_text,
                },
                "tokens": len(each.tokens) - each.prompt_length,
            }
            for each in read
        ],
        **{"advantages": batch["advantages"].numpy(), "mask": batch["response_mask"].numpy()},
        **{"loss": loss.item(), "metrics": metrics},
    }
    (folder / f"{name}.pickle").write_bytes(pickle.dumps(record))


if __name__ == "__main__":
    torch.set_num_threads(1)
    # TextWorld's planner replaces the arguments of the process.
    place = Path(sys.argv[1])
    for file in sorted(place.glob("*.yaml")):
        asyncio.run(run(place, file.stem))
