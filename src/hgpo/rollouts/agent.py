"""What an agent is: it sees where several episodes stand, and says what to do in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from hgpo.envs.base import Task
from hgpo.policies.base import Completion
from hgpo.rollouts.episodes import Loss, Step, Trajectory
from hgpo.rollouts.prompts import Action, Turn


@dataclass(frozen=True)
class Situation:
    """Where one episode stands."""

    task: Task
    """What is to be achieved."""
    trajectory_id: str
    """Which episode of the rollout it is."""
    steps: Sequence[Step]
    """What has happened so far."""
    observation: str
    """What is seen now."""
    commands: tuple[str, ...]
    """The admissible commands."""
    rng: np.random.Generator
    """The episode's own random stream, the only one to draw from for it."""

    def turn(self, history_length: int | None) -> Turn:
        """What a prompt shows, with the last so many steps; None shows all."""
        shown = len(self.steps) if history_length is None else min(history_length, len(self.steps))
        recent = self.steps[len(self.steps) - shown :]
        return Turn(
            instruction=self.task.instruction,
            history=tuple((step.observation, step.action.command) for step in recent),
            observation=self.observation,
            commands=self.commands,
            step=len(self.steps),
        )


@dataclass(frozen=True)
class Decision:
    """What an agent wants to do, and how it came to say so."""

    action: Action
    """What is sent to the environment."""
    completion: Completion
    """The answer that was understood as the action."""
    prompt: tuple[int, ...] = ()
    """Token ids of what was read, where the agent has tokens."""


class Agent(Protocol):
    """Something that plays."""

    def act(self, situations: Sequence[Situation], temperature: float) -> Sequence[Decision | Loss]:
        """What to do in each situation, in their order; a loss where the episode cannot go on.

        Args:
            situations: where the live episodes of a rollout stand.
            temperature: of sampling, for agents that sample; 0 takes the likeliest.
        """
        ...


@runtime_checkable
class ReflectingAgent(Agent, Protocol):
    """An agent that may try a task again and learns from what it did, without any weight changing."""

    @property
    def trials(self) -> int:
        """How many times a task that was not won is tried."""
        ...

    def reflect(self, failed: Sequence[Trajectory], temperature: float) -> ReflectingAgent:
        """The agent that knows of these episodes, none of which was won."""
        ...
