"""An agent that asks a small model to repeat words; its function is loaded by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hgpo.gateway import AgentSuite
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy
from hgpo.training.config import ReadingSettings, TrainConfig, WarmStart
from hgpo.training.losses import PolicyLoss

WORDS = ("north", "east", "south", "west")


async def play(task: dict[str, str], client: Any) -> float:
    """Ask twice; the reward is 1 if the second answer is the task's word."""
    for question in ("think", f"say {task['word']}"):
        reply = await client.chat.completions.create(
            model="policy", messages=[{"role": "user", "content": question}], max_tokens=1
        )
    return float(reply.choices[0].message.content == task["word"])  # pyright: ignore


def last_word(messages: list[dict[str, Any]]) -> str:
    """A state key: the last word of the last message."""
    return messages[-1]["content"].split()[-1]


NOT_A_FUNCTION = 3


def write_tasks(folder: Path) -> Path:
    lines = [json.dumps({"word": word, "kind": word}) for word in WORDS for _ in range(5)]
    file = folder / "tasks.jsonl"
    file.write_text("\n".join(lines))
    return file


def write_model(folder: Path) -> Path:
    policy = create_policy(
        [*WORDS, "say think"],
        TinyModel(hidden_size=16, layers=1, heads=2, merges=0),
        max_tokens=32,
        max_commands=1,
        seed=0,
    )
    policy.save(folder / "model")
    return folder / "model"


def config(folder: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = dict(
        env=AgentSuite("gateway_words:play", str(write_tasks(folder))),
        model=str(write_model(folder)),
        loss=PolicyLoss(entropy_coefficient=0.0),
        learning_rate=5e-2,
        learning_rate_warmup=0,
        num_minibatches=1,
        subsample_below=0.0,
        iterations=4,
        tasks_per_iteration=4,
        group_size=4,
        max_response_tokens=2,
        threads=1,
    )
    values |= {"reading": ReadingSettings(tasks=0), "warm_start": WarmStart(tasks=0)}
    return TrainConfig(**(values | changes))
