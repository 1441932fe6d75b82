"""One episode: what the environment returns, the commands, and the loop between the two.

for step in play_episode(suite.make(), task, lambda now: now.info.admissible_commands[0]):
    print(step.before.observation, step.command, step.after.reward)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hgpo.envs.base import Environment, Info, Task
from hgpo.errors import RunError

D = TypeVar("D", covariant=True)


class EnvironmentFault(RunError):
    """An environment raised an error, returned an invalid result or did not answer in time."""


@dataclass(frozen=True)
class TimeStep:
    """The result that an environment returns at the start of an episode and after every command."""

    observation: str
    """The text shown to the agent."""
    info: Info
    """Further information about the state."""
    reward: float = 0.0
    """Reward of the previous command; 0 at the start."""
    terminated: bool = False
    """Whether the task itself has ended."""
    truncated: bool = False
    """Whether the step limit was reached first."""

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated


@dataclass(frozen=True)
class Transition(Generic[D]):
    """One step of an episode: the time step before, the command, and the time step after."""

    before: TimeStep
    command: str
    after: TimeStep
    decision: D
    """How the agent chose the command; None if that is not recorded."""


def begin(environment: Environment, task: Task, seed: int = 0) -> TimeStep:
    """The start of an episode (see `Environment.reset`).

    Raises:
        EnvironmentFault: if there is no environment, or if it does not return two values.
    """
    if not callable(getattr(environment, "reset", None)):
        raise EnvironmentFault(f"make returned {environment!r:.100}: expected an environment")
    observation, info = _values(environment.reset(task, seed), "reset", ("observation", "info"))
    return TimeStep(observation, info)


def advance(environment: Environment, command: str) -> TimeStep:
    """The result of a command (see `Environment.step`).

    Raises:
        EnvironmentFault: if the environment does not return five values.
    """
    observation, reward, terminated, truncated, info = _values(
        environment.step(command), "step", ("observation", "reward", "terminated", "truncated", "info")
    )
    return TimeStep(observation, info, reward, terminated, truncated)


def _values(returned: Any, method: str, names: Sequence[str]) -> Any:
    if not isinstance(returned, tuple | list) or len(returned) != len(names):
        raise EnvironmentFault(f"{method} returned {returned!r:.100}: expected ({', '.join(names)})")
    return returned


def play_episode(
    environment: Environment, task: Task, choose: Callable[[TimeStep], str | None], seed: int = 0
) -> Iterator[Transition[None]]:
    """The transitions of an episode, each yielded as soon as it has happened.

    Args:
        environment: plays the task from its start.
        task: the task to play.
        choose: returns the next command for the current time step; None ends the episode.
        seed: seed of the environment's own randomness.
    """
    now = begin(environment, task, seed)
    while not now.over:
        command = choose(now)
        if command is None:
            return
        before, now = now, advance(environment, command)
        yield Transition(before, command, now, None)
