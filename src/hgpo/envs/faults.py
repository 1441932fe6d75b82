"""Fault isolation: errors, invalid results and hangs in one environment do not affect the others."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import numpy as np

from hgpo.envs.base import Info
from hgpo.envs.episode import EnvironmentFault, TimeStep
from hgpo.errors import in_one_line
from hgpo.keys import as_key

T = TypeVar("T")


def run_isolated(
    jobs: Sequence[Callable[[], T]], timeout: float | None, concurrency: int = 1
) -> list[T | EnvironmentFault]:
    """The result of each job, or the fault in its place.

    The jobs run in other threads, one after another or several at the same time. A job that does not return
    in time is abandoned, and another thread runs the remaining jobs. Python cannot stop a thread, so a job
    that never ends keeps using a core until the program ends.

    Args:
        jobs: calls of environments.
        timeout: seconds allowed per job; None waits forever.
        concurrency: the number of jobs that may run at the same time, for jobs that wait.
    """
    if concurrency > 1:
        running: ConcurrentJobs[T] = ConcurrentJobs(timeout, concurrency)
        numbers = running.add(jobs)
        ended: dict[int, T | EnvironmentFault] = {}
        while running.unfinished:
            ended.update(running.ended(wait=True))
        return [ended[number] for number in numbers]
    outcomes: list[Any] = []
    while len(outcomes) < len(jobs):
        outcomes += _until_one_hangs(jobs[len(outcomes) :], timeout)
    return outcomes


def _until_one_hangs(jobs: Sequence[Callable[[], T]], timeout: float | None) -> list[T | EnvironmentFault]:
    """The outcomes of the jobs up to and including the first that hangs, or of all if none hangs."""
    outcomes: list[T | EnvironmentFault] = []
    finished, given_up = threading.Event(), threading.Event()
    began = time.monotonic()

    def work() -> None:
        nonlocal began
        for job in jobs:
            began = time.monotonic()
            outcome = _outcome(job)
            if given_up.is_set():
                return
            outcomes.append(outcome)
        finished.set()

    threading.Thread(target=work, daemon=True).start()
    # Waking up for every outcome would cost more than most environments' steps, so this thread wakes up only
    # at the end, or to check for late jobs.
    if timeout is None:
        finished.wait()
        return outcomes
    while not finished.wait(max(0.0, began + timeout - time.monotonic())):
        if time.monotonic() >= began + timeout:
            given_up.set()
            return [*outcomes, no_answer(timeout)][: len(jobs)]
    return outcomes


class ConcurrentJobs(Generic[T]):
    """Jobs that run at the same time in other threads, so that those that wait do not hold up others."""

    def __init__(self, timeout: float | None, concurrency: int) -> None:
        """Run at most `concurrency` jobs, not counting late ones, `timeout` seconds each; None: forever."""
        self._timeout, self._free = timeout, concurrency
        self._numbers = itertools.count()
        self._waiting: deque[tuple[int, Callable[[], T]]] = deque()
        self._began: dict[int, float] = {}
        self._finished: SimpleQueue[tuple[int, Any]] = SimpleQueue()

    @property
    def unfinished(self) -> bool:
        """Whether there are jobs whose outcome has not been returned."""
        return bool(self._began or self._waiting)

    def add(self, jobs: Sequence[Callable[[], T]]) -> list[int]:
        """Start further jobs, or let them wait for others to end; returns their numbers."""
        numbers = [next(self._numbers) for _ in jobs]
        self._waiting += zip(numbers, jobs, strict=True)
        self._start()
        return numbers

    def ended(self, *, wait: bool) -> list[tuple[int, T | EnvironmentFault]]:
        """The outcomes of jobs that have ended, with their numbers.

        A job that does not return in time is abandoned (see `run_isolated`), with a fault as its outcome.

        Args:
            wait: whether to wait for the first of them.
        """
        outcomes: list[tuple[int, Any]] = []
        while self._began:
            try:
                done = [self._finished.get(timeout=self._seconds_left() if wait and not outcomes else 0)]
            except Empty:
                done = self._late()
                if not done and (outcomes or not wait):
                    break
            for number, outcome in done:
                # A job that answers after it was abandoned already has its outcome.
                if self._began.pop(number, None) is not None:
                    outcomes.append((number, outcome))
                    self._free += 1
            self._start()
        return outcomes

    def _start(self) -> None:
        while self._waiting and self._free:
            number, job = self._waiting.popleft()
            self._free -= 1
            self._began[number] = time.monotonic()
            threading.Thread(target=_finish, args=(number, job, self._finished), daemon=True).start()

    def _seconds_left(self) -> float | None:
        if self._timeout is None:
            return None
        return max(0.0, min(self._began.values()) + self._timeout - time.monotonic())

    def _late(self) -> list[tuple[int, EnvironmentFault]]:
        if self._timeout is None:
            return []
        due = time.monotonic() - self._timeout
        return [(number, no_answer(self._timeout)) for number, at in self._began.items() if at <= due]


class JobsInTurn(Generic[T]):
    """Jobs that run one after another when they are added, with the methods of `ConcurrentJobs`."""

    def __init__(self, timeout: float | None) -> None:
        """Allow each job `timeout` seconds; None: forever."""
        self._timeout, self._numbers = timeout, itertools.count()
        self._outcomes: list[tuple[int, T | EnvironmentFault]] = []

    def add(self, jobs: Sequence[Callable[[], T]]) -> list[int]:
        """Run further jobs; returns their numbers."""
        numbers = [next(self._numbers) for _ in jobs]
        self._outcomes += zip(numbers, run_isolated(jobs, self._timeout), strict=True)
        return numbers

    def ended(self, *, wait: bool) -> list[tuple[int, T | EnvironmentFault]]:
        """The outcomes of the jobs that were added since the last call, with their numbers."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes


