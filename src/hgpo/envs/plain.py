"""Makes a suite from a plain class that plays one episode, and a list of tasks.

class Door:
    def reset(self, task): return "the door is closed"
    def step(self, command): return "the door is open", 1.0, True

Suite = from_class(Door, tasks=["open the door", "open the red door"])
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import inspect
import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, ClassVar, get_type_hints

import numpy as np

from hgpo.envs.base import Info, Task, TaskSuite
from hgpo.envs.commands import ANY_TEXT, listed
from hgpo.envs.drawing import choose_tasks, divided, drawn_in_rounds
from hgpo.envs.shown_texts import shown_texts
from hgpo.errors import SettingError

TASKS_READ = 200
"""Number of tasks of each split that are played to collect the words that they show."""
NOT_POSSIBLE = "not possible here."
"""The text before the observation after a command that is not admissible."""

Tasks = Sequence[Any] | Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class _Parts:
    """The arguments of `from_class`."""

    environment: type
    tasks: Tasks | Callable[..., Tasks]
    instruction: Callable[[Any], str]
    kind: Callable[[Any], str]
    walkthrough: Callable[[Any], Sequence[str] | None]
    parse: Callable[[str], Any]
    texts: tuple[str, ...]
    options: tuple[str, ...]
    """The settings of the suite that are arguments of the environment."""


def from_class(
    environment: type,
    *,
    tasks: Tasks | Callable[..., Tasks],
    instruction: Callable[[Any], str] = str,
    kind: Callable[[Any], str] = lambda task: "task",
    walkthrough: Callable[[Any], Sequence[str] | None] = lambda task: None,
    parse: Callable[[str], Any] = lambda text: text,
    texts: Iterable[str] = (),
    max_steps: int = 30,
    concurrency: int = 1,
    name: str | None = None,
) -> type[TaskSuite]:
    """A suite of tasks that a plain class plays.

    The class plays one episode at a time, and two of its methods are required; each may be `async`:

    - `reset(task)` starts a task and returns the observation, a text.
    - `step(command)` returns the observation, the reward, and whether the task has ended.

    Three more are optional:

    - `commands()` returns the admissible commands. Without it any text is admissible.
    - `state_key()` is equal in two states if and only if the estimator treats them as the same. Without it
      the observation is the key.
    - `won()` returns whether the task has been achieved. Without it, a task is won if it ends with a reward
      above 0.

    If the class is a dataclass, its fields are settings of the suite, and therefore options: --env.FIELD.

    Args:
        environment: the class; it must need no arguments.
        tasks: one list, of which every fifth task is held out, or a mapping from splits to lists, the
            training split first. Each task is passed to `reset`. It may also be a function of the settings,
            with their names as arguments, that returns these.
        instruction: returns the instruction of a task that is shown to the agent.
        kind: returns the task type, by which results are broken down.
        walkthrough: returns commands that win the task from its start; None if none are known. Without
            walkthroughs there is no warm start, and training needs a given language model (--model).
        parse: converts the agent's text before it is passed to `step`. A ValueError means that the text is
            not an action: the state is unchanged, and the agent is shown the error's message.
        texts: further texts with words that may be shown, for a model made from scratch, which has the words
            of random play and of the walkthroughs anyway.
        max_steps: an episode is truncated after this many commands, unless the setting says otherwise.
        concurrency: number of steps that may run at the same time in threads, for steps that mostly wait,
            such as for a server; a setting with this name takes precedence.
        name: name of the suite; by default that of the class, in lower case.

    Returns:
        A frozen dataclass that is a `TaskSuite`; assign it at the top level of a module, where MODULE:NAME
        finds it.

    Raises:
        SettingError: if the class lacks a method, or if its fields cannot be settings.
    """
    missing = [method for method in ("reset", "step") if not callable(getattr(environment, method, None))]
    if missing:
        raise SettingError(
            f"{environment.__name__} has no {' and no '.join(missing)}: an environment needs it"
        )
    own = dataclasses.fields(environment) if dataclasses.is_dataclass(environment) else ()
    for each in own:
        if each.init and each.default is each.default_factory is dataclasses.MISSING:
            raise SettingError(f"{environment.__name__} requires {each.name}: give the field a default")
    options = [each for each in own if each.init]
    if taken := [each.name for each in options if each.name in {*dir(PlainSuite), "name", "parts"}]:
        raise SettingError(f"{environment.__name__}.{taken[0]}: a suite has this attribute: rename the field")
    types = get_type_hints(environment, include_extras=True)
    parts = _Parts(
        *(environment, tasks, instruction, kind, walkthrough, parse),
        texts=(texts,) if isinstance(texts, str) else tuple(texts),
        options=tuple(each.name for each in options),
    )
    settings: list[Any] = [(each.name, types[each.name], _default(each)) for each in options]
    if "max_steps" not in parts.options:
        settings.append(("max_steps", int, field(default=max_steps)))
    attributes = {} if "concurrency" in parts.options else {"concurrency": concurrency}
    suite: Any = dataclasses.make_dataclass(
        environment.__name__,
        settings,
        bases=(PlainSuite,),
        frozen=True,
        namespace={
            "__doc__": environment.__doc__,
            "name": name or environment.__name__.lower(),
            "parts": parts,
            **attributes,
        },
    )
    suite.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)
    return suite


def _default(each: dataclasses.Field[Any]) -> Any:
    if each.default_factory is not dataclasses.MISSING:
        return field(default_factory=each.default_factory)
    return field(default=each.default)


class PlainSuite:
    """The base class of the suites that `from_class` makes."""

    name: ClassVar[str]
    parts: ClassVar[_Parts]
    max_steps: int

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, the training split first."""
        return tuple(self._lists)

    @property
    def description(self) -> str:
        """The name and the settings."""
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}  # pyright: ignore[reportArgumentType]
        told = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
        return f"{self.name} ({told})"

    @cached_property
    def _lists(self) -> dict[str, list[Task]]:
        given = self.parts.tasks(**self._options) if callable(self.parts.tasks) else self.parts.tasks
        lists = given if isinstance(given, Mapping) else divided(list(given))
        if len(lists) < 2 or not all(lists.values()):
            raise SettingError(
                f"{self.name} has no training tasks or no held-out tasks: expected one list with two or more "
                "tasks, or two or more splits with a list each"
            )
        return {split: list(self._named(split, tasks)) for split, tasks in lists.items()}

    def _named(self, split: str, tasks: Sequence[Any]) -> Iterator[Task]:
        for number, task in enumerate(tasks):
            yield Task(f"{split}/{number}", self.parts.kind(task), self.parts.instruction(task), task)

    @property
    def _options(self) -> dict[str, Any]:
        return {option: getattr(self, option) for option in self.parts.options}

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """`count` tasks of a split; training tasks are drawn by `seed`, each once before any is repeated."""
        return choose_tasks(
            split,
            self.splits,
            count,
            draw=lambda n: drawn_in_rounds(self._lists[split], n, random.Random(f"{self.name} {seed}")),
            fixed=lambda: self._lists[split],
        )

    def make(self) -> PlainEnvironment:
        """A new environment."""
        return PlainEnvironment(self.parts.environment(**self._options), self.parts.parse, self.max_steps)

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """The commands that win the task; None if none are known."""
        commands = self.parts.walkthrough(task.game)
        return None if commands is None else tuple(commands)

    def texts(self) -> Iterator[str]:
        """The texts shown in tasks of every split, played at random and by their walkthroughs."""
        yield from (*self.parts.texts, NOT_POSSIBLE)
        rng = random.Random(self.name)
        for tasks in self._lists.values():
            yield from shown_texts(self, tasks[:TASKS_READ], rng)


