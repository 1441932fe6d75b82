"""Processes that play episodes, many each, because a step takes little time compared with an answer.

Steps of a suite that waits, such as for a server, run at the same time in threads, at most as many in all
processes together as the suite permits.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import ray
from ray.exceptions import ActorDiedError, RayActorError

from hgpo.adapters.task_stream import TaskReference
from hgpo.adapters.verl.settings import StepwiseSettings
from hgpo.envs.base import Environment, Task, concurrency_of
from hgpo.envs.episode import EnvironmentFault, TimeStep, advance, begin
from hgpo.envs.faults import checked, run_isolated
from hgpo.envs.processes import timeout_in_threads

logger = logging.getLogger(__name__)
T = TypeVar("T")

ACTOR = "hgpo_environments"
"""Name of the processes as Ray's actors, before the number of each."""
MOST_PROCESSES = 4
"""Default number of processes if there are enough cores; docs/verl.md has the speed of one process."""


class ProcessLost(Exception):
    """The process of an episode has died, and with it the episode."""


class EnvironmentHost:
    """Episodes by key, in one process. A failure in one is reported only to the caller that plays it.

    Ray calls the methods in as many threads as steps may run at the same time.
    """

    def __init__(self, settings: StepwiseSettings) -> None:
        """Create the suite; no task is loaded yet."""
        if settings.env_isolation == "process":
            # A new process imports the script of the process that starts it. Ray's takes a second and 30 MB.
            vars(sys.modules["__main__"]).pop("__file__", None)
        self.suite = settings.playing_suite()
        self.timeout = timeout_in_threads(self.suite, settings.timeout)
        self.live: dict[str, Environment] = {}
        self.drawn = lru_cache(maxsize=32)(self.suite.tasks)
        self.drawing = threading.Lock()

    def start(self, key: str, reference: TaskReference) -> tuple[Task, TimeStep]:
        """Start an episode; returns the task without its data, which stay in this process, and the first
        observation.

        Raises:
            EnvironmentFault: if the environment fails or does not answer in time.
        """

        def reset() -> tuple[Environment, Task, TimeStep]:
            with self.drawing:
                task = self.drawn(reference.split, reference.count, reference.seed)[reference.number]
            environment = self.suite.make()
            return environment, task, checked(begin(environment, task))

        # An environment that starts too late is not kept.
        self.live[key], task, now = self._guarded(reset)
        return replace(task, game=None), now

    def step(self, key: str, command: str) -> TimeStep:
        """Carry out a command in an episode.

        Raises:
            KeyError: if this process does not have the episode, or no longer has it.
            EnvironmentFault: if the environment fails or does not answer in time.
        """
        environment = self.live[key]
        return self._guarded(lambda: checked(advance(environment, command)))

    def end(self, key: str) -> None:
        """Remove an episode."""
        self.live.pop(key, None)

    def episodes(self) -> int:
        """Number of live episodes."""
        return len(self.live)

    def _guarded(self, job: Callable[[], T]) -> T:
        (outcome,) = run_isolated([job], self.timeout)
        if isinstance(outcome, EnvironmentFault):
            raise outcome
        return outcome


class Episode:
    """The player's handle of one episode."""

    def __init__(self, host: Any, key: str) -> None:
        self._host, self._key = host, key

    async def start(self, reference: TaskReference) -> tuple[Task, TimeStep]:
        """Start a task; returns it and its first observation. ProcessLost if the process has died."""
        return await self._asked(self._host.start.remote(self._key, reference))

    async def step(self, command: str) -> TimeStep:
        """Carry out a command; returns the environment's answer. ProcessLost if the process has died."""
        return await self._asked(self._host.step.remote(self._key, command))

    async def _asked(self, answer: Any) -> Any:
        try:
            return await answer
        # A restarted process does not have the episodes of the process that died.
        except (RayActorError, KeyError) as error:
            raise ProcessLost(str(error).splitlines()[0] if str(error) else type(error).__name__) from None


class EnvironmentPool:
    """One agent loop worker's handle of the environment processes; episodes go to the least busy process."""

    def __init__(self, hosts: Sequence[Any]) -> None:
        """Store the handles of the processes, each an actor of `EnvironmentHost`."""
        self.hosts = dict(enumerate(hosts))
        self.busy = dict.fromkeys(self.hosts, 0)
        self.restarting: dict[int, asyncio.Task[None]] = {}
        self._turns = itertools.count()

    @asynccontextmanager
    async def episode(self, key: str) -> AsyncIterator[Episode]:
        """An episode with this key; its process removes it at the end of the block.

        Raises:
            RuntimeError: if all processes have died and are not restarted.
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
        raise RuntimeError("all environment processes have died, and Ray does not restart them")

    async def _await_restart(self, number: int) -> None:
        """Send a process no episodes until it answers again; if Ray does not restart it, none at all."""
        while True:
            try:
                await self.hosts[number].episodes.remote()
                break
            except ActorDiedError as error:
                logger.error("an environment process has died and is not restarted: %s", error)
                del self.hosts[number]
                break
            except RayActorError:
                await asyncio.sleep(1)
        del self.restarting[number]


def open_pool(settings: StepwiseSettings) -> EnvironmentPool:
    """The pool of this job: the first caller starts the processes, all others find them by name.

    Ray restarts a process that has died, and ends all of them with the job.
    """
    steps = concurrency_of(settings.playing_suite())
    limits = _shared(steps, settings.environment_processes or _default_processes())
    actor: Any = ray.remote(EnvironmentHost)
    return EnvironmentPool(
        [
            actor.options(
                name=f"{ACTOR}_{number}",
                get_if_exists=True,
                # Environments wait for the model most of the time, so a reserved core would be idle.
                num_cpus=0,
                max_concurrency=limit,
                max_restarts=-1,
                scheduling_strategy="SPREAD",
            ).remote(settings)
            for number, limit in enumerate(limits)
        ]
    )


def _shared(steps: int, processes: int) -> list[int]:
    """Number of steps that each process may run at the same time.

    Args:
        steps: the limit of the suite. 1, the limit of suites that compute, applies to each process alone; a
            higher one to all processes together, of which there are then at most that number.
        processes: the number of processes.
    """
    if steps == 1:
        return [1] * processes
    processes = min(processes, steps)
    return [steps // processes + (number < steps % processes) for number in range(processes)]


def _default_processes() -> int:
    return max(1, min(MOST_PROCESSES, int(ray.cluster_resources().get("CPU", 1))))
