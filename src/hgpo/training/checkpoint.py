"""Checkpoints: all that a run needs to go on exactly, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from hgpo.errors import RunError
from hgpo.files import reason
from hgpo.policies.compute import Compute
from hgpo.policies.critic import Critic
from hgpo.policies.loading import load_policy
from hgpo.policies.transformers import TransformersPolicy
from hgpo.training.checkpoint_folder import STATE, complete_checkpoints, latest_checkpoint, unusable
from hgpo.training.weight_average import WeightAverage

AVERAGE = "average.pt"
"""The moving average of the weights, where the run has one."""
REMEDY = "make room, or remove what is in the way,"
KEPT = 2
"""How many complete checkpoints are kept; older ones are removed."""


def save_checkpoint(
    folder: Path,
    iteration: int,
    policy: TransformersPolicy,
    optimizer: torch.optim.Optimizer,
    critic: Critic | None = None,
    average: WeightAverage | None = None,
    entropy_coefficient: float = 0.0,
) -> Path:
    """Write policy, optimizer, critic and weight average, if there are any, and the entropy coefficient.

    The checkpoint is written next to its place and moved there when complete, so that a run that is killed
    leaves no partial one. Nothing random needs saving: each iteration's random streams follow from the
    run's seed and the iteration's number.

    Raises:
        RunError: if it cannot be written.
    """
    target = folder / f"{iteration:06d}"
    if target.exists():
        return target
    try:
        with _whole_folder(target) as partial:
            policy.save(partial)
            torch.save(optimizer.state_dict(), partial / "optimizer.pt")
            if critic is not None:
                critic.save(partial / "critic.pt")
            if average is not None:
                average.save(partial / AVERAGE)
            state = {"iteration": iteration, "entropy_coefficient": entropy_coefficient}
            files = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
            (partial / STATE).write_text(json.dumps(state | {"files": files}))
    except Exception as error:
        raise not_written(folder, iteration, error) from error
    for old in complete_checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def save_reference(folder: Path, policy: TransformersPolicy) -> None:
    """Write the policy before it learns, completely or not at all.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        with _whole_folder(folder) as partial:
            policy.save(partial)
    except Exception as error:
        raise RunError(
            f"the reference policy could not be written ({reason(error)}): {REMEDY} and begin again with "
            f"hgpo train --resume {folder.parent}"
        ) from error


def not_written(folder: Path, iteration: int, error: Exception) -> RunError:
    """What to say where the checkpoint after `iteration` iterations could not be written."""
    whole = "; the one before it is whole" if latest_checkpoint(folder) is not None else ""
    return RunError(
        f"the checkpoint after iteration {iteration} could not be written ({reason(error)}){whole}: "
        f"{REMEDY} and continue with hgpo train --resume {folder.parent}"
    )


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A folder next to the target to write into; it is moved there when complete, and removed on a failure.

    A full disk shows as an OSError, or as an error type of torch or safetensors.
    """
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def load_checkpoint(checkpoint: Path, compute: Compute) -> TransformersPolicy:
    """The policy of a checkpoint.

    Raises:
        SettingError: if it cannot be read.
    """
    with _readable(checkpoint):
        return load_policy(checkpoint, compute)


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer into the state that the checkpoint holds.

    Raises:
        SettingError: if it cannot be read, or is another model's.
    """
    with _readable(checkpoint):
        optimizer.load_state_dict(
            torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True)
        )


def load_critic(checkpoint: Path, critic: Critic) -> None:
    """Put the critic into the state that the checkpoint holds.

    Raises:
        SettingError: if it cannot be read, or is another model's.
    """
    with _readable(checkpoint):
        critic.load(checkpoint / "critic.pt")


def load_average(checkpoint: Path, average: WeightAverage) -> None:
    """Put the average into the state that the checkpoint holds; it stays as it is where there is none.

    Raises:
        SettingError: if it cannot be read, or is another model's.
    """
    if (checkpoint / AVERAGE).is_file():
        with _readable(checkpoint):
            average.load(checkpoint / AVERAGE)


@contextmanager
def _readable(checkpoint: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # What a damaged file makes of torch, safetensors and transformers is not theirs to promise.
        raise unusable(checkpoint, str(error).splitlines()[0] if str(error) else repr(error)) from error