@dataclass
class PlainEnvironment:
    """One episode of a plain class as an `Environment`."""

    episode: Any
    """An instance of the class."""
    parse: Callable[[str], Any]
    max_steps: int
    steps: int = 0
    observation: str = ""
    """The last observation."""

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        """Start the task."""
        self.steps, self.observation = 0, _text("reset", _result(self.episode.reset(task.game)))
        return self.observation, self._info(won=False)

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Carry out a command; a command that is not admissible or not an action changes nothing."""
        self.steps += 1
        truncated = self.steps >= self.max_steps
        found = listed(command, self._commands())
        if found is None:
            return self._unchanged(NOT_POSSIBLE, truncated)
        try:
            action = self.parse(found[1])
        except ValueError as error:
            return self._unchanged(str(error), truncated)
        self.observation, reward, ended = _outcome(_result(self.episode.step(action)))
        tells = getattr(self.episode, "won", None)
        won = ended and reward > 0 if tells is None else bool(_result(tells()))
        return self.observation, reward, ended, truncated and not ended, self._info(won=won, over=ended)

    def fork(self) -> PlainEnvironment:
        """A copy of the environment in the same state."""
        return copy.deepcopy(self)

    def _unchanged(self, why: str, truncated: bool) -> tuple[str, float, bool, bool, Info]:
        return f"{why}\n{self.observation}", 0.0, False, truncated, self._info(won=False)

    def _commands(self) -> tuple[str, ...]:
        tells = getattr(self.episode, "commands", None)
        if tells is None:
            return ANY_TEXT
        commands = _result(tells())
        if isinstance(commands, str):
            raise TypeError(f"commands returned {commands!r}: expected a list of texts")
        return tuple(commands)

    def _info(self, *, won: bool, over: bool = False) -> Info:
        tells = getattr(self.episode, "state_key", None)
        key = self.observation if tells is None else _result(tells())
        return Info(() if over else self._commands(), key, won)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all `async` environments, so that their connections stay open between steps."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="environments", daemon=True).start()
    return loop


def _result(value: Any) -> Any:
    """The value that a method returned, or, if the method is `async`, its result."""
    return asyncio.run_coroutine_threadsafe(value, _loop()).result() if inspect.iscoroutine(value) else value


def _text(method: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{method} returned {value!r}: expected the observation, a text")
    return value


def _outcome(value: Any) -> tuple[str, float, bool]:
    match value:
        case (str(observation), int() | float() | np.number() as reward, bool() | np.bool_() as ended):
            return observation, float(reward), bool(ended)
    raise TypeError(f"step returned {value!r}: expected (observation, reward, whether the task has ended)")
