"""`hgpo export`."""

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
    """Write a run's model as a plain folder in transformers' format, which vLLM and others load, too.

    It holds the weights as safetensors, the configuration of the model and of generation, the tokenizer and
    its chat template. An adapter is merged into its model. Where that makes the output head differ from the
    input embedding of a model in which both are the same, the configuration says tie_word_embeddings false.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, of which the latest checkpoint is taken, with averaged weights if the run has them
    (--weight-average-decay); or a folder with a model or an adapter, such as one checkpoint of a run."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The new folder."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the weights; bfloat16 takes half the room."""


def main(args: Sequence[str]) -> int:
    """Write the folder and say where it is."""
    console = Console()
    command = parse(ExportCommand, args, prog="hgpo export")
    if command.out.exists():
        raise SettingError(f"{command.out} is there already: give another OUT")
    # Help and refusals need no torch.
    from hgpo.cli.export_run import export

    name = export(command.source, command.out, command.precision)
    console.print(f"{name}: {command.out}", soft_wrap=True, highlight=False)
    return 0