def _finish(number: int, job: Callable[[], Any], finished: SimpleQueue[tuple[int, Any]]) -> None:
    finished.put((number, _outcome(job)))


def _outcome(job: Callable[[], T]) -> T | EnvironmentFault:
    """The result of a job, or the fault in its place."""
    try:
        return job()
    except EnvironmentFault as fault:
        return fault
    # Also SystemExit: an environment that calls sys.exit ends only its own trajectory.
    except BaseException as error:
        return EnvironmentFault(in_one_line(error))


def no_answer(timeout: float) -> EnvironmentFault:
    """The fault of an environment that did not answer in time."""
    return EnvironmentFault(f"no answer within {timeout:g} seconds")


def checked(now: TimeStep) -> TimeStep:
    """An environment's result, checked so that an agent can continue from it and learn from it.

    Returns:
        The same, with the reward as a float and the flags as bools.

    Raises:
        EnvironmentFault: unless the reward is a finite number, the flags are True or False, the observation
            is a string, the state keys are valid, and the admissible commands are strings, at least one of
            them if the episode is not over.
    """
    reward: Any = now.reward
    flags: tuple[Any, Any] = now.terminated, now.truncated
    if not isinstance(reward, int | float | np.number) or not math.isfinite(reward):
        raise EnvironmentFault(f"the reward is {reward!r}, not a finite number")
    if not all(isinstance(flag, bool | np.bool_) for flag in flags):
        raise EnvironmentFault(f"terminated is {flags[0]!r}, truncated {flags[1]!r}: not True or False")
    _check_view(now.observation, now.info, over=now.over)
    return replace(now, reward=float(reward), terminated=bool(flags[0]), truncated=bool(flags[1]))


def _check_view(observation: Any, info: Any, *, over: bool) -> None:
    if not isinstance(observation, str):
        raise EnvironmentFault(f"the observation is a {type(observation).__name__}, not a text")
    if not isinstance(info, Info):
        raise EnvironmentFault(f"the info is a {type(info).__name__}, not an Info")
    commands = info.admissible_commands
    if not isinstance(commands, tuple) or not all(isinstance(command, str) for command in commands):
        raise EnvironmentFault("the admissible commands are not a tuple of texts")
    if not commands and not over:
        raise EnvironmentFault("there is no admissible command, but the episode is not over")
    try:
        as_key(info.state_key)
    except (TypeError, ValueError) as error:
        raise EnvironmentFault(f"the state key {error}") from None
    if not isinstance(info.state_keys, Mapping):
        raise EnvironmentFault(f"state_keys is a {type(info.state_keys).__name__}, not a mapping")
    for name, key in info.state_keys.items():
        try:
            as_key(key)
        except (TypeError, ValueError) as error:
            raise EnvironmentFault(f"the state key {name!r} {error}") from None
