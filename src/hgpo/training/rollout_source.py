"""Where an iteration's rollouts come from: sampled when they are needed, or during the update before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from typing_extensions import override

from hgpo.rollouts.dynamic_sampling import Sample
from hgpo.runs.display import Advance, NoDisplay
from hgpo.training.context import RunContext
from hgpo.training.sampling import sample_trajectories
from hgpo.training.state import TrainingState

THREAD = "rollouts"
"""The name of the thread in which rollouts are sampled ahead."""


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of an iteration."""

    sample: Sample
    policy_version: int
    """Number of iterations that the weights which sampled them had been trained for."""


class RolloutSource(Protocol):
    """Samples the rollouts of one iteration after another."""

    def take(self, iteration: int) -> Rollouts:
        """The rollouts of an iteration.

        Args:
            iteration: number of iterations done before.

        Raises:
            RunError: if the environment failed in every trajectory.
        """
        ...

    def before_update(self, iteration: int, *, last: bool) -> None:
        """Called when an iteration's rollouts have been taken and its update is about to begin.

        Args:
            iteration: number of iterations done before.
            last: whether no further iteration is planned.
        """
        ...

    def settle(self) -> None:
        """Wait until nothing is being sampled, so that the engine can be used for something else."""
        ...

    def close(self) -> None:
        """Stop sampling."""
        ...


def rollout_source(context: RunContext, state: TrainingState) -> RolloutSource:
    """The source that the settings ask for."""
    return Ahead(context, state) if context.config.overlap else InTurn(context, state)


class InTurn(RolloutSource):
    """Samples an iteration's rollouts when they are needed, with the current weights."""

    def __init__(self, context: RunContext, state: TrainingState) -> None:
        self._context, self._state = context, state

    @override
    def take(self, iteration: int) -> Rollouts:
        self._state.engine.synchronize()
        return Rollouts(sample_trajectories(self._context, self._state.agent, iteration), iteration)

    @override
    def before_update(self, iteration: int, *, last: bool) -> None:
        pass

    @override
    def settle(self) -> None:
        pass

    @override
    def close(self) -> None:
        pass


class Ahead(RolloutSource):
    """Samples the next iteration's rollouts during the update, in a thread, with the weights before.

    The first iteration's rollouts have its own weights, all others those of one update earlier. The state
    keeps these weights, so that a run that continues from a checkpoint samples the same rollouts again.
    """

    def __init__(self, context: RunContext, state: TrainingState) -> None:
        self._context, self._state = context, state
        self._running: _Sampling | None = None

    @override
    def take(self, iteration: int) -> Rollouts:
        # After a start or a restart nothing is being sampled.
        running = self._running or self._begin(iteration)
        self._running = None
        return Rollouts(running.result(self._context), max(0, iteration - 1))

    @override
    def before_update(self, iteration: int, *, last: bool) -> None:
        assert self._state.sampler is not None
        self._state.sampler.update()
        if not last:
            self._running = self._begin(iteration + 1)

    @override
    def settle(self) -> None:
        if self._running is not None:
            self._running.thread.join()

    @override
    def close(self) -> None:
        if self._running is not None:
            self._running.stop()

    def _begin(self, iteration: int) -> _Sampling:
        assert self._state.sampler is not None
        with self._state.sampler.in_place():
            self._state.engine.synchronize()
        return _Sampling(self._context, self._state, iteration)


class _Sampling(NoDisplay):
    """The rollouts of an iteration, being sampled in a thread. As their display it keeps the messages."""

    def __init__(self, context: RunContext, state: TrainingState, iteration: int) -> None:
        self._context, self._agent, self._iteration = replace(context, display=self), state.agent, iteration
        self._messages: list[str] = []
        self._stopped = threading.Event()
        self._outcome: Sample | BaseException | None = None
        self.thread = threading.Thread(target=self._sample, name=THREAD, daemon=True)
        self.thread.start()

    def _sample(self) -> None:
        try:
            self._outcome = sample_trajectories(self._context, self._agent, self._iteration)
        except BaseException as error:
            self._outcome = error

    def result(self, context: RunContext) -> Sample:
        """Wait for the rollouts; messages go to the context's display, errors to the caller."""
        with context.display.phase("rollout"):
            self.thread.join()
        for message in self._messages:
            context.display.say(message)
        if not isinstance(self._outcome, Sample):
            assert self._outcome is not None
            raise self._outcome
        return self._outcome

    def stop(self) -> None:
        """End the thread after the step that it is taking."""
        self._stopped.set()
        self.thread.join()

    @override
    def say(self, message: str) -> None:
        self._messages.append(message)

    @override
    @contextmanager
    def phase(self, name: str) -> Iterator[Advance]:
        def advance(done: int, total: int) -> None:
            if self._stopped.is_set():
                raise _Stopped

        yield advance


class _Stopped(Exception):
    """The rollouts are no longer wanted."""
