"""The tasks of an agent that plays by itself, from files of JSON lines, and the agent's function."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from hgpo.envs.base import Environment, Task
from hgpo.envs.drawing import choose_tasks, divided, drawn_in_rounds
from hgpo.errors import SettingError
from hgpo.registry import full_spelling, load_class

StateKey = Callable[[list[dict[str, Any]]], Hashable]
"""Maps the messages of a request to the state key of its step."""


@dataclass(frozen=True)
class AgentSuite:
    """The tasks of an agent that plays by itself; see docs/agents.md."""

    name: ClassVar[str] = "agent"
    splits: ClassVar[tuple[str, ...]] = ("train", "held_out")

    play: str = ""
    """The agent's function, as MODULE:NAME or FILE.py:NAME."""
    tasks_file: str = ""
    """File of JSON lines, one task per line."""
    held_out_file: str = ""
    """File with the held-out tasks; without it, every fifth task of the other file is held out."""
    state_key: str = ""
    """A function that returns the state key of a request's messages, as MODULE:NAME or FILE.py:NAME; without
    it the last message of a user or a tool is the key."""

    def __post_init__(self) -> None:
        # A run may be continued in another folder.
        for name in ("play", "state_key"):
            object.__setattr__(self, name, full_spelling(getattr(self, name)))
        for name in ("tasks_file", "held_out_file"):
            given = getattr(self, name)
            object.__setattr__(self, name, given and str(Path(given).resolve()))

    @property
    def description(self) -> str:
        """The agent and the files of its tasks."""
        files = ", ".join(filter(None, (self.tasks_file, self.held_out_file)))
        return f"agent {self.play} (tasks of {files})"

    def function(self) -> Callable[..., Any]:
        """The agent's function.

        Raises:
            SettingError: if there is none.
        """
        return _function(self.play)

    def state_key_function(self) -> StateKey:
        """The function that returns the state key of a request's messages.

        Raises:
            SettingError: if there is none.
        """
        return _function(self.state_key) if self.state_key else last_seen

    def check(self) -> None:
        """Load the functions and the training tasks.

        Raises:
            SettingError: if one cannot be loaded.
        """
        self.function()
        self.state_key_function()
        self.tasks(self.splits[0], 1)

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """`count` tasks of a split; training tasks are drawn by `seed`, each once before any is repeated."""
        return choose_tasks(
            split,
            self.splits,
            count,
            draw=lambda n: drawn_in_rounds(self._list(split), n, random.Random(f"{self.name} {seed}")),
            fixed=lambda: self._list(split),
        )

    def _list(self, split: str) -> list[Task]:
        tasks = _read_tasks(self.tasks_file, "--tasks")
        if self.held_out_file:
            return tasks if split == self.splits[0] else _read_tasks(self.held_out_file, "--held-out")
        if len(tasks) < 2:
            raise SettingError(f"--tasks {self.tasks_file} has one task: expected two or more, one held out")
        return divided(tasks)[split]

    def make(self) -> Environment:
        """Not possible: the agent has its own environment.

        Raises:
            SettingError: always.
        """
        raise SettingError(f"the agent {self.play} has its own environment: no other can be made for it")

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """None: no commands are known that win a task."""
        return None

    def texts(self) -> Iterator[str]:
        """Nothing: an agent is trained from a given language model."""
        yield from ()


def last_seen(messages: Sequence[dict[str, Any]]) -> str:
    """The content of the last message that is not the model's own or the system's; empty if there is none."""
    said = (message["content"] for message in reversed(messages) if message["role"] in ("user", "tool"))
    return next(said, "")


def _function(spelling: str) -> Any:
    function = load_class(spelling)
    if not callable(function):
        raise SettingError(f"{spelling} is a {type(function).__name__}: expected a function")
    return function


@lru_cache(maxsize=8)
def _read_tasks(file: str, option: str) -> list[Task]:
    """The tasks in a file; the function `play` gets the values of the lines.

    Raises:
        SettingError: if there are none, or if a line is not JSON.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text in UTF-8"
        raise SettingError(f"{option} {file} cannot be read: {reason}") from None
    tasks = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise SettingError(
                f"{option} {file}, line {number}: expected JSON, one task per line, not {line:.40}"
            ) from None
        named = value if isinstance(value, dict) else {}
        told = named.get("instruction")
        tasks.append(
            Task(
                id=str(named.get("id", f"line {number}")),
                kind=str(named.get("kind", "task")),
                instruction=told if isinstance(told, str) else json.dumps(value, ensure_ascii=False),
                game=value,
            )
        )
    if not tasks:
        raise SettingError(f"{option} {file} has no tasks: expected one JSON value per line")
    return tasks
