"""Fault isolation: errors, invalid results and hangs in one environment do not affect the others."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

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
        return _run_concurrently(jobs, timeout, concurrency)
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


def _run_concurrently(
    jobs: Sequence[Callable[[], T]], timeout: float | None, concurrency: int
) -> list[T | EnvironmentFault]:
    """The outcomes of the jobs; at most `concurrency` run at the same time, not counting late ones."""
    outcomes: list[Any] = [None] * len(jobs)
    finished: SimpleQueue[tuple[int, Any]] = SimpleQueue()
    waiting = iter(range(len(jobs)))
    began: dict[int, float] = {}

    def start(count: int) -> None:
        for number in islice(waiting, count):
            began[number] = time.monotonic()
            job = partial(_finish, number, jobs[number], finished)
            threading.Thread(target=job, daemon=True).start()

    start(concurrency)
    while began:
        left = None if timeout is None else max(0.0, min(began.values()) + timeout - time.monotonic())
        try:
            done = [finished.get(timeout=left)]
        except Empty:
            assert timeout is not None
            now = time.monotonic()
            done = [(number, no_answer(timeout)) for number, at in began.items() if at + timeout <= now]
        for number, outcome in done:
            # A job that answers after it was abandoned already has its outcome.
            if began.pop(number, None) is not None:
                outcomes[number] = outcome
                start(1)
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
