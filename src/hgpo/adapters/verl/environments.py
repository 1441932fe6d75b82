"""The games' processes: a few with many episodes each, as a game's step is short beside a model's answer."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError

from hgpo.adapters.verl.settings import StepwiseSettings
from hgpo.adapters.verl.tasks import Draw
from hgpo.envs.base import Environment, Info, Task
from hgpo.envs.faults import EnvironmentFault, check_outcome, check_view, guarded

logger = logging.getLogger(__name__)

MOST_PROCESSES = 4
"""Processes by default where there are cores enough; docs/verl.md has what one of them can do."""


class ProcessLost(Exception):
    """The process of an episode has died, and the episode with it."""


@dataclass(frozen=True)
class View:
    """What is seen of an episode, at its start or after a step."""

    task: Task
    """Without the game, which stays where it is played."""
    observation: str
    info: Info
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated


class EnvironmentHost:
    """Episodes by key, in one process. What goes wrong in one is told to whoever plays it, no other."""

    def __init__(self, settings: StepwiseSettings) -> None:
        """Make the suite; no game is loaded yet."""
        self.suite = settings.suite()
        self.timeout = settings.timeout
        self.live: dict[str, tuple[Task, Environment]] = {}
        self.drawn = lru_cache(maxsize=32)(self.suite.tasks)

    def start(self, key: str, draw: Draw) -> View:
        """Begin an episode of the task.

        Raises:
            EnvironmentFault: if the environment fails or does not answer in time.
        """

        def reset() -> View:
            task = self.drawn(draw.split, draw.count, draw.seed)[draw.number]
            environment = self.suite.make()
            observation, info = environment.reset(task)
            check_view(observation, info, over=False)
            task = replace(task, game=None)
            self.live[key] = task, environment
            return View(task, observation, info)

        return self._guarded(reset)

    def step(self, key: str, command: str) -> View:
        """Carry out a command in an episode.

        Raises:
            KeyError: if this process does not have the episode (any more).
            EnvironmentFault: if the environment fails or does not answer in time.
        """
        task, environment = self.live[key]

        def step() -> View:
            observation, reward, terminated, truncated, info = environment.step(command)
            check_outcome(reward, terminated, truncated)
            check_view(observation, info, over=terminated or truncated)
            return View(task, observation, info, float(reward), bool(terminated), bool(truncated))

        return self._guarded(step)

    def end(self, key: str) -> None:
        """Forget an episode."""
        self.live.pop(key, None)

    def episodes(self) -> int:
        """How many episodes are live."""
        return len(self.live)

    def _guarded(self, job: Any) -> View:
        (outcome,) = guarded([job], self.timeout)
        if isinstance(outcome, EnvironmentFault):
            raise outcome
        return outcome


class Episode:
    """One episode, as whoever plays it sees it."""

    def __init__(self, host: Any, key: str) -> None:
        self._host, self._key = host, key

    async def start(self, draw: Draw) -> View:
        """See `EnvironmentHost.start`; ProcessLost if its process has died."""
        return await self._asked(self._host.start.remote(self._key, draw))

    async def step(self, command: str) -> View:
        """See `EnvironmentHost.step`; ProcessLost if its process has died."""
        return await self._asked(self._host.step.remote(self._key, command))

    async def _asked(self, answer: Any) -> View:
        try:
            return await answer
        # A process that was begun anew does not know the episodes of the one before it.
        except (RayActorError, KeyError) as error:
            raise ProcessLost(str(error).splitlines()[0] if str(error) else type(error).__name__) from None


class EnvironmentPool:
    """The games' processes, as one agent loop worker sees them; it gives an episode to its least busy."""

    def __init__(self, hosts: Sequence[Any]) -> None:
        """Take the handles of the processes, each an actor of `EnvironmentHost`."""
        self.hosts = dict(enumerate(hosts))
        self.busy = dict.fromkeys(self.hosts, 0)
        self.restarting: dict[int, asyncio.Task[None]] = {}
        self._turns = itertools.count()

    @asynccontextmanager
    async def episode(self, key: str) -> AsyncIterator[Episode]:
        """An episode of this key, which its process forgets at the end.

        Raises:
            RuntimeError: if all processes have died for good.
        """
        number = await self._least_busy()
        host = self.hosts[number]
        self.busy[number] += 1
        try:
            yield Episode(host, key)
        except ProcessLost:
            if number not in self.restarting:
                self.restarting[number] = asyncio.create_task(self._await_restart(number))
            raise
        finally:
            self.busy[number] -= 1
            host.end.remote(key)

    async def _least_busy(self) -> int:
        first = next(self._turns)
        while self.hosts:
            ready = [number for number in self.hosts if number not in self.restarting]
            if ready:
                return min(ready, key=lambda number: (self.busy[number], (number - first) % len(self.busy)))
            await asyncio.wait(list(self.restarting.values()), return_when=asyncio.FIRST_COMPLETED)
        raise RuntimeError("all processes that play the games have died, and Ray does not begin them anew")

    async def _await_restart(self, number: int) -> None:
        """Let a process have no episodes until it answers again, or for ever if it has died for good."""
        while True:
            try:
                await self.hosts[number].episodes.remote()
                break
            except ActorDiedError as error:
                logger.error("a process that plays the games has died for good: %s", error)
                del self.hosts[number]
                break
            except RayActorError:
                await asyncio.sleep(1)
        del self.restarting[number]


def open_pool(settings: StepwiseSettings) -> EnvironmentPool:
    """The pool of this job: the first who asks starts the processes, all others find them by name.

    Ray begins a process anew that has died, and ends all of them with the job.
    """
    count = settings.environment_processes or _default_processes()
    actor: Any = ray.remote(EnvironmentHost)
    return EnvironmentPool(
        [
            actor.options(
                name=f"hgpo_environments_{number}",
                get_if_exists=True,
                # Games wait for a model most of the time: a core of their own would be idle.
                num_cpus=0,
                max_restarts=-1,
                scheduling_strategy="SPREAD",
            ).remote(settings)
            for number in range(count)
        ]
    )


def _default_processes() -> int:
    return max(1, min(MOST_PROCESSES, int(ray.cluster_resources().get("CPU", 1))))
