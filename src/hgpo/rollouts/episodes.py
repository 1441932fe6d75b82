"""What is kept of an episode: its steps, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hgpo.envs.base import Task
from hgpo.policies.base import Completion
from hgpo.rollouts.prompts import Action


@dataclass(frozen=True)
class Step:
    """One step of an episode, as the agent lived it."""

    observation: str
    state_key: object
    commands: tuple[str, ...]
    prompt: tuple[int, ...]
    completion: Completion
    action: Action
    reward: float
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class Loss:
    """Why an episode ended before its end, in a way that says nothing of the agent."""

    kind: str
    """In one word, by which such episodes are counted."""
    words: str
    """In one line, for who looks into it."""

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Trajectory:
    """One episode from its start to its end."""

    task: Task
    trajectory_id: str
    steps: tuple[Step, ...]
    final_observation: str
    won: bool
    lost: Loss | None = None
    """Why it was lost before its end, as the environment failed or a server refused to answer; its steps are
    then of no use."""
    score: float | None = None
    """How well the task was done, from 0 to 1, in games that measure it."""

    @property
    def rewards(self) -> list[float]:
        """Of each step."""
        return [step.reward for step in self.steps]

    @property
    def total_reward(self) -> float:
        """The undiscounted sum of rewards."""
        return sum(self.rewards)


def mean_score(trajectories: Sequence[Trajectory]) -> float | None:
    """How well tasks were done on average, from 0 to 1; None in games that do not measure it."""
    scores = [trajectory.score for trajectory in trajectories if trajectory.score is not None]
    return sum(scores) / len(scores) if scores else None
