"""Runs each environment in a separate process, so that a crash, leak or hang affects only its own trajectory.

    suite = ProcessSuite(HouseholdSuite(), timeout=60.0)

A process plays one episode after another. It is forked from a server process that has loaded only the
environments, which takes milliseconds and copies no language model.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal, cast

from hgpo.envs.base import Info, Task, TaskSuite
from hgpo.envs.episode import EnvironmentFault
from hgpo.envs.faults import no_answer
from hgpo.errors import in_one_line
from hgpo.registry import load_class, spelling_of

EnvironmentIsolation = Literal["thread", "process"]
START_SECONDS = 60.0
"""Number of seconds that the start of a process may take in addition to the first call."""


def isolated(suite: TaskSuite, isolation: EnvironmentIsolation, timeout: float | None = None) -> TaskSuite:
    """The suite itself, or the suite with each environment in a process (see `ProcessSuite`)."""
    # A ProcessSuite has the attributes of its suite, which type checkers cannot know.
    return suite if isolation == "thread" else cast(TaskSuite, ProcessSuite(suite, timeout))


def timeout_in_threads(suite: TaskSuite, timeout: float | None) -> float | None:
    """The timeout for calls of a suite's environments in threads; None if its processes have their own.

    The start of a process takes time that is not the environment's.
    """
    own: Any = suite
    return None if isinstance(own, ProcessSuite) and own.timeout is not None else timeout


@dataclass(frozen=True)
class ProcessSuite:
    """A suite whose environments run in processes; all other attributes are those of the inner suite."""

    suite: TaskSuite
    timeout: float | None = None
    """Seconds that a call may take before the process is killed; None waits forever."""
    _idle: list[_Worker] = field(default_factory=list, init=False, repr=False, compare=False)
    """Processes that play no episode."""

    def __getattr__(self, name: str) -> Any:
        if name == "suite":  # the object is still being created
            raise AttributeError(name)
        return getattr(self.suite, name)

    @property
    def concurrency(self) -> int:
        """Number of processes that may compute at the same time: at least the number of cores."""
        return max(os.cpu_count() or 1, getattr(self.suite, "concurrency", 1))

    def make(self) -> ProcessEnvironment:
        """A new environment; its process is started when an episode begins."""
        return ProcessEnvironment(self)

    def take(self) -> _Worker:
        """A process that plays no episode, or a new one."""
        # Several threads take processes at the same time, so one of them may take the last idle one first.
        with suppress(IndexError):
            return self._idle.pop()
        cls = type(self.suite)
        values = {
            setting.name: getattr(self.suite, setting.name)
            for setting in dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
            if setting.init
        }
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["hgpo.envs"])
        ours, theirs = context.Pipe()
        process = context.Process(target=_play, args=(theirs, spelling_of(cls), values), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, self._idle)


class ProcessEnvironment:
    """An environment that runs in another process."""

    def __init__(self, suite: ProcessSuite) -> None:
        self._suite = suite
        self._worker: _Worker | None = None

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        """Start the task; EnvironmentFault if the environment or its process fails."""
        extra = 0.0
        if self._worker is None or self._worker.ended:
            self._worker, extra = self._suite.take(), START_SECONDS
            weakref.finalize(self, self._worker.give_back)
        return self._worker.call("reset", (task, seed), self._suite.timeout, extra)

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Carry out one command; EnvironmentFault as in `reset`."""
        assert self._worker is not None
        return self._worker.call("step", (command,), self._suite.timeout)


@dataclass
class _Worker:
    """A process that plays, as seen from here."""

    process: Any
    connection: Connection
    idle: list[_Worker]
    """The list of processes to which it returns after an episode."""
    ended: bool = False

    def call(self, method: str, arguments: tuple[Any, ...], timeout: float | None, extra: float = 0.0) -> Any:
        """The result of the environment's method; the process is ended if it does not answer."""
        answered = False
        try:
            self.connection.send((method, arguments))
            if not self.connection.poll(None if timeout is None else timeout + extra):
                assert timeout is not None
                raise no_answer(timeout)
            answer = self.connection.recv()
            answered = True
        except (EOFError, OSError):
            self.process.join(1)
            raise EnvironmentFault(f"the environment's process ended with {self._exit()}") from None
        finally:
            if not answered:
                self._end()
        if isinstance(answer, EnvironmentFault):
            raise answer
        return answer

    def give_back(self) -> None:
        """Let the process play another episode."""
        if not self.ended and not sys.is_finalizing():
            self.idle.append(self)

    def _end(self) -> None:
        self.ended = True
        self.process.kill()
        self.connection.close()

    def _exit(self) -> str:
        code = self.process.exitcode
        if code is not None and code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}"


def _play(connection: Connection, spelling: str, values: dict[str, Any]) -> None:
    """The main loop of a process: carries out calls until the connection is closed."""
    # Ctrl-C in a terminal reaches every process; only the main process reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    suite: Any = None
    environment: Any = None
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            if method == "reset":
                suite = suite or load_class(spelling)(**values)
                environment = suite.make()
            answer = getattr(environment, method)(*arguments)
        except (Exception, SystemExit) as error:
            answer = EnvironmentFault(in_one_line(error))
        try:
            connection.send(answer)
        except Exception as error:  # pickling may raise any error
            connection.send(EnvironmentFault(f"the result of {method} cannot be sent: {in_one_line(error)}"))
