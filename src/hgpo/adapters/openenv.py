"""A server of OpenEnv for any task suite, with which training stacks that speak its protocol can play it.

A session is an episode at a time. `reset` takes a seed and a split, `step` takes a command:

    with GenericEnvClient(base_url="http://127.0.0.1:8000").sync() as client:
        seen = client.reset(seed=7)
        seen = client.step({"command": seen.observation["commands"][0]})
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import uvicorn
from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app
from pydantic import Field
from typing_extensions import override

from hgpo.envs.base import Task, TaskSuite, tasks_of
from hgpo.envs.commands import ANY_TEXT
from hgpo.envs.episode import TimeStep, advance, begin
from hgpo.envs.faults import checked
from hgpo.errors import SettingError

DIGEST_BYTES = 16
"""Length of a state key's digest."""


class Command(Action):
    """What the agent does."""

    command: str = Field(description="one of the observation's commands, or any text if it lists none")


class Seen(Observation):
    """What the agent sees, and what a trainer may know."""

    text: str = Field(description="what the agent reads")
    instruction: str = Field(description="the task in words")
    commands: list[str] = Field(description="the admissible commands; empty if any text is admissible")
    state_key: str = Field(description="equal in two states of a task that count as the same for credit")
    task_id: str = Field(description="the task, for a group of rollouts")
    won: bool = Field(description="whether the task is solved")
    truncated: bool = Field(description="whether the step limit, and not the task, ended the episode")


class Playing(State):
    """The session's episode."""

    task_id: str | None = None


class SuiteEnvironment(Environment):
    """One episode of a suite at a time."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, suite: TaskSuite, held_out: Callable[[str], Sequence[Task]]) -> None:
        """Take the suite, and a function that returns the tasks of its held-out splits."""
        super().__init__()
        self._suite, self._held_out, self._environment = suite, held_out, suite.make()
        self._state = Playing()

    @override
    def reset(
        self, seed: int | None = None, episode_id: str | None = None, split: str | None = None, **_: Any
    ) -> Seen:
        """Start a task.

        Args:
            seed: draws a training task, or is the number of a held-out task (counted from 0, again from the
                first after the last); None: by chance.
            episode_id: the client's name for the episode.
            split: the split; None: the training split.

        Raises:
            SettingError: if there is no such split.
        """
        self._task = self._chosen(
            split or self._suite.splits[0], random.getrandbits(31) if seed is None else seed
        )
        self._state = Playing(episode_id=episode_id, step_count=0, task_id=self._task.id)
        return self._seen(checked(begin(self._environment, self._task)))

    def _chosen(self, split: str, seed: int) -> Task:
        training, *others = self._suite.splits
        if split == training:
            return tasks_of(self._suite, split, 1, seed)[0]
        if split not in others:
            raise SettingError(f"there is no split {split!r}: choose from {', '.join(self._suite.splits)}")
        tasks = self._held_out(split)
        return tasks[seed % len(tasks)]

    @override
    def step(self, action: Command, timeout_s: float | None = None, **_: Any) -> Seen:
        """Carry out a command."""
        if self._state.task_id is None:
            raise SettingError("no episode has begun: call reset first")
        self._state.step_count += 1
        return self._seen(checked(advance(self._environment, action.command)))

    @property
    @override
    def state(self) -> Playing:
        """The task and the number of steps."""
        return self._state

    def _seen(self, now: TimeStep) -> Seen:
        if now.over:
            self._state.task_id = None
        commands = now.info.admissible_commands
        return Seen(
            text=now.observation,
            instruction=self._task.instruction,
            commands=[] if commands == ANY_TEXT else list(commands),
            state_key=digest(now.info.state_key),
            task_id=self._task.id,
            won=now.info.won,
            truncated=now.truncated,
            done=now.over,
            reward=now.reward,
        )


def digest(key: Any) -> str:
    """A short text that is equal for equal state keys, in every process."""
    return blake2b(_ordered(key).encode(), digest_size=DIGEST_BYTES).hexdigest()


def _ordered(key: Any) -> str:
    """The key as a text; the members of a set are sorted, as their order depends on the process."""
    if isinstance(key, frozenset):
        return "{" + ",".join(sorted(map(_ordered, key))) + "}"
    if isinstance(key, tuple):
        return "(" + ",".join(map(_ordered, key)) + ")"
    return repr(key)


def application(suite: TaskSuite, sessions: int) -> Any:
    """The ASGI application that serves the suite.

    Args:
        suite: the tasks and their environments.
        sessions: number of episodes that can be played at the same time.
    """
    held_out = lru_cache(maxsize=None)(lambda split: tasks_of(suite, split))
    return create_fastapi_app(
        lambda: SuiteEnvironment(suite, held_out),
        Command,
        Seen,
        max_concurrent_envs=sessions,
        state_cls=Playing,
    )


def server_of(suite: TaskSuite, sessions: int) -> uvicorn.Server:
    """The server of a suite, to be run with a listening socket."""
    config = uvicorn.Config(application(suite, sessions), log_level="warning", ws="websockets-sansio")
    return uvicorn.Server(config)
