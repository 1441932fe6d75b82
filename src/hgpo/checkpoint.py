"""Checkpoints: all that a run needs to go on exactly, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from hgpo.policies.critic import Critic
from hgpo.policies.transformers import TransformersPolicy

KEPT = 2
"""Older checkpoints are removed once so many newer ones are complete."""


def save_checkpoint(
    folder: Path,
    iteration: int,
    policy: TransformersPolicy,
    optimizer: torch.optim.Optimizer,
    critic: Critic | None = None,
) -> Path:
    """Write policy, optimizer and critic, if there is one, as they are after `iteration` iterations.

    The checkpoint is written beside its place and moved there when complete, so that a run that is killed
    leaves no half of one. Nothing random needs saving: each iteration's random streams follow from the
    run's seed and the iteration's number.
    """
    target = folder / f"{iteration:06d}"
    if target.exists():
        return target
    partial = folder / f"{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    policy.save(partial)
    torch.save(optimizer.state_dict(), partial / "optimizer.pt")
    if critic is not None:
        critic.save(partial / "critic.pt")
    (partial / "state.json").write_text(json.dumps({"iteration": iteration}))
    partial.rename(target)
    for old in _complete(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, None if there is none."""
    return max(_complete(folder), default=None)


def checkpoint_iteration(checkpoint: Path) -> int:
    """How many iterations lie behind a checkpoint."""
    return json.loads((checkpoint / "state.json").read_text())["iteration"]


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer into the state that the checkpoint holds."""
    optimizer.load_state_dict(torch.load(checkpoint / "optimizer.pt", weights_only=True))


def load_critic(checkpoint: Path, critic: Critic) -> None:
    """Put the critic into the state that the checkpoint holds."""
    critic.load(checkpoint / "critic.pt")


def _complete(folder: Path) -> list[Path]:
    found = (path for path in folder.glob("*") if path.name.isdigit())
    return sorted(path for path in found if (path / "state.json").is_file())
