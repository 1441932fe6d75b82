"""Carries out the run of `hgpo train`, once its settings are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import transformers
from rich.console import Console

from hgpo.cli import INTERRUPTED
from hgpo.distributed import process_group
from hgpo.files import reason
from hgpo.report.curves import plot_learning_curve
from hgpo.report.page import write_report
from hgpo.runs.display import RichDisplay, evaluation_tables
from hgpo.training.config import TrainConfig
from hgpo.training.trainer import Trainer


def train(config: TrainConfig, folder: Path) -> int:
    """Train, then print the evaluations and where the results are; returns the exit code."""
    processes = process_group()
    # If there are several processes, only the first one prints.
    console = Console(quiet=processes.rank > 0)
    transformers.utils.logging.disable_progress_bar()
    started = time.perf_counter()
    folder = processes.broadcast(folder)
    with RichDisplay(console) as display:
        trainer = Trainer(config, folder, display, processes)
        try:
            evaluations = trainer.run()
        except KeyboardInterrupt:
            stopped = f"stopped after iteration {trainer.iteration}"
            display.say(f"{stopped}; continue with: hgpo train --resume {folder}")
            return INTERRUPTED
    if processes.rank > 0:
        return 0
    minutes = (time.perf_counter() - started) / 60
    console.print(evaluation_tables(evaluations, f"each held-out task once; {minutes:.1f} minutes"))
    curve = folder / "learning_curve.png"
    pages: dict[str, Callable[[], object]] = {
        "report.html": lambda: write_report(folder),
        curve.name: lambda: plot_learning_curve(trainer.log.read_metrics(), evaluations, curve),
    }
    written = [name for name, write in pages.items() if _written(name, write, console)]
    console.print(f"run: {folder} ({', '.join([*written, 'metrics.jsonl', 'checkpoints'])})", soft_wrap=True)
    return 0


def _written(name: str, write: Callable[[], object], console: Console) -> bool:
    """Write a page or plot of a finished run; print a line if that fails."""
    try:
        write()
    except OSError as error:
        console.print(f"{name} could not be written ({reason(error)}) and is left out", soft_wrap=True)
        return False
    return True
