"""`hgpo export`: a run's policy as a model folder that other programs load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from hgpo.cli.parse import parse
from hgpo.errors import SettingError


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
    command = parse(ExportCommand, args, prog="hgpo export")
    if command.out.exists():
        raise SettingError(f"{command.out} already exists: give another OUT")
    # Help and error messages do not need torch.
    from hgpo.cli.export_run import export

    name = export(command.source, command.out, command.precision)
    console.print(f"{name}: {command.out}", soft_wrap=True, highlight=False)
    return 0
