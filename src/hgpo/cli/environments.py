"""`hgpo env`: play an environment by hand, check it, solve its tasks, replay recorded episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from hgpo.cli.parse import first_stage, parse
from hgpo.envs import ENVIRONMENTS, REPLAYS, TaskSuite
from hgpo.envs.base import describe, tasks_of
from hgpo.envs.checker import check, format_report, steps_to_win
from hgpo.envs.play import play
from hgpo.envs.replay import format_comparison
from hgpo.errors import SettingError

DataFolder = Annotated[str | None, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True)
class Check:
    """Check an environment's contract: determinism, types, walkthroughs that win, and so on."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The environment: a name, or MODULE:CLASS or FILE.py:CLASS of your own; its settings are options."""
    tasks: int = 20
    """Number of tasks to play from each split."""
    seed: int = 0
    """Seed of the tasks and the commands."""
    data: DataFolder = None
    """Folder of the environment's data; by default the environment's own default folder."""


@dataclass(frozen=True)
class Play:
    """Play a task in the terminal: type a command or its number, "hint" or "quit"."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The environment: a name, or MODULE:CLASS or FILE.py:CLASS of your own; its settings are options."""
    split: str | None = None
    """The split; by default the training split."""
    seed: int = 0
    """Seed that draws the training tasks."""
    game: int = 0
    """The number of the task: in a held-out split, or among the training tasks drawn with --seed."""
    data: DataFolder = None
    """Folder of the environment's data; by default the environment's own default folder."""


@dataclass(frozen=True)
class Solve:
    """Let the expert play the tasks of a split and print its success rate by task type."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The environment: a name, or MODULE:CLASS or FILE.py:CLASS of your own; its settings are options."""
    split: str | None = None
    """The split; by default all held-out splits."""
    tasks: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Only the first N tasks of each split; by default all, and 100 of the training split."""
    seed: int = 0
    """Seed that draws the training tasks."""
    data: DataFolder = None
    """Folder of the environment's data; by default the environment's own default folder."""


@dataclass(frozen=True)
class Replay:
    """Replay recorded episodes; the exit code is 0 only if something was compared and every step is equal."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """File with recorded episodes, .jsonl or .jsonl.xz."""
    env: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """The environment."""
    data: DataFolder = None
    """Folder of the environment's data; by default the environment's own default folder."""


def main(args: Sequence[str]) -> int:
    """Run the command; the exit code is 1 if a check fails, a task is not won or a step differs."""
    kind = WITH_OPTIONS.get(args[0]) if args else None
    if kind is not None:
        return RUN[kind](parse_with_environment(kind, args[1:], f"hgpo env {args[0]}"))
    command: Any = parse(Check | Play | Solve | Replay, args, prog="hgpo env")  # pyright: ignore[reportArgumentType]
    return RUN[type(command)](command)


def parse_with_environment(kind: type, args: Sequence[str], prog: str) -> Any:
    """The options of a command with a field `name`, and its environment's own as --env.SETTING.

    Raises:
        SettingError: as `parse`, or if there is no such environment.
    """
    first, _ = first_stage(kind, ("name",), args)
    named = first.name and _with_options(kind, ENVIRONMENTS.find(first.name, "NAME"))
    return parse(named or kind, args, prog)


def _with_options(kind: type, suite: Any) -> Any:
    return make_dataclass(
        kind.__name__,
        [("env", suite, field(default_factory=suite))],
        bases=(kind,),
        namespace={"__doc__": kind.__doc__},
        frozen=True,
    )


def _suite(command: Any) -> TaskSuite:
    """The environment of a command, with the data of --data."""
    if command.data is None:
        return command.env
    if "data" not in {setting.name for setting in fields(command.env)}:
        raise SettingError(f"{command.env.name} generates its tasks and reads no data: leave --data out")
    return replace(command.env, data=command.data)


def _check(command: Check) -> int:
    suite = _suite(command)
    if command.tasks < 1:
        raise SettingError("--tasks must be at least 1")
    report = check(suite, games=command.tasks, seed=command.seed)
    print(format_report(report))
    print(f"tasks: {describe(suite)}")
    return 1 if report.problems else 0


def _play(command: Play) -> int:
    suite = _suite(command)
    try:
        play(suite, command.split, index=command.game, seed=command.seed)
    except ValueError as error:
        raise SettingError(str(error)) from None
    return 0


def _solve(command: Solve) -> int:
    suite = _suite(command)
    splits = suite.splits[1:] if command.split is None else (command.split,)
    if command.tasks is not None and command.tasks < 1:
        raise SettingError("--tasks must be at least 1")
    table = Table(title=f"{command.name}: tasks won by the expert", title_justify="left")
    for column in ("split", "task type", "won", "games", "share", "steps"):
        table.add_column(column, justify="left" if column in ("split", "task type") else "right")
    played = unknown = 0
    all_won = True
    console = Console()
    for split in splits:
        count = command.tasks or (100 if split == suite.splits[0] else None)
        try:
            tasks = tasks_of(suite, split, count, command.seed)
        except ValueError as error:
            raise SettingError(str(error)) from None
        steps: dict[str, list[int | None]] = {}
        for task in track(tasks, description=split, console=console, transient=True):
            length = steps_to_win(suite, task)
            steps.setdefault(task.kind, []).append(length)
            played += 1
            unknown += length is None and suite.walkthrough(task) is None
        for kind, lengths in (*sorted(steps.items()), ("all", [n for row in steps.values() for n in row])):
            won = [length for length in lengths if length is not None]
            all_won = all_won and len(won) == len(lengths)
            mean = f"{sum(won) / len(won):.1f}" if won else "–"
            share = f"{len(won) / len(lengths):.1%}" if lengths else "–"
            table.add_row(
                split, kind, str(len(won)), str(len(lengths)), share, mean, end_section=kind == "all"
            )
    console.print(table)
    if unknown:
        console.print(f"no walkthrough is known for {unknown} of {played} tasks", highlight=False)
    console.print(f"[dim]tasks: {escape(describe(suite))}[/]", highlight=False, soft_wrap=True)
    return 0 if all_won else 1


def _replay(command: Replay) -> int:
    suite = _suite(replace(command, env=ENVIRONMENTS.find(command.env, "--env")()))
    if command.env not in REPLAYS:
        raise SettingError(
            f"no recordings of {command.env} can be replayed: choose from {', '.join(REPLAYS)}"
        )
    comparison = REPLAYS[command.env](suite, command.file)
    print(format_comparison(comparison))
    return 0 if comparison.exact else 1


WITH_OPTIONS: dict[str, type] = {"check": Check, "play": Play, "solve": Solve}
"""Commands that have the environment's settings as options."""
RUN: dict[type, Callable[[Any], int]] = {Check: _check, Play: _play, Solve: _solve, Replay: _replay}
