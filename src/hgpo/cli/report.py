"""`hgpo report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import transformers
import tyro
from rich.console import Console

from hgpo.cli import wrong_use
from hgpo.cli.parse import parse
from hgpo.errors import SettingError
from hgpo.report.data import report_data
from hgpo.report.page import write_page
from hgpo.runs.folder import RunLog
from hgpo.training.config import load_config


@dataclass(frozen=True)
class ReportCommand:
    """Write a run's report.html anew, also while the run goes on: one file that opens offline."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""


def main(args: Sequence[str]) -> int:
    """Write the report and say where it is."""
    console = Console()
    transformers.utils.logging.disable_progress_bar()
    try:
        command = parse(ReportCommand, args, prog="hgpo report")
        path = write_report(command.run)
    except SettingError as error:
        return wrong_use(str(error))
    console.print(f"report: {path}", soft_wrap=True, highlight=False)
    return 0


def write_report(folder: Path) -> Path:
    """Write report.html of the run in a folder; its path.

    Raises:
        SettingError: if there is no run, or one that has not begun.
    """
    config, log = load_config(folder / "config.json"), RunLog(folder)
    if not log.reference.exists():
        raise SettingError(f"{folder} has not begun yet: nothing to report")
    tokenizer = transformers.AutoTokenizer.from_pretrained(log.reference, local_files_only=True)
    path = folder / "report.html"
    write_page(report_data(config, log, tokenizer.decode), path)
    return path
