"""What an environment is: text in, text out, in Gymnasium's words.

A `TaskSuite` names the tasks of a benchmark and makes environments that play them.
An `Environment` is one live episode. Both are Protocols: any class of this shape will do.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from hgpo.errors import SettingError

if TYPE_CHECKING:
    from hgpo.envs.episode import Transition


@dataclass(frozen=True)
class Task:
    """One thing to be done: a game, a shopping goal. All rollouts of a task start from the same state."""

    id: str
    """Unique within the suite, and enough to make the task again."""
    kind: str
    """The task type, by which results are broken down."""
    instruction: str
    """What the agent is told to achieve."""
    game: Any
    """What the suite's own environment needs to play it; nobody else looks inside."""


@dataclass(frozen=True)
class Info:
    """What is known of the current state besides the text shown to the agent."""

    admissible_commands: tuple[str, ...]
    """The commands that are understood here, distinct, in one order whenever the state is the same; any other
    command changes nothing. One with `<words>` in it, "search[<words>]", stands for all that have words of
    the agent's own there."""
    state_key: Hashable
    """Equal in two states exactly if the states are the same to the estimator; never shown to the agent."""
    won: bool = False
    """Whether the task has been achieved."""
    score: float | None = None
    """How well it has been done so far, from 0 to 1, where a benchmark reports that; won at 1."""
    state_keys: Mapping[str, Hashable] = field(default_factory=dict)
    """Further state keys by name, the same names at every step; none where an environment has no others. One
    called "full_state" is equal in two states of a task exactly if the same commands lead to the same from
    there on, but for the step limit."""


class Environment(Protocol):
    """One live episode of a task."""

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        """Start the task; the same task and seed give the same episode. Returns observation and info."""
        ...

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Carry out one command. Returns observation, reward, terminated, truncated and info.

        Terminated: the task itself has ended. Truncated: the step limit was reached first.
        """
        ...


@runtime_checkable
class ForkableEnvironment(Environment, Protocol):
    """An environment whose episode can go on in several ways from one step."""

    def fork(self) -> ForkableEnvironment:
        """Another environment in the same step of the same episode; from here each goes its own way."""
        ...


class TaskSuite(Protocol):
    """The tasks of one benchmark, by split, and the environments that play them."""

    name: ClassVar[str]
    """What the games are called, on the command line and in results; lower-case, without spaces."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits; the first is for training, the others are held-out splits."""
        ...

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """`count` tasks of a split.

        Training: drawn by `seed`. A held-out split is one fixed list: its first `count` tasks (all if None).
        """
        ...

    def make(self) -> Environment:
        """A new environment that can play any task of this suite."""
        ...

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """Commands that win the task from its start; None where none are known."""
        ...

    def texts(self) -> Iterator[str]:
        """Texts that between them hold every word this suite can show; a tokenizer is built from them."""
        ...


@runtime_checkable
class DescribedSuite(Protocol):
    """A suite whose results depend on more than its name says."""

    @property
    def description(self) -> str:
        """The games in one line, with all that results depend on."""
        ...


@runtime_checkable
class WaitingSuite(Protocol):
    """A suite whose steps wait, for a server for example, so that they run at the same time, in threads."""

    @property
    def concurrency(self) -> int:
        """How many may run at the same time; 1 is one after another."""
        ...


@runtime_checkable
class ExpertSuite(Protocol):
    """A suite with an expert that can take over anywhere."""

    def next_command(self, task: Task, commands: Sequence[str]) -> str | None:
        """What the expert does after these commands from the task's start; None if it knows nothing to do."""
        ...


@dataclass(frozen=True)
class Reading:
    """Random play as a text under a title that names something the player then happened to do."""

    task: Task
    """The task that was played, with the title in the place of its instruction."""
    steps: tuple[Transition[Any], ...]
    """The episode up to where it has been done."""


@runtime_checkable
class ReadingSuite(Protocol):
    """A suite that has texts from which a model made from scratch learns to read."""

    def readings(self, count: int, seed: int) -> Iterator[Reading]:
        """The texts of random play of `count` training tasks, drawn by `seed`; no expert, no reward.

        Titles are in the words of instructions. An episode in which nothing is done that has a title gives
        no reading. See `hgpo.envs.readings`.
        """
        ...


def concurrency_of(suite: TaskSuite) -> int:
    """How many steps of a suite's environments may run at the same time."""
    return suite.concurrency if isinstance(suite, WaitingSuite) else 1


def describe(suite: TaskSuite) -> str:
    """The games in one line, as it is printed with their results."""
    if isinstance(suite, DescribedSuite):
        return suite.description
    return suite.name


def tasks_of(suite: TaskSuite, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
    """The suite's tasks of a split (see `TaskSuite.tasks`), of which there has to be at least one.

    Raises:
        SettingError: if there is none, or if different tasks have the same id.
    """
    tasks = suite.tasks(split, count, seed)
    if not tasks and count != 0:
        raise SettingError(f"{describe(suite)}: {split} has no tasks")
    _check_tasks(tasks, f"{describe(suite)}: {split}")
    return tasks


def _check_tasks(tasks: Sequence[Any], place: str) -> None:
    told: dict[str, str] = {}
    for task in tasks:
        if not isinstance(task, Task):
            raise SettingError(f"{place} has {task!r:.60} among its tasks: expected a Task of hgpo.envs")
        # One that is drawn twice is the same task.
        if told.setdefault(task.id, task.instruction) != task.instruction:
            raise SettingError(
                f"{place} has two tasks with the id {task.id!r}, {told[task.id]!r:.60} and "
                f"{task.instruction!r:.60}: give each its own"
            )


def require_tasks(suite: TaskSuite, splits: Iterable[str], count: int | None = None) -> None:
    """Look now whether each of the splits has `count` tasks, or any, rather than after hours of work.

    Raises:
        SettingError: if one has none, or a split too few.
    """
    for split in splits:
        tasks_of(suite, split, count or 1)
