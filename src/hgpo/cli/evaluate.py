"""`hgpo evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import transformers
import tyro
from rich.console import Console
from rich.table import Table

from hgpo.agents.language import LanguageAgent
from hgpo.cli import wrong_use
from hgpo.cli.parse import parse
from hgpo.cli.runs import open_run
from hgpo.config import TrainConfig
from hgpo.display import RichDisplay, evaluation_tables
from hgpo.errors import SettingError
from hgpo.evaluate import PublishedProtocol, evaluate_panel, evaluate_published
from hgpo.trainer import EVALUATION


@dataclass(frozen=True)
class EvaluateCommand:
    """Play the held-out games once each with the agent of a run's latest checkpoint."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    published: bool = False
    """Evaluate as the paper does: 512 games drawn with repetition, 3 seeds, temperature 0.4. It prints a row
    to lay beside the paper's table."""
    temperature: float = 0.0
    """Of sampling; 0 takes the most likely token. The published way has its own."""
    games: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Only the first so many games of each panel; None plays all."""
    seed: int = 0
    """Of sampling."""


def main(args: Sequence[str]) -> int:
    """Evaluate and print the table."""
    console = Console()
    transformers.utils.logging.disable_progress_bar()
    try:
        command = parse(EvaluateCommand, args, prog="hgpo evaluate")
        if command.temperature < 0 or (command.games is not None and command.games < 1) or command.seed < 0:
            raise SettingError("--temperature and --seed must be at least 0 and --games at least 1")
        if command.published and (command.temperature or command.games is not None):
            raise SettingError("--published has its own temperature and number of games: give neither")
        run = open_run(command.run)
        config, agent = run.config, run.agent
        if command.published:
            console.print(_published_table(config, agent, command.seed, console))
            return 0
        records = []
        with RichDisplay(console) as display:
            for split in config.env.splits[1:]:
                with display.phase(split) as advance:
                    result = evaluate_panel(
                        config.env,
                        agent,
                        split,
                        temperature=command.temperature,
                        seed=[command.seed, EVALUATION],
                        games=command.games,
                        on_step=lambda finished, live, advance=advance: advance(finished, finished + live),
                    )
                records.append(result.record(run.iteration))
    except SettingError as error:
        return wrong_use(str(error))
    console.print(evaluation_tables(records, f"{run.checkpoint}: each held-out game once"))
    return 0


def _published_table(config: TrainConfig, agent: LanguageAgent, seed: int, console: Console) -> Table:
    protocol = PublishedProtocol()
    table = Table(
        title=f"success in %, {protocol.seeds} × {protocol.draws} draws, temperature {protocol.temperature}",
        title_justify="left",
    )
    table.add_column("agent")
    cells = [f"{type(config.estimator).__name__}, K={config.history_length}"]
    with RichDisplay(console) as display:
        for split in config.env.splits[1:]:
            with display.phase(split) as advance:
                result = evaluate_published(
                    config.env,
                    agent,
                    split,
                    protocol,
                    [seed, EVALUATION],
                    lambda finished, live, advance=advance: advance(finished, finished + live),
                )
            table.add_column(split, justify="right")
            cells.append(f"{100 * result.mean:.2f} ± {100 * result.std:.2f}")
    table.add_row(*cells)
    return table
