"""One episode: what the environment returns, the commands, and the loop between the two.

for step in play_episode(suite.make(), task, lambda now: now.info.admissible_commands[0]):
    print(step.before.observation, step.command, step.after.reward)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from hgpo.envs.base import Environment, Info, Task

D = TypeVar("D", covariant=True)


@dataclass(frozen=True)
class TimeStep:
    """What an environment returns at the start of an episode and after every command."""

    observation: str
    """The text shown to the agent."""
    info: Info
    """What else is known about the state."""
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
    """One step of an episode: what was seen before, the command, and what was seen after."""

    before: TimeStep
    command: str
    after: TimeStep
    decision: D
    """How the agent chose the command; None if that is not recorded."""


def begin(environment: Environment, task: Task, seed: int = 0) -> TimeStep:
    """The start of an episode (see `Environment.reset`)."""
    observation, info = environment.reset(task, seed)
    return TimeStep(observation, info)


def advance(environment: Environment, command: str) -> TimeStep:
    """The result of a command (see `Environment.step`)."""
    observation, reward, terminated, truncated, info = environment.step(command)
    return TimeStep(observation, info, reward, terminated, truncated)


def play_episode(
    environment: Environment, task: Task, choose: Callable[[TimeStep], str | None], seed: int = 0
) -> Iterator[Transition[None]]:
    """The transitions of an episode, each yielded as soon as it has happened.

    Args:
        environment: plays the task from its start.
        task: the task to play.
        choose: returns the next command for the current time step; None ends the episode there.
        seed: seed of the environment's own randomness.
    """
    now = begin(environment, task, seed)
    while not now.over:
        command = choose(now)
        if command is None:
            return
        before, now = now, advance(environment, command)
        yield Transition(before, command, now, None)
