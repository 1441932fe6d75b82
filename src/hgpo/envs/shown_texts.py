"""The words that an environment shows, found by playing it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hgpo.envs.base import Environment, Task, TaskSuite
from hgpo.envs.commands import filled_by_chance
from hgpo.envs.episode import TimeStep, play_episode


def shown_texts(suite: TaskSuite, tasks: Sequence[Task], rng: random.Random) -> Iterator[str]:
    """All texts of an episode of each task by its walkthrough, and of another one by random commands.

    Args:
        suite: the environment.
        tasks: what is played.
        rng: draws the random commands.
    """
    environment = suite.make()
    for task in tasks:
        yield task.instruction
        yield from _episode(environment, task, iter(suite.walkthrough(task) or ()), rng)
        yield from _episode(environment, task, None, rng)


def _episode(
    environment: Environment, task: Task, commands: Iterator[str] | None, rng: random.Random
) -> Iterator[str]:
    """The texts of an episode of these commands, or of random ones."""

    def choose(now: TimeStep) -> str | None:
        if commands is not None:
            return next(commands, None)
        return filled_by_chance(rng.choice(now.info.admissible_commands), task.instruction, rng.random)

    for step in play_episode(environment, task, choose):
        yield from (step.before.observation, *step.before.info.admissible_commands)
        yield from (step.command, step.after.observation)
