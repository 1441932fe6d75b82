"""`hgpo presets`: published settings, as options of `hgpo train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from hgpo.cli.parse import parse
from hgpo.training.presets import DEFAULT, METHODS, PRESETS, explained


@dataclass(frozen=True)
class PresetsCommand:
    """List the presets of `hgpo train --preset`, or show every value of the named ones and its source."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAMES]")] = ()
    """The presets to show: a run, methods, or a run with methods added to it."""


def main(args: Sequence[str]) -> int:
    """Print the list of presets, or the values of the named ones."""
    # Names and values are meant to be copied, so none is cut off in a narrow terminal.
    console = Console(width=max(120, Console().width))
    command = parse(PresetsCommand, args, prog="hgpo presets")
    if not command.names:
        table = Table("preset", "model", "games", box=None)
        for name, preset in PRESETS.items():
            table.add_row(name, preset.values["model"][0], preset.environment)
        for name in METHODS:
            table.add_row(name, "any: a method, on top of a preset or of the defaults", "any")
    else:
        table = Table(box=None)
        for column in ("setting", "value", "source"):
            table.add_column(column, no_wrap=True)
        for setting, value, source in explained(*command.names):
            table.add_row(setting, str(value), source, style="dim" if source == DEFAULT else None)
    console.print(table)
    return 0
