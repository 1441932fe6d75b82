"""The environment interface: observations and commands are texts; the terms are Gymnasium's.

A `TaskSuite` has the tasks of a benchmark and makes environments that play them. An `Environment` is one live
episode. Both are Protocols: any class with these methods can be used.
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
    """A single task, such as a game or a shopping goal. All rollouts of a task start from the same state."""

    id: str
    """The identifier, unique within the suite and sufficient to recreate the task."""
    kind: str
    """The task type, by which results are broken down."""
    instruction: str
    """The instruction shown to the agent."""
    game: Any
    """Data that the suite's own environment needs to play the task; no other code reads it."""


@dataclass(frozen=True)
class Info:
    """Information about the current state in addition to the text shown to the agent."""

    admissible_commands: tuple[str, ...]
    """The commands that are understood in this state, distinct and always in the same order for the same
    state; any other command changes nothing. A command with `<words>` in it, such as "search[<words>]",
    stands for all commands with words of the agent's choice in that place."""
    state_key: Hashable
    """Equal in two states if and only if the estimator treats the states as the same; never shown to the
    agent."""
    won: bool = False
    """Whether the task has been achieved."""
    score: float | None = None
    """Score of the task so far, from 0 to 1, in benchmarks that report one; 1 means won."""
    state_keys: Mapping[str, Hashable] = field(default_factory=dict)
    """Additional state keys by name, with the same names at every step; empty if there are none. The key
    "full_state" is equal in two states of a task if and only if all later commands have the same results,
    apart from the step limit."""


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
    """An environment with episodes that can be continued in several ways from one step."""

    def fork(self) -> ForkableEnvironment:
        """A copy of the environment in the same step of the episode; both then continue independently."""
        ...


class TaskSuite(Protocol):
    """The tasks of one benchmark, by split, and the environments that play them."""

    name: ClassVar[str]
    """The environment's name on the command line and in results; lower-case, without spaces."""

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
        """Commands that win the task from its start; None if none are known."""
        ...

    def texts(self) -> Iterator[str]:
        """Texts that together contain every word this suite can show; a tokenizer is built from them."""
        ...


@runtime_checkable
class DescribedSuite(Protocol):
    """A suite whose results depend on more than its name."""

    @property
    def description(self) -> str:
        """One line that describes the environment and everything that results depend on."""
        ...


@runtime_checkable
class WaitingSuite(Protocol):
    """A suite whose steps mostly wait, such as for a server, so that several can run at once in threads."""

    @property
    def concurrency(self) -> int:
        """Number of steps that may run at the same time; 1 runs them one after another."""
        ...


@runtime_checkable
class ExpertSuite(Protocol):
    """A suite with an expert that can take over at any step."""

    def next_command(self, task: Task, commands: Sequence[str]) -> str | None:
        """The expert's next command after these commands from the task's start; None if it has none."""
        ...


@dataclass(frozen=True)
class Reading:
    """A text of random play, with a title that names something the player happened to do."""

    task: Task
    """The task that was played, with the title as its instruction."""
    steps: tuple[Transition[Any], ...]
    """The episode up to the step in which the title was fulfilled."""


@runtime_checkable
class ReadingSuite(Protocol):
    """A suite with texts on which a model made from scratch is trained before it acts."""

    def readings(self, count: int, seed: int) -> Iterator[Reading]:
        """The texts of random play on `count` training tasks drawn by `seed`, without expert or reward.

        Titles are worded like instructions. An episode in which nothing happens that a title could name gives
        no text.
        See `hgpo.envs.readings`.
        """
        ...


def concurrency_of(suite: TaskSuite) -> int:
    """Number of steps of a suite's environments that may run at the same time."""
    return suite.concurrency if isinstance(suite, WaitingSuite) else 1


def describe(suite: TaskSuite) -> str:
    """One line that describes the environment, printed with its results."""
    if isinstance(suite, DescribedSuite):
        return suite.description
    return suite.name


def tasks_of(suite: TaskSuite, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
    """The suite's tasks of a split (see `TaskSuite.tasks`), at least one.

    Raises:
        SettingError: if there are none, or if different tasks have the same id.
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
        # A task that is drawn twice is one task.
        if told.setdefault(task.id, task.instruction) != task.instruction:
            raise SettingError(
                f"{place} has two tasks with the id {task.id!r}, {told[task.id]!r:.60} and "
                f"{task.instruction!r:.60}: give each its own"
            )


def require_tasks(suite: TaskSuite, splits: Iterable[str], count: int | None = None) -> None:
    """Check that each split has `count` tasks (or at least one), so that a run does not fail after hours.

    Raises:
        SettingError: if a split has no tasks or too few.
    """
    for split in splits:
        tasks_of(suite, split, count or 1)
