"""Checkpoints: everything that a run needs to continue exactly, written completely or not at all."""

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
"""The file with the moving average of the weights, if the run has one."""
SAMPLER = "sampler.pt"
"""The file with the weights that sample the next rollouts, if they are not the policy's."""
REMEDY = "make room, or remove what is in the way,"
KEPT = 2
"""Number of complete checkpoints that are kept; older ones are removed."""


def save_checkpoint(
    folder: Path,
    iteration: int,
    policy: TransformersPolicy,
    optimizer: torch.optim.Optimizer,
    critic: Critic | None = None,
    average: WeightAverage | None = None,
    sampler: WeightAverage | None = None,
    entropy_coefficient: float = 0.0,
) -> Path:
    """Write the policy, the optimizer, the entropy coefficient, and the critic and further weights if any.

    The checkpoint is written to a temporary folder and moved to its place when complete, so that a run that
    is killed leaves no partial checkpoint. No random state needs to be saved: each iteration's random streams
    are derived from the run's seed and the iteration's number.

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
            for name, weights in ((AVERAGE, average), (SAMPLER, sampler)):
                if weights is not None:
                    weights.save(partial / name)
            state = {"iteration": iteration, "entropy_coefficient": entropy_coefficient}
            files = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
            (partial / STATE).write_text(json.dumps(state | {"files": files}))
    except Exception as error:
        raise not_written(folder, iteration, error) from error
    for old in complete_checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def save_reference(folder: Path, policy: TransformersPolicy) -> None:
    """Write the policy before reinforcement learning as the reference, completely or not at all.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        with _whole_folder(folder) as partial:
            policy.save(partial)
    except Exception as error:
        raise RunError(
            f"the reference policy could not be written ({reason(error)}): {REMEDY} and start again with "
            f"hgpo train --resume {folder.parent}"
        ) from error


def not_written(folder: Path, iteration: int, error: Exception) -> RunError:
    """The error for a checkpoint after `iteration` iterations that could not be written."""
    whole = "; the previous checkpoint is complete" if latest_checkpoint(folder) is not None else ""
    return RunError(
        f"the checkpoint after iteration {iteration} could not be written ({reason(error)}){whole}: "
        f"{REMEDY} and continue with hgpo train --resume {folder.parent}"
    )


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder to write into; it is moved to the target when complete, and removed on a failure.

    A full disk raises an OSError, or an error type of torch or safetensors.
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
    """Restore the optimizer's state from the checkpoint.

    Raises:
        SettingError: if it cannot be read, or belongs to a different model.
    """
    with _readable(checkpoint):
        optimizer.load_state_dict(
            torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True)
        )


def load_critic(checkpoint: Path, critic: Critic) -> None:
    """Restore the critic's state from the checkpoint.

    Raises:
        SettingError: if it cannot be read, or belongs to a different model.
    """
    with _readable(checkpoint):
        critic.load(checkpoint / "critic.pt")


def load_weights(checkpoint: Path, name: str, weights: WeightAverage) -> None:
    """Restore further weights from a file of the checkpoint; they are unchanged if it has no such file.

    Raises:
        SettingError: if they cannot be read, or belong to a different model.
    """
    if (checkpoint / name).is_file():
        with _readable(checkpoint):
            weights.load(checkpoint / name)


@contextmanager
def _readable(checkpoint: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # torch, safetensors and transformers do not document which errors they raise for a damaged file.
        raise unusable(checkpoint, str(error).splitlines()[0] if str(error) else repr(error)) from error
