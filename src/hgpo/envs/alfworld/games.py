"""Official ALFWorld games on disk: finds them, selects those of the benchmark, and reads them.

    DATA/json_2.1.1/SPLIT/GAME/TRIAL/game.tw-pddl     the game: domain, problem and grammar as JSON
    DATA/json_2.1.1/SPLIT/GAME/TRIAL/traj_data.json   its task type and its parameters

`alfworld-download` makes such a folder.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hgpo.envs.alfworld.names import demangled_names
from hgpo.envs.alfworld.releases import wording_of
from hgpo.envs.textgame.engine import Game, compile_game
from hgpo.envs.textgame.errors import GameFormatError
from hgpo.envs.textgame.task_types import KINDS, SPLITS
from hgpo.errors import SettingError

VARIABLE, DEFAULT_FOLDER = "ALFWORLD_DATA", "~/.cache/alfworld"
"""The environment variable with the folder into which alfworld-download puts the games, and the default
folder."""

DOWNLOAD = f"pip install alfworld && alfworld-download puts the games into ${VARIABLE} or {DEFAULT_FOLDER}"

GAME_FILE, ABOUT_FILE = "game.tw-pddl", "traj_data.json"
"""The two files of a game."""

LEFT_OUT = ("movable", "Sliced")
"""A game whose path has one of these words is not part of the benchmark."""

NO_ABOUT, NO_SOLVABLE = f"no {ABOUT_FILE}", 'no "solvable"'
INCOMPLETE = (NO_ABOUT, NO_SOLVABLE)
"""Reasons for leaving out a game that concern only its files, not the game itself."""

LARGEST_FILE = 20_000_000
"""Largest size of a file in bytes; official games have less than half a million."""


@dataclass(frozen=True)
class GameFile:
    """One official game."""

    id: str
    """The identifier, SPLIT/GAME/TRIAL."""
    folder: Path
    """The folder of its two files."""

    @cached_property
    def about(self) -> dict[str, Any]:
        """The content of traj_data.json, of which `task_type` and `pddl_params` are used."""
        return _read_json(self.folder / ABOUT_FILE)

    @property
    def kind(self) -> str:
        """The task type of the game."""
        return str(self.about.get("task_type"))

    def read(self) -> dict[str, Any]:
        """The content of game.tw-pddl."""
        return _read_json(self.folder / GAME_FILE)

    def compile(self) -> Game:
        """The game, ready to be played."""
        try:
            return compile_game(self.read(), demangled_names)
        except GameFormatError as error:
            raise GameFormatError(f"{self.folder}: {error}") from None


@dataclass(frozen=True)
class FoundGames:
    """The games found for a split."""

    folder: Path
    """The folder that was searched."""
    games: tuple[GameFile, ...]
    """The games that are part of the benchmark, in the order of their identifiers."""
    left_out: Mapping[str, int]
    """Number of other folders with a game file, by the reason for leaving them out."""
    without_game: int
    """Number of folders with a traj_data.json and without a game file."""
    wordings: Mapping[str, int]
    """Number of games with each wording, by which releases are distinguished (see `wording_of`)."""

    def why_empty(self) -> str:
        """Why no games were found, and what to do."""
        if not self.folder.is_dir():
            what = "there is no such folder"
        elif self.left_out:
            total = sum(self.left_out.values())
            reasons = (f"{count} of them {reason}" for reason, count in self.left_out.items())
            what = f"{total} folder{'s have' if total > 1 else ' has'} {GAME_FILE}, {', '.join(reasons)}"
        else:
            what = f"no folder has {GAME_FILE}, {self.without_game or 'none'} {ABOUT_FILE}"
        return f"{self.folder} has no games of the benchmark: {what}. {DOWNLOAD}; -f replaces existing files"


def data_folder(given: str | None) -> Path:
    """The folder with the splits: in `given`, otherwise in $ALFWORLD_DATA, otherwise in ~/.cache/alfworld.

    If there are several layouts, such as json_2.1.1 and json_2.1.2, it is the one with games in the most
    splits, or the newest of several such layouts.

    Raises:
        SettingError: if there is none; the message says how to get the data.
    """
    variable = os.environ.get(VARIABLE)
    root = given or variable or DEFAULT_FOLDER
    try:
        folder = Path(root).expanduser()
    except RuntimeError as error:
        raise SettingError(f"{root} is not a folder: {error}") from None
    layouts = (path for pattern in ("json_*", "json_*/json_*") for path in folder.glob(pattern))
    candidates = [*sorted(layouts, reverse=True), folder]
    best = max(candidates, key=_completeness)
    if not any(_completeness(best)):
        source = "" if given else f" (${VARIABLE})" if variable else f" (${VARIABLE} is not set)"
        raise SettingError(
            f"no ALFWorld games in {folder}{source}: expected {', '.join(SPLITS)} in json_2.1.1, json_2.1.2 "
            f"or the folder itself. {DOWNLOAD}"
        )
    return best


def _completeness(folder: Path) -> tuple[int, ...]:
    """The numbers of splits with a complete game, with a game file, and with a folder."""
    states = [_state(folder / split) for split in SPLITS]
    return tuple(sum(state >= least for state in states) for least in (3, 2, 1))


def _state(folder: Path) -> int:
    """3 if a split has a game with both files, 2 if it has a game file, 1 if its folder exists, else 0."""
    state = int(folder.is_dir())
    for _, there in _trials(folder):
        if len(there) == 2:
            return 3
        if GAME_FILE in there:
            state = 2
    return state


def _trials(folder: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    """The folders below this one that have at least one of a game's files, and which files they have."""
    for path, _, files in os.walk(folder, followlinks=True):
        there = frozenset(files) & {GAME_FILE, ABOUT_FILE}
        if there:
            yield Path(path), there


