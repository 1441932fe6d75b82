"""Opens the run in a folder that a command line names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hgpo.errors import SettingError
from hgpo.policies.compute import Compute
from hgpo.policies.transformers import TransformersPolicy
from hgpo.training.agent import agent_of_run
from hgpo.training.checkpoint import AVERAGE, load_checkpoint, load_weights
from hgpo.training.checkpoint_folder import checkpoint_iteration, latest_checkpoint
from hgpo.training.config import TrainConfig, load_config
from hgpo.training.weight_average import WeightAverage

if TYPE_CHECKING:
    from hgpo.training.agent import TrainedAgent


@dataclass(frozen=True)
class OpenRun:
    """A run as its latest checkpoint left it."""

    config: TrainConfig
    checkpoint: Path
    iteration: int
    """Number of iterations done before the checkpoint."""
    agent: TrainedAgent


def open_run(folder: Path, *, evaluated: bool = False) -> OpenRun:
    """The run in a folder, with the agent of its latest checkpoint.

    Args:
        folder: the run's folder.
        evaluated: whether the agent is the one that evaluations use, with averaged weights if the run has
            them, rather than the one that is trained.

    Raises:
        SettingError: if the folder holds no run, or a run without a checkpoint.
    """
    config = load_config(folder / "config.json")
    checkpoint = latest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise SettingError(f"{folder} has no checkpoint yet: continue it with hgpo train --resume {folder}")
    config.set_threads()
    compute = config.compute()
    policy = (
        evaluated_policy(config, checkpoint, compute) if evaluated else load_checkpoint(checkpoint, compute)
    )
    return OpenRun(config, checkpoint, checkpoint_iteration(checkpoint), agent_of_run(config, policy))


def evaluated_policy(config: TrainConfig, checkpoint: Path, compute: Compute) -> TransformersPolicy:
    """The policy that the run's evaluations use: that of a checkpoint, with averaged weights if it has them.

    Raises:
        SettingError: if the checkpoint cannot be read.
    """
    policy = load_checkpoint(checkpoint, compute)
    if config.weight_average_decay:
        average = WeightAverage(policy, config.weight_average_decay)
        load_weights(checkpoint, AVERAGE, average)
        average.put_in_place()
    return policy


def weights_in_words(config: TrainConfig) -> str:
    """A note on averaged weights, to add to the name of the policy that evaluations use."""
    return ", averaged weights" if config.weight_average_decay else ""
