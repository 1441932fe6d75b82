"""The agent interface: given the situations of several episodes, it chooses what to do in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from hgpo.envs.base import Task
from hgpo.envs.episode import TimeStep
from hgpo.policies.streams import AnsweredTogether, Stream
from hgpo.rollouts.episodes import Decision, Failure, Step, Trajectory, turn_at
from hgpo.rollouts.prompts import Turn


@dataclass(frozen=True)
class Situation:
    """The current situation of one episode."""

    task: Task
    """The task."""
    trajectory_id: str
    """Identifier of the episode within the rollout."""
    steps: Sequence[Step]
    """The transitions so far."""
    now: TimeStep
    """The environment's latest time step."""
    rng: np.random.Generator
    """The episode's own random stream; no other may be used for it."""

    @property
    def observation(self) -> str:
        """The current observation."""
        return self.now.observation

    @property
    def commands(self) -> tuple[str, ...]:
        """The admissible commands."""
        return self.now.info.admissible_commands

    def turn(self, prompt_history: int | None) -> Turn:
        """The content of a prompt, with the last `prompt_history` steps; None shows all steps."""
        return turn_at(self.task, self.steps, self.now, prompt_history)


class Agent(Protocol):
    """An agent that plays episodes."""

    def act(self, situations: Sequence[Situation], temperature: float) -> Sequence[Decision | Failure]:
        """The decision for each situation, in order; a `Failure` if the episode cannot continue.

        Args:
            situations: the situations of a rollout's live episodes.
            temperature: sampling temperature, for agents that sample; 0 takes the most probable choice.
        """
        ...


DecisionStream = Stream[Situation, Decision | Failure]
"""Decisions that are being made; situations of other episodes may be added in the meantime."""


@runtime_checkable
class StreamingAgent(Agent, Protocol):
    """An agent that can begin a decision while it is making others."""

    def stream(self, temperature: float) -> AbstractContextManager[DecisionStream]:
        """An empty stream of decisions, each as `act` would make it."""
        ...


def stream_of(agent: Agent, temperature: float) -> AbstractContextManager[DecisionStream]:
    """The agent's stream; of other agents, one that decides all situations that wait in one call of `act`."""
    if isinstance(agent, StreamingAgent):
        return agent.stream(temperature)
    return nullcontext(AnsweredTogether(partial(agent.act, temperature=temperature)))


@runtime_checkable
class PlayingAgent(Protocol):
    """An agent that plays whole episodes by itself, in an environment of its own."""

    def play(
        self,
        tasks: Sequence[Task],
        *,
        group_size: int,
        temperature: float,
        seed: Sequence[int],
        on_step: Callable[[int, int], None],
        timeout: float | None,
        numbers: Sequence[int] | None,
    ) -> list[Trajectory]:
        """The trajectories of a rollout; see `hgpo.rollouts.rollout.rollout` for the arguments."""
        ...


@runtime_checkable
class ReflectingAgent(Agent, Protocol):
    """An agent that may try a task again and learns from earlier trials without changing weights."""

    @property
    def trials(self) -> int:
        """Number of times that a failed task is tried."""
        ...

    def reflect(self, failed: Sequence[Trajectory], temperature: float) -> ReflectingAgent:
        """The agent after reflecting on these episodes, none of which was won."""
        ...