def find_games(folder: Path, split: str) -> FoundGames:
    """The games of a split that are part of the benchmark, and counts of the others.

    As in the official loader, games with sliced things or movable receptacles, games of other task types, and
    games not marked as solvable are left out.
    """
    games: list[GameFile] = []
    left_out: Counter[str] = Counter()
    wordings: Counter[str] = Counter()
    without_game = 0
    for path, there in sorted(_trials(folder / split)):
        if GAME_FILE not in there:
            without_game += 1
            continue
        game = GameFile(path.relative_to(folder).as_posix(), path)
        data = game.read()
        reason = _reason_to_leave_out(game, data) if ABOUT_FILE in there else NO_ABOUT
        if reason is None:
            games.append(game)
            wordings[_wording(game, data)] += 1
        else:
            left_out[reason] += 1
    return FoundGames(folder / split, tuple(games), left_out, without_game, wordings)


def _wording(game: GameFile, data: Mapping[str, Any]) -> str:
    """The wording of a game's grammar; "" without a grammar (compiling the game then fails)."""
    grammar = data.get("grammar")
    try:
        return wording_of(grammar) if isinstance(grammar, str) else ""
    except GameFormatError as error:
        raise GameFormatError(f"{game.folder}: {error}") from None


def _reason_to_leave_out(game: GameFile, data: Mapping[str, Any]) -> str | None:
    """Why a game is not part of the benchmark; None if it is."""
    if any(word in game.id for word in LEFT_OUT):
        return "a movable receptacle or something sliced"
    if game.kind not in KINDS:
        return "another task type"
    if "solvable" not in data:
        return NO_SOLVABLE
    return None if data["solvable"] is True else '"solvable" not true'


def _read_json(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise GameFormatError(f"{path} has {size:,} bytes: no game is larger than {LARGEST_FILE:,}")
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise GameFormatError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise GameFormatError(f"{path} is not JSON: {error}; download it again") from None
    if not isinstance(value, dict):
        raise GameFormatError(f"{path} must hold a JSON object, not {type(value).__name__}")
    return value
