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

from hgpo.checkpoint import checkpoint_iteration, latest_checkpoint, load_checkpoint
from hgpo.cli import wrong_use
from hgpo.cli.parse import parse
from hgpo.config import load_config
from hgpo.errors import SettingError
from hgpo.policies.compute import Compute


@dataclass(frozen=True)
class ExportCommand:
    """Write a run's model as a plain folder in transformers' format, which vLLM and others load, too.

    It holds the weights as safetensors, the tokenizer and its chat template. A LoRA adapter is merged into
    its model.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder; the model of its latest checkpoint is taken."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The new folder."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the weights; bfloat16 takes half the room."""


def main(args: Sequence[str]) -> int:
    """Write the folder and say where it is."""
    console = Console()
    transformers.utils.logging.disable_progress_bar()
    try:
        command = parse(ExportCommand, args, prog="hgpo export")
        load_config(command.run / "config.json")
        checkpoint = latest_checkpoint(command.run / "checkpoints")
        if checkpoint is None:
            raise SettingError(f"{command.run} has no checkpoint yet: nothing to export")
        if command.out.exists():
            raise SettingError(f"{command.out} is there already: give another OUT")
        iteration = checkpoint_iteration(checkpoint)
        policy = load_checkpoint(checkpoint, Compute())
    except SettingError as error:
        return wrong_use(str(error))
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[command.precision]
    partial = command.out.with_name(f".{command.out.name}.unfinished")
    shutil.rmtree(partial, ignore_errors=True)
    policy.save_whole(partial, dtype)
    partial.rename(command.out)
    console.print(f"model after iteration {iteration}: {command.out}", soft_wrap=True, highlight=False)
    return 0
