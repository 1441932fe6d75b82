"""Group rollouts: every task is tried by a group of live episodes, all stepped together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from hgpo.envs.base import Environment, Info, Task, TaskSuite
from hgpo.envs.guard import EnvironmentFault, check_outcome, check_view, guarded
from hgpo.policies.base import Completion, Policy
from hgpo.prompts import Action, ResponseFormat, Turn, fit_prompts
from hgpo.steps import StepTable


@dataclass(frozen=True)
class Agent:
    """A policy and the way it reads and answers."""

    policy: Policy
    """The language model."""
    response_format: ResponseFormat
    """How commands are listed and answers understood."""
    history_length: int
    """K: how many of the last steps the prompt shows."""
    max_prompt_tokens: int
    """The oldest history is left out of longer prompts."""
    max_response_tokens: int
    """A response ends here at the latest."""


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
class Trajectory:
    """One episode from its start to its end."""

    task: Task
    trajectory_id: str
    steps: tuple[Step, ...]
    final_observation: str
    won: bool
    lost: str | None = None
    """Why the environment failed before the episode's end; its steps are then of no use."""

    @property
    def total_reward(self) -> float:
        """The undiscounted sum of rewards."""
        return sum(step.reward for step in self.steps)


@dataclass
class _LiveEpisode:
    """An episode under way."""

    task: Task
    trajectory_id: str
    environment: Environment
    rng: np.random.Generator
    observation: str = ""
    info: Info = field(default_factory=lambda: Info((), None))
    steps: list[Step] = field(default_factory=list)
    lost: str | None = None

    def reset(self) -> bool:
        """Start the episode."""
        observation, info = self.environment.reset(self.task)
        check_view(observation, info, over=False)
        self.observation, self.info = observation, info
        return True

    def turn(self, history_length: int) -> Turn:
        recent = self.steps[-history_length:] if history_length else []
        return Turn(
            instruction=self.task.instruction,
            history=tuple((step.observation, step.action.command) for step in recent),
            observation=self.observation,
            commands=self.info.admissible_commands,
            step=len(self.steps),
        )

    def advance(
        self, prompt: tuple[int, ...], completion: Completion, response_format: ResponseFormat
    ) -> bool:
        """Carry out what the completion says; True if the episode goes on."""
        commands = self.info.admissible_commands
        action = response_format.parse(completion.text, commands)
        before, state_key = self.observation, self.info.state_key
        observation, reward, terminated, truncated, info = self.environment.step(action.command)
        check_outcome(reward, terminated, truncated)
        check_view(observation, info, over=terminated or truncated)
        self.observation, self.info = observation, info
        self.steps.append(
            Step(before, state_key, commands, prompt, completion, action, reward, terminated, truncated)
        )
        return not (terminated or truncated)

    def finished(self) -> Trajectory:
        won = self.info.won and self.lost is None
        return Trajectory(self.task, self.trajectory_id, tuple(self.steps), self.observation, won, self.lost)


def rollout(
    suite: TaskSuite,
    agent: Agent,
    tasks: Sequence[Task],
    *,
    group_size: int,
    temperature: float,
    seed: Sequence[int],
    on_step: Callable[[int, int], None] = lambda finished, live: None,
    timeout: float | None = None,
) -> list[Trajectory]:
    """Try every task `group_size` times.

    All live episodes take a step together, in one call of the policy; one that ends leaves at once. Each
    episode draws from a random stream of its own, so that what happens in it depends on nothing beside it.

    Args:
        suite: makes the environments.
        agent: reads and answers.
        tasks: what is tried.
        group_size: N, trajectories of each task.
        temperature: of sampling; 0 is greedy.
        seed: of the random streams.
        on_step: told after every common step how many episodes have ended and how many are live.
        timeout: seconds that an environment may take for a step; None waits for ever.

    Returns:
        The trajectories, those of a task together and in the tasks' order. One whose environment raised an
        error, returned nonsense or did not answer in time says so (`lost`); the others know nothing of it.
    """
    live: list[_LiveEpisode] = []
    for number, task in enumerate(tasks):
        for member in range(group_size):
            rng = np.random.default_rng([*seed, number, member])
            live.append(_LiveEpisode(task, f"{number}/{task.id}/{member}", suite.make(), rng))
    everyone = list(live)
    live = _still_live(live, [episode.reset for episode in live], timeout)
    while live:
        prompts = _prompts(live, agent)
        uniforms = np.stack([episode.rng.random(agent.max_response_tokens) for episode in live])
        completions = agent.policy.generate(prompts, uniforms, temperature)
        advances = [
            partial(episode.advance, prompt, completion, agent.response_format)
            for episode, prompt, completion in zip(live, prompts, completions, strict=True)
        ]
        live = _still_live(live, advances, timeout)
        on_step(len(everyone) - len(live), len(live))
    return [episode.finished() for episode in everyone]


def _still_live(
    episodes: Sequence[_LiveEpisode], jobs: Sequence[Callable[[], bool]], timeout: float | None
) -> list[_LiveEpisode]:
    """The episodes that go on after their jobs; what a fault is about is kept with the episode."""
    live = []
    for episode, outcome in zip(episodes, guarded(jobs, timeout), strict=True):
        if isinstance(outcome, EnvironmentFault):
            episode.lost = str(outcome)
        elif outcome:
            live.append(episode)
    return live


def _prompts(live: Sequence[_LiveEpisode], agent: Agent) -> list[tuple[int, ...]]:
    # In a task group most turns are equal; each distinct one is put into tokens once.
    turns = [episode.turn(agent.history_length) for episode in live]
    distinct = list(dict.fromkeys(turns))
    fitted = fit_prompts(distinct, agent.response_format, agent.policy.encode, agent.max_prompt_tokens)
    prompt_of = dict(zip(distinct, fitted, strict=True))
    return [prompt_of[turn] for turn in turns]


def step_table(trajectories: Sequence[Trajectory], *, policy_version: int) -> StepTable:
    """The steps of trajectories as a table, one row a step; a task drawn twice is two tasks.

    Trajectories that were lost are left out.
    """
    steps = [
        (trajectory, index, step)
        for trajectory in trajectories
        if trajectory.lost is None
        for index, step in enumerate(trajectory.steps)
    ]
    return StepTable(
        task_id=[trajectory.trajectory_id.rpartition("/")[0] for trajectory, _, _ in steps],
        trajectory_id=[trajectory.trajectory_id for trajectory, _, _ in steps],
        step_index=[index for _, index, _ in steps],
        state_key=[step.state_key for _, _, step in steps],
        reward=[step.reward for _, _, step in steps],
        observation=[step.observation for _, _, step in steps],
        action=[step.action.command for _, _, step in steps],
        action_valid=[step.action.valid for _, _, step in steps],
        terminated=[step.terminated for _, _, step in steps],
        truncated=[step.truncated for _, _, step in steps],
        prompt_tokens=[step.prompt for _, _, step in steps],
        response_tokens=[step.completion.tokens for _, _, step in steps],
        response_logprobs=[step.completion.logprobs for _, _, step in steps],
        policy_version=[policy_version] * len(steps),
    )
