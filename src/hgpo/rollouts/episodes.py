"""An episode of an agent: its steps, the prompt's view of them, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hgpo.envs.base import Environment, ForkableEnvironment, Info, Task
from hgpo.envs.episode import TimeStep, Transition, advance, begin
from hgpo.envs.faults import checked
from hgpo.errors import SettingError
from hgpo.policies.base import Completion
from hgpo.rollouts.prompts import Action, Turn


@dataclass(frozen=True)
class Decision:
    """An agent's decision for a step, and how it was made."""

    action: Action
    """The command that is sent to the environment."""
    completion: Completion
    """The answer from which the action was read."""
    prompt: tuple[int, ...] = ()
    """Token ids of the prompt, for agents with tokens."""


Step = Transition[Decision]
"""One step of an agent's episode."""

STEP_COLUMNS: dict[str, Callable[[Step], Any]] = {
    "state_key": lambda step: step.before.info.state_key,
    "state_keys": lambda step: dict(step.before.info.state_keys),
    "reward": lambda step: step.after.reward,
    "observation": lambda step: step.before.observation,
    "action": lambda step: step.command,
    "action_valid": lambda step: step.decision.action.valid,
    "invalid_reason": lambda step: str(step.decision.action.invalid or ""),
    "terminated": lambda step: step.after.terminated,
    "truncated": lambda step: step.after.truncated,
}
"""The value of each column of a step table for a step, by the column's name."""


def turn_at(task: Task, past: Sequence[Transition[Any]], now: TimeStep, prompt_history: int | None) -> Turn:
    """The turn at the current point of an episode, which a prompt shows.

    Args:
        task: the task.
        past: all steps so far.
        now: the environment's latest time step.
        prompt_history: number of past steps that are shown; None shows all.
    """
    shown = len(past) if prompt_history is None else min(prompt_history, len(past))
    recent = past[len(past) - shown :]
    return Turn(
        instruction=task.instruction,
        history=tuple((step.before.observation, step.command) for step in recent),
        observation=now.observation,
        commands=now.info.admissible_commands,
        step=len(past),
    )


NOT_BEGUN = TimeStep("", Info((), None))
"""The time step of an episode that has not started."""


@dataclass
class Episode:
    """A live episode: its current time step and its history."""

    task: Task
    environment: Environment
    now: TimeStep = NOT_BEGUN
    """The environment's latest time step."""
    steps: list[Step] = field(default_factory=list)

    def begin(self) -> None:
        """Start the task; EnvironmentFault if the environment's result is invalid (see `checked`)."""
        self.now = checked(begin(self.environment, self.task))

    def take(self, decision: Decision) -> None:
        """Carry out a decision; EnvironmentFault as in `begin`."""
        command = decision.action.command
        before, self.now = self.now, checked(advance(self.environment, command))
        self.steps.append(Transition(before, command, self.now, decision))

    def fork(self) -> Episode:
        """A copy of the episode in its current state; both then continue independently.

        Raises:
            SettingError: if the environment cannot be forked.
        """
        if not isinstance(self.environment, ForkableEnvironment):
            raise SettingError(
                f"{type(self.environment).__name__} cannot be forked, so that no step can be played on from: "
                "it needs a method fork that returns a copy"
            )
        return Episode(self.task, self.environment.fork(), self.now, list(self.steps))


@dataclass(frozen=True)
class Failure:
    """Why an episode stopped early for a reason that the agent is not responsible for."""

    kind: str
    """One word for the kind of failure; failed episodes are counted by kind."""
    words: str
    """One line with the details."""

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class StepSequence:
    """Steps that follow one another, as a trajectory of a step table."""

    group_id: str
    """Identifies the group of sequences that are compared."""
    trajectory_id: str
    """Identifies the sequence."""
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Trajectory:
    """One episode from its start to its end."""

    task: Task
    group: int
    """Index of the group of trajectories that tried the task together."""
    member: int
    """Index of the trajectory in its group."""
    steps: tuple[Step, ...]
    final_observation: str
    won: bool
    failure: Failure | None = None
    """Why it stopped early, if the environment failed or a server refused to answer; its steps are then not
    used."""
    score: float | None = None
    """The task's score, from 0 to 1, in environments that report one."""
    round: int = 0
    """The round of dynamic sampling; groups are counted from 0 in each round."""
    branches: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    """The steps of sub-agents by name, if an agent that plays by itself has any."""

    @property
    def group_id(self) -> str:
        """A text that identifies the group in all rounds."""
        return (f"round {self.round}/" if self.round else "") + f"{self.group}/{self.task.id}"

    @property
    def trajectory_id(self) -> str:
        """A text that identifies the trajectory in all rounds."""
        return f"{self.group_id}/{self.member}"

    @property
    def sequences(self) -> list[StepSequence]:
        """The steps, and then those of each branch: in each of them, every step follows the one before."""
        own = StepSequence(self.group_id, self.trajectory_id, self.steps)
        return [
            own,
            *(
                StepSequence(f"{own.group_id} ({name})", f"{own.trajectory_id} ({name})", steps)
                for name, steps in self.branches.items()
            ),
        ]

    @property
    def rewards(self) -> list[float]:
        """The reward of each step."""
        return [step.after.reward for step in self.steps]

    @property
    def total_reward(self) -> float:
        """The undiscounted sum of rewards."""
        return sum(self.rewards)


def task_of_group(group_id: str) -> str:
    """The id of the task in a `group_id`."""
    return re.sub(r"^(round \d+/)?\d+/", "", group_id)


def mean_score(trajectories: Sequence[Trajectory]) -> float | None:
    """Mean score of the tasks, from 0 to 1; None for environments that report none."""
    scores = [trajectory.score for trajectory in trajectories if trajectory.score is not None]
    return sum(scores) / len(scores) if scores else None
