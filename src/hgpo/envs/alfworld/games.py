"""Official ALFWorld games on disk: where they are, which of them count, and how one is read.

    DATA/json_2.1.1/SPLIT/GAME/TRIAL/game.tw-pddl     the game: domain, problem and grammar as JSON
    DATA/json_2.1.1/SPLIT/GAME/TRIAL/traj_data.json   its task type and what it is about

`alfworld-download` makes such a folder (json_2.1.2 in newer releases).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hgpo.envs.alfworld.engine import Game, compile_game
from hgpo.envs.alfworld.errors import GameFormatError
from hgpo.envs.alfworld.names import demangled_names
from hgpo.errors import SettingError

LAYOUTS = ("json_2.1.2", "json_2.1.1")
"""Folders of the releases, the newest first."""

TRAIN, SEEN, UNSEEN = "train", "valid_seen", "valid_unseen"
SPLITS = (TRAIN, SEEN, UNSEEN)
"""Training games; other games in rooms seen in training (in distribution); rooms never seen (out of it)."""

KINDS = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""The six task types; ALFRED has a seventh, with movable receptacles, that ALFWorld leaves out."""

LEFT_OUT = ("movable", "Sliced")
"""A game whose path has one of these words is not part of the benchmark."""

LARGEST_FILE = 20_000_000
"""Bytes; official games have less than half a million."""


@dataclass(frozen=True)
class GameFile:
    """One official game."""

    id: str
    """SPLIT/GAME/TRIAL."""
    folder: Path
    """Where its two files are."""

    @cached_property
    def about(self) -> dict[str, Any]:
        """What traj_data.json says; `task_type` and `pddl_params` are what matters here."""
        return _read_json(self.folder / "traj_data.json")

    @property
    def kind(self) -> str:
        """The task type."""
        return str(self.about.get("task_type"))

    def read(self) -> dict[str, Any]:
        """The content of game.tw-pddl."""
        return _read_json(self.folder / "game.tw-pddl")

    def compile(self) -> Game:
        """The game, ready to be played."""
        try:
            return compile_game(self.read(), demangled_names)
        except GameFormatError as error:
            raise GameFormatError(f"{self.folder}: {error}") from None


def data_folder(given: str | None) -> Path:
    """The folder with the splits, from `given` or else from $ALFWORLD_DATA.

    Raises:
        SettingError: if there is none; it says how to get the data.
    """
    root = given or os.environ.get("ALFWORLD_DATA")
    cure = "pip install alfworld && alfworld-download puts the games into $ALFWORLD_DATA (~/.cache/alfworld)"
    if not root:
        raise SettingError(f"no ALFWorld games: set ALFWORLD_DATA or give --data; {cure}")
    folder = Path(root).expanduser()
    for candidate in (*(folder / layout for layout in LAYOUTS), folder):
        if any((candidate / split).is_dir() for split in SPLITS):
            return candidate
    raise SettingError(f"no ALFWorld games in {folder} (expected {' or '.join(LAYOUTS)} there): {cure}")


def find_games(folder: Path, split: str) -> tuple[GameFile, ...]:
    """The games of a split that are part of the benchmark, in the order of their identifiers.

    As the official loader does, it leaves out sliced things and movable receptacles, other task types, and
    games that nobody has shown to be solvable.
    """
    found = []
    for path in sorted((folder / split).glob("*/*/game.tw-pddl")):
        game = GameFile(path.parent.relative_to(folder).as_posix(), path.parent)
        if any(word in game.id for word in LEFT_OUT) or not (path.parent / "traj_data.json").is_file():
            continue
        if game.kind in KINDS and game.read().get("solvable") is True:
            found.append(game)
    return tuple(found)


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
