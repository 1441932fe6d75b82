"""What waits between an agent's requests and the policy: live episodes, and a bounded queue of requests.

Threads of the server put requests in; one thread takes batches out, samples, and delivers. A batch begins
when every live episode waits for a response, so that its composition, and with it every digit of the result,
does not depend on timing. An episode that takes longer than `wait` is no longer waited for until it asks
again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hgpo.envs.base import Task
from hgpo.gateway.protocol import ChatRequest, Refusal, Written
from hgpo.gateway.results import MAIN, Call, trajectory_of
from hgpo.rollouts.episodes import Failure, Trajectory

MOST_BRANCHES = 64
"""Largest number of branches of an episode."""


@dataclass
class Branch:
    """A sequence of requests, each made after the response to the one before."""

    name: str
    rng: np.random.Generator
    """The branch's own random stream."""
    calls: list[Call] = field(default_factory=list)
    asking: bool = False
    """Whether a request is waiting or being answered."""


@dataclass
class LiveEpisode:
    """An episode that an agent plays."""

    task: Task
    group: int
    member: int
    seed: tuple[int, ...]
    """Seed of its random streams."""
    outcome: Any = None
    """What `play` returned, or the `Failure`, once it is over."""
    over: bool = False
    late: bool = False
    """Whether the others no longer wait for it."""
    last_sign: float = 0.0
    """When it began, or got its latest response."""
    branches: dict[str, Branch] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The name by which requests refer to it."""
        return f"{self.group}-{self.member}"

    @property
    def asking(self) -> bool:
        """Whether a request is waiting or being answered."""
        return any(branch.asking for branch in self.branches.values())

    def branch(self, name: str) -> Branch:
        """The branch with a name, which is new if there is none yet.

        The random numbers of the branch without a name are those of an episode of `rollout`.
        """
        if name not in self.branches:
            named = tuple(name.encode()) if name != MAIN else ()
            self.branches[name] = Branch(name, np.random.default_rng([*self.seed, *named]))
        return self.branches[name]

    def finished(self) -> Trajectory:
        """The trajectory, once the episode is over."""
        calls = {name: branch.calls for name, branch in self.branches.items()}
        return trajectory_of(self.task, self.group, self.member, calls, self.outcome)


@dataclass(eq=False)
class Pending:
    """A request that waits for its response."""

    episode: LiveEpisode
    branch: Branch
    request: ChatRequest
    state_key: Hashable
    at: float
    taken: bool = False
    """Whether it is in a batch."""
    response: Future[Written] = field(default_factory=Future)

    @property
    def place(self) -> tuple[int, int, str]:
        """Where it stands in a batch."""
        return self.episode.group, self.episode.member, self.branch.name


class Exchange:
    """The live episodes of a rollout and the requests that wait; all methods may be called in any thread."""

    def __init__(self, *, capacity: int, wait: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without episodes.

        Args:
            capacity: largest number of waiting requests.
            wait: seconds that a request waits for those of other episodes.
            clock: returns the time in seconds.
        """
        self._capacity, self._wait, self._clock = capacity, wait, clock
        self._changed = threading.Condition()
        self._live: dict[str, LiveEpisode] = {}
        self._queue: list[Pending] = []
        self._ended = 0

    def begin(self, episode: LiveEpisode) -> None:
        """Let an episode make requests."""
        with self._changed:
            episode.last_sign = self._clock()
            self._live[episode.id] = episode

    def end(self, episode: LiveEpisode, outcome: Any) -> None:
        """End an episode; a second end changes nothing. Its waiting requests are refused."""
        with self._changed:
            if episode.over:
                return
            episode.over, episode.outcome = True, outcome
            self._ended += 1
            self._live.pop(episode.id, None)
            gone = [pending for pending in self._queue if pending.episode is episode]
            self._queue = [pending for pending in self._queue if pending.episode is not episode]
            self._changed.notify_all()
        for pending in gone:
            _deliver(pending, _over(episode.id))

    def submit(self, id: str, branch: str, request: ChatRequest, state_key: Hashable) -> Pending:
        """Put a request into the queue.

        A second request at the same time, in the same branch, ends the episode: which of them is the first
        step would depend on timing.

        Args:
            id: the episode's.
            branch: the branch's name.
            request: the request.
            state_key: the state key of the request.

        Raises:
            Refusal: if there is no such episode, or if the request cannot be taken.
        """
        with self._changed:
            episode = self._live.get(id)
            if episode is None:
                raise _over(id)
            if len(self._queue) >= self._capacity:
                raise Refusal(429, "too many requests are waiting: try again", "rate_limit", retry_after=1)
            if branch not in episode.branches and len(episode.branches) >= MOST_BRANCHES:
                raise Refusal(400, f"an episode may have {MOST_BRANCHES} branches")
            asked = episode.branch(branch)
            if not asked.asking:
                asked.asking, episode.late = True, False
                pending = Pending(episode, asked, request, state_key, self._clock())
                self._queue.append(pending)
                # Waking the other thread for every request would cost as much as the request itself.
                if len(self._queue) == 1 or self._all_ask():
                    self._changed.notify_all()
                return pending
        place = f"the branch {branch!r}" if branch else "one branch"
        words = (
            f"two requests of an episode in {place} at the same time, so that neither is the step before the "
            "other: give each sub-agent a branch of its own (header X-HGPO-Branch)"
        )
        self.end(episode, Failure("agent", words))
        raise Refusal(400, words)

    def drop(self, pending: Pending) -> None:
        """Remove a request whose sender is gone; if it is already in a batch, its episode is lost."""
        with self._changed:
            if not pending.taken:
                self._queue = [other for other in self._queue if other is not pending]
                pending.branch.asking = False
                pending.episode.last_sign = self._clock()
                self._changed.notify_all()
                return
        self.end(pending.episode, Failure("agent", "it disconnected before its response was complete"))

    def next_batch(self, until: float) -> list[Pending]:
        """The next requests to answer together, in a fixed order.

        Args:
            until: when to return without any; the call also returns if an episode ends, or if none is live.
        """
        with self._changed:
            ended = self._ended
            while True:
                now = self._clock()
                oldest = self._queue[0].at if self._queue else np.inf
                if self._queue and (now >= oldest + self._wait or self._all_ask()):
                    break
                if now >= until or self._ended != ended or not self._live:
                    return []
                self._changed.wait(min(until, oldest + self._wait) - now)
            batch, self._queue = sorted(self._queue, key=lambda pending: pending.place), []
            for pending in batch:
                pending.taken = True
            for episode in self._live.values():
                episode.late = not episode.asking
            return batch

    def _all_ask(self) -> bool:
        return all(episode.asking or episode.late for episode in self._live.values())

    def answer(self, pending: Pending, response: Written | Refusal, call: Call | None = None) -> None:
        """Deliver a response and record its call, unless the episode is over."""
        with self._changed:
            pending.branch.asking = False
            pending.episode.last_sign = self._clock()
            if call is not None and not pending.episode.over:
                pending.branch.calls.append(call)
        _deliver(pending, response)

    def silent(self, timeout: float) -> list[LiveEpisode]:
        """The episodes that have neither ended nor made a request for this number of seconds."""
        with self._changed:
            now = self._clock()
            return [
                episode
                for episode in self._live.values()
                if not episode.asking and now >= episode.last_sign + timeout
            ]

    def close(self, episodes: Sequence[LiveEpisode]) -> None:
        """End these episodes, if the rollout itself ends early."""
        for episode in episodes:
            self.end(episode, Failure("agent", "the rollout ended"))


def _deliver(pending: Pending, response: Written | Refusal) -> None:
    # The server cancels the future of a request whose sender is gone.
    if not pending.response.set_running_or_notify_cancel():
        return
    if isinstance(response, Refusal):
        pending.response.set_exception(response)
    else:
        pending.response.set_result(response)


def _over(id: str) -> Refusal:
    return Refusal(410, f"there is no episode {id!r}, or it is over", "episode_over")
