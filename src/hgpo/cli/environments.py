"""`hgpo env`: play an environment by hand, or check that it keeps the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from hgpo.cli import wrong_use
from hgpo.cli.parse import parse
from hgpo.envs import ENVIRONMENTS, TaskSuite
from hgpo.envs.checker import check, format_report
from hgpo.envs.play import play
from hgpo.errors import SettingError


@dataclass(frozen=True)
class Check:
    """Run the contract on an environment: determinism, types, won walkthroughs, unknown commands."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The environment."""
    games: int = 20
    """Games that are played of each split."""
    seed: int = 0
    """Draws games and commands."""


@dataclass(frozen=True)
class Play:
    """Play a game in the terminal: type a command or its number, "hint" or "quit"."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The environment."""
    split: str | None = None
    """The split; by default the one for training."""
    seed: int = 0
    """Draws the training games."""
    game: int = 0
    """The number of the game: in a held-out panel, or among the training games drawn by --seed."""


def main(args: Sequence[str]) -> int:
    """Check (exit code 1 if the contract is broken) or play."""
    try:
        command: Check | Play = parse(Check | Play, args, prog="hgpo env")  # pyright: ignore[reportArgumentType]
        if command.name not in ENVIRONMENTS:
            raise SettingError(f"no environment {command.name!r}: there are {', '.join(ENVIRONMENTS)}")
        suite = ENVIRONMENTS[command.name]()
        if isinstance(command, Play):
            return _play(command, suite)
        if command.games < 1:
            raise SettingError("--games must be at least 1")
    except SettingError as error:
        return wrong_use(str(error))
    report = check(suite, games=command.games, seed=command.seed)
    print(format_report(report))
    return 1 if report.problems else 0


def _play(command: Play, suite: TaskSuite) -> int:
    try:
        play(suite, command.split, index=command.game, seed=command.seed)
    except ValueError as error:
        raise SettingError(str(error)) from None
    return 0
