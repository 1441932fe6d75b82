"""`hgpo export`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import transformers
import tyro
from rich.console import Console

from hgpo.cli.parse import parse
from hgpo.errors import RunError, SettingError
from hgpo.policies.compute import Compute
from hgpo.policies.loading import load_policy
from hgpo.policies.settings import is_model
from hgpo.policies.transformers import TransformersPolicy
from hgpo.training.checkpoint import checkpoint_iteration, latest_checkpoint
from hgpo.training.config import load_config
from hgpo.training.open_run import evaluated_policy, weights_in_words

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class ExportCommand:
    """Write a run's model as a plain folder in transformers' format, which vLLM and other libraries can load.

    The folder holds the weights as safetensors, the configuration of the model and of generation, the
    tokenizer and its chat template. A LoRA adapter is merged into its base model. If merging makes the output
    head differ from an input embedding that was tied to it, the configuration sets tie_word_embeddings to
    false.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, whose latest checkpoint is exported, with averaged weights if the run has them
    (--weight-average-decay); or a folder with a model or an adapter, such as one checkpoint of a run."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The folder to create."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Data type of the weights; bfloat16 takes half the space of float32."""


def main(args: Sequence[str]) -> int:
    """Write the folder and print where it is."""
    console = Console()
    transformers.utils.logging.disable_progress_bar()
    command = parse(ExportCommand, args, prog="hgpo export")
    if command.out.exists():
        raise SettingError(f"{command.out} already exists: give another OUT")
    name, policy = _model(command.source)
    _write(policy, command.out, _DTYPES[command.precision])
    console.print(f"{name}: {command.out}", soft_wrap=True, highlight=False)
    return 0


def _model(source: Path) -> tuple[str, TransformersPolicy]:
    """A description of a folder's model, and its policy."""
    if is_model(source):
        return f"model of {source}", load_policy(source, Compute(), trainable=False)
    config = load_config(source / "config.json")
    checkpoint = latest_checkpoint(source / "checkpoints")
    if checkpoint is None:
        raise SettingError(f"{source} has no checkpoint yet: nothing to export")
    name = f"model after iteration {checkpoint_iteration(checkpoint)}{weights_in_words(config)}"
    return name, evaluated_policy(config, checkpoint, Compute())


def _write(policy: TransformersPolicy, out: Path, dtype: torch.dtype) -> None:
    """Write the folder under a temporary name, then rename it, so that it is complete once it is there."""
    partial = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        policy.save_whole(partial, dtype)
        partial.rename(out)
    except SettingError:
        raise
    except Exception as error:
        # A full disk raises an OSError here, or an error type of torch or safetensors.
        raise RunError(f"{out} could not be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
