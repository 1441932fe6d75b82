"""Runs verl's whole loop on a CPU, and reads what its updates were given from the files of the spy."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def command(folder: Path, *words: str, mode: str = "sync") -> list[str]:
    """The command line of a dry run in a folder, with further words."""
    return [
        *(sys.executable, "-m", "hgpo", "verl", "train", "--preset", "alfworld-1.5b", "--dry-run-cpu"),
        *words,
        "hgpo.keep_rollouts=true",
        f"trainer.v1.trainer_mode=spy_{mode}",
        f"trainer.default_local_dir={folder}/checkpoints",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
    ]


def environment(folder: Path) -> dict[str, str]:
    """Ray's processes find the spy, and verl imports it."""
    spy = Path(__file__).parent / "adapters"
    path = os.pathsep.join([str(spy), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {"HGPO_SPY": str(folder), "PYTHONPATH": path, "VERL_USE_EXTERNAL_MODULES": "verl_spy"}
    # A dry run has a Ray of its own, wherever this leads.
    variables["RAY_ADDRESS"] = "127.0.0.1:9"
    return {**os.environ, **variables}


def run(folder: Path, *words: str, mode: str = "sync", cwd: Path | None = None) -> str:
    """What a dry run prints; it must succeed."""
    line = command(folder, *words, mode=mode)
    done = subprocess.run(line, env=environment(folder), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def updates(folder: Path) -> dict[int, dict[str, Any]]:
    """What the first update after each new version of the weights read."""
    files = folder.glob("update_?.pickle")
    return {int(path.stem.split("_")[1]): pickle.loads(path.read_bytes()) for path in files}


@dataclass(frozen=True)
class Row:
    """A row of an update that is no padding, put where it belongs by its key and by verl's own columns."""

    task: int
    rollout: int
    step: int
    prompt: tuple[int, ...]
    response: tuple[int, ...]
    advantages: tuple[float, ...]
    old_logprobs: tuple[float, ...]
    sampled_logprobs: tuple[float, ...]
    said: dict[str, Any]


def rows_of(update: dict[str, Any]) -> list[Row]:
    """The rows of an update, without padding."""
    rows = []
    for place, key in enumerate(update["keys"]):
        if update["padding"][place]:
            continue
        uid, rollout, step = key.rsplit("_", 2)
        assert uid == update["uid"][place]
        rows.append(
            Row(
                task=update["index"][place],
                rollout=int(rollout),
                step=int(step),
                prompt=tuple(update["prompts"][place]),
                response=tuple(update["responses"][place]),
                advantages=tuple(update["advantages"][place]),
                old_logprobs=tuple(update["old_log_probs"][place]),
                sampled_logprobs=tuple(update["rollout_log_probs"][place]),
                said={**update["extra_fields"][place]["hgpo"], "uid": uid},
            )
        )
    return rows
