"""`hgpo report`: a run as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from hgpo.cli.parse import parse


@dataclass(frozen=True)
class ReportCommand:
    """Write a run's report.html again, also while the run is still training: one file that opens offline."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""


def main(args: Sequence[str]) -> int:
    """Write the report and print where it is."""
    console = Console()
    command = parse(ReportCommand, args, prog="hgpo report")
    # Help and error messages do not need transformers.
    import transformers

    from hgpo.report.page import write_report

    transformers.utils.logging.disable_progress_bar()
    path = write_report(command.run)
    console.print(f"report: {path}", soft_wrap=True, highlight=False)
    return 0
