"""Group rollouts: a group of episodes tries every task, step by step together or each at its own pace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from hgpo.distributed import ProcessGroup
from hgpo.envs.base import Task, TaskSuite, concurrency_of
from hgpo.envs.episode import EnvironmentFault
from hgpo.envs.faults import ConcurrentJobs, JobsInTurn, run_isolated
from hgpo.envs.processes import timeout_in_threads
from hgpo.rollouts.agent import Agent, PlayingAgent, Situation, stream_of
from hgpo.rollouts.episodes import STEP_COLUMNS, Decision, Episode, Failure, Trajectory
from hgpo.steps import StepTable

Run = Callable[[Sequence[Callable[[], bool]]], Sequence[bool | EnvironmentFault]]
"""Runs jobs and returns the outcome of each (see `run_isolated`)."""

Jobs = ConcurrentJobs[bool] | JobsInTurn[bool]

Batching = Literal["step", "continuous"]
"""How the answers of a rollout's episodes are written together.

step: all live episodes take a step together, so that equal prompts are read once.
continuous: an episode goes on as soon as its own answer is there, so that nobody waits for a long answer.
"""


@dataclass
class _LiveEpisode:
    """A live episode of a rollout."""

    episode: Episode
    group: int
    member: int
    rng: np.random.Generator
    failure: Failure | None = None

    def begin(self) -> bool:
        """Start the episode."""
        self.episode.begin()
        return True

    def situation(self) -> Situation:
        episode = self.episode
        trajectory_id = f"{self.group}/{episode.task.id}/{self.member}"
        return Situation(episode.task, trajectory_id, episode.steps, episode.now, self.rng)

    def advance(self, decision: Decision | Failure) -> bool:
        """Carry out a decision; returns whether the episode continues."""
        if isinstance(decision, Failure):
            self.failure = decision
            return False
        self.episode.take(decision)
        return not self.episode.now.over

    def finished(self) -> Trajectory:
        now = self.episode.now
        return Trajectory(
            task=self.episode.task,
            group=self.group,
            member=self.member,
            steps=tuple(self.episode.steps),
            final_observation=now.observation,
            won=now.info.won and self.failure is None,
            failure=self.failure,
            score=None if now.info.score is None else now.info.score * (self.failure is None),
        )


def rollout(
    suite: TaskSuite,
    agent: Agent | PlayingAgent,
    tasks: Sequence[Task],
    *,
    group_size: int,
    temperature: float,
    seed: Sequence[int],
    on_step: Callable[[int, int], None] = lambda finished, live: None,
    timeout: float | None = None,
    numbers: Sequence[int] | None = None,
    batching: Batching = "step",
) -> list[Trajectory]:
    """Try every task `group_size` times.

    Each episode has a separate random stream, so that it depends neither on the other episodes nor on the
    batching, except that the agent's sums may be rounded differently. An ended episode is removed at once.

    Args:
        suite: makes the environments.
        agent: chooses the commands, or plays the episodes by itself.
        tasks: the tasks to try.
        group_size: N, trajectories per task.
        temperature: sampling temperature; 0 is greedy.
        seed: seed of the random streams.
        on_step: called with the numbers of ended and of live episodes after every common step; with
            continuous batching whenever some episodes have taken a step.
        timeout: seconds that an environment may take per step; None waits forever.
        numbers: indices of the tasks to try; None tries all.
        batching: see `Batching`. With continuous batching, steps of an environment that waits are carried out
            while answers are written, so that the order of the answers depends on when they end.

    Returns:
        The trajectories, those of a task together, in the tasks' order. A trajectory has a `failure` if its
        environment raised an error, returned an invalid result or did not answer in time, or if the agent
        could not continue; the other trajectories are not affected.
    """
    if isinstance(agent, PlayingAgent):
        return agent.play(
            tasks,
            group_size=group_size,
            temperature=temperature,
            seed=seed,
            on_step=on_step,
            timeout=timeout,
            numbers=numbers,
        )
    live: list[_LiveEpisode] = []
    for number in range(len(tasks)) if numbers is None else numbers:
        task = tasks[number]
        for member in range(group_size):
            rng = np.random.default_rng([*seed, number, member])
            live.append(_LiveEpisode(Episode(task, suite.make()), number, member, rng))
    concurrency, timeout = concurrency_of(suite), timeout_in_threads(suite, timeout)
    if batching == "continuous":
        jobs: Jobs = ConcurrentJobs(timeout, concurrency) if concurrency > 1 else JobsInTurn(timeout)
        _play_each(live, agent, temperature, on_step, jobs)
        return [episode.finished() for episode in live]
    everyone = list(live)
    run = partial(run_isolated, timeout=timeout, concurrency=concurrency)
    live = _still_live(zip(live, run([episode.begin for episode in live]), strict=True))
    return _played_out(everyone, live, agent, temperature, on_step, run)


def continue_from(
    episodes: Sequence[Episode],
    agent: Agent,
    *,
    count: int,
    temperature: float,
    seed: Sequence[int],
    on_step: Callable[[int, int], None] = lambda finished, live: None,
    timeout: float | None = None,
) -> list[list[Trajectory]]:
    """Continue each episode `count` times from its current state; arguments as in `rollout`.

    Returns:
        The trajectories of each episode, including the steps before the fork.
    """
    everyone = [
        _LiveEpisode(episode.fork(), number, member, np.random.default_rng([*seed, number, member]))
        for number, episode in enumerate(episodes)
        for member in range(count)
    ]
    run = partial(run_isolated, timeout=timeout)
    trajectories = _played_out(everyone, list(everyone), agent, temperature, on_step, run)
    return [trajectories[start : start + count] for start in range(0, len(trajectories), count)]


def _played_out(
    everyone: Sequence[_LiveEpisode],
    live: list[_LiveEpisode],
    agent: Agent,
    temperature: float,
    on_step: Callable[[int, int], None],
    run: Run,
) -> list[Trajectory]:
    """The trajectories of all episodes, after the live ones have been played to their ends."""
    while live:
        decisions = agent.act([episode.situation() for episode in live], temperature)
        advances = [
            partial(episode.advance, decision) for episode, decision in zip(live, decisions, strict=True)
        ]
        live = _still_live(zip(live, run(advances), strict=True))
        on_step(len(everyone) - len(live), len(live))
    return [episode.finished() for episode in everyone]


def _play_each(
    episodes: Sequence[_LiveEpisode],
    agent: Agent,
    temperature: float,
    on_step: Callable[[int, int], None],
    jobs: Jobs,
) -> None:
    """Play all episodes to their ends, each at its own pace."""
    live = len(episodes)
    deciding: dict[int, _LiveEpisode] = {}
    moving = dict(zip(jobs.add([episode.begin for episode in episodes]), episodes, strict=True))
    with stream_of(agent, temperature) as stream:
        while live:
            # Without answers to write, there is nothing to do until an environment has ended its step.
            outcomes = [(moving.pop(number), outcome) for number, outcome in jobs.ended(wait=not deciding)]
            ready = _still_live(outcomes)
            deciding |= zip(stream.add([episode.situation() for episode in ready]), ready, strict=True)
            live -= len(outcomes) - len(ready)
            if outcomes:
                on_step(len(episodes) - live, live)
            decided = [(deciding.pop(number), decision) for number, decision in stream.advance()]
            numbers = jobs.add([partial(episode.advance, decision) for episode, decision in decided])
            moving |= zip(numbers, (episode for episode, _ in decided), strict=True)


def distributed_rollout(
    processes: ProcessGroup,
    suite: TaskSuite,
    agent: Agent | PlayingAgent,
    tasks: Sequence[Task],
    *,
    group_size: int,
    **settings: Any,
) -> list[Trajectory]:
    """The result of `rollout`, in every process; each of the processes rolls out its part of the groups."""
    numbers = range(processes.rank, len(tasks), processes.size)
    own = rollout(suite, agent, tasks, group_size=group_size, numbers=numbers, **settings)
    groups = [own[start : start + group_size] for start in range(0, len(own), group_size)]
    parts = processes.gather(groups)
    return [
        trajectory
        for number in range(len(tasks))
        for trajectory in parts[number % processes.size][number // processes.size]
    ]


def _still_live(outcomes: Iterable[tuple[_LiveEpisode, bool | EnvironmentFault]]) -> list[_LiveEpisode]:
    """The episodes that continue after their steps; a fault is stored in its episode."""
    live = []
    for episode, outcome in outcomes:
        if isinstance(outcome, EnvironmentFault):
            episode.failure = Failure("environment", str(outcome))
        elif outcome:
            live.append(episode)
    return live


def step_table(trajectories: Sequence[Trajectory], *, policy_version: int) -> StepTable:
    """The steps of trajectories as a table, one row per step; a task drawn twice is two tasks.

    Trajectories that failed are left out. A branch is a trajectory of its own, and is compared with branches
    of the same name.
    """
    rows = [
        (sequence, index, step)
        for trajectory in trajectories
        if trajectory.failure is None
        for sequence in trajectory.sequences
        for index, step in enumerate(sequence.steps)
    ]
    answers = [step.decision.completion.allowed for _, _, step in rows]
    restricted = [allowed for allowed in answers if allowed is not None]
    return StepTable(
        task_id=[sequence.group_id for sequence, _, _ in rows],
        trajectory_id=[sequence.trajectory_id for sequence, _, _ in rows],
        step_index=[index for _, index, _ in rows],
        **{name: [of(step) for _, _, step in rows] for name, of in STEP_COLUMNS.items()},
        prompt_tokens=[step.decision.prompt for _, _, step in rows],
        response_tokens=[step.decision.completion.tokens for _, _, step in rows],
        response_logprobs=[step.decision.completion.logprobs for _, _, step in rows],
        response_allowed=restricted if len(restricted) == len(answers) else None,
        policy_version=[policy_version] * len(rows),
    )
