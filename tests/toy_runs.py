"""Runs on the toy game, and what they leave."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from toy import ToySuite

from hgpo.policies.settings import TinyModel
from hgpo.training.config import TrainConfig, WarmStart
from hgpo.training.losses import PolicyLoss
from hgpo.training.schedules import Decay
from hgpo.training.trainer import Trainer


def config(**changes) -> TrainConfig:
    values: dict[str, Any] = dict(
        env=ToySuite(),
        tiny=TinyModel(32, 2, 2, merges=0),
        # Long enough to win now and then: runs that learn nothing would all be equal.
        warm_start=WarmStart(tasks=6, epochs=60, batch_rows=8),
        loss=PolicyLoss(entropy_coefficient=0.01),
        learning_rate=8e-4,
        learning_rate_warmup=10,
        learning_rate_decay=Decay(),
        entropy_decay=Decay(),
        num_minibatches=2,
        subsample_below=0.0,
        iterations=4,
        tasks_per_iteration=3,
        group_size=4,
        max_prompt_tokens=150,
        checkpoint_every=2,
        sample_every=2,
        threads=1,
    )
    return TrainConfig(**(values | changes))


def run(settings: TrainConfig, folder: Path) -> Trainer:
    trainer = Trainer(settings, folder)
    trainer.run()
    return trainer


def figures(folder: Path) -> list[dict[str, float]]:
    """The metrics without the times."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if not k.startswith("seconds")} for record in records]


@cache
def finished(settings: TrainConfig) -> Path:
    """The folder of a run with these settings, made once per process: read it or copy it, change nothing."""
    folder = Path(tempfile.mkdtemp(dir=_FOLDERS.name))
    run(settings, folder)
    return folder


def half_trained(**changes) -> TrainConfig:
    """As `config`, from a policy that has had its warm start: for tests that say nothing of that."""
    reference = finished(config(iterations=0, evaluation_tasks=1)) / "reference"
    return config(**({"model": str(reference), "warm_start": WarmStart(tasks=0)} | changes))


def command(*options: str) -> list[str]:
    """Words of the real command that train the half-trained policy on the toy game; `options` come on top."""
    small = "--threads 1 --reading.tasks 0 --warm-start.tasks 0 --response text --max-prompt-tokens 300"
    model = str(half_trained().model)
    return ["train", "env:toy:ToySuite", "--model", model, *small.split(), *options]


_FOLDERS = tempfile.TemporaryDirectory()
