"""Evaluation: plays every task of a held-out split once; success rate by task type with intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hgpo.distributed import ProcessGroup, SingleProcess
from hgpo.envs.base import Task, TaskSuite, describe, tasks_of
from hgpo.rollouts.agent import Agent, PlayingAgent, ReflectingAgent
from hgpo.rollouts.episodes import Trajectory, mean_score
from hgpo.rollouts.rollout import Batching, distributed_rollout


@dataclass(frozen=True)
class Success:
    """The number of tasks won, out of a number of tasks."""

    won: int
    tasks: int

    @property
    def rate(self) -> float:
        """Fraction of the tasks that were won; NaN without tasks."""
        return self.won / self.tasks if self.tasks else math.nan

    def interval(self, z: float = 1.959964) -> tuple[float, float]:
        """Wilson's score interval of the rate; z = 1.96 gives 95 % (Wilson 1927, doi 10.2307/2276774).

        centre ± half, with p the rate, n the number of tasks:
            centre = (p + z²/2n) / (1 + z²/n),  half = z √(p(1−p)/n + z²/4n²) / (1 + z²/n)
        """
        if not self.tasks:
            return 0.0, 1.0
        n, p = self.tasks, self.rate
        scale = 1 + z * z / n
        centre = (p + z * z / (2 * n)) / scale
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
        # Rounding may leave a rate of 0 or 1 just outside the interval.
        return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


SAMPLES = 3
"""Number of invalid answers shown if none was valid."""


@dataclass(frozen=True)
class Answers:
    """Statistics of an agent's answers."""

    valid_action_rate: float
    """Fraction of the answers that named an admissible command; NaN without answers."""
    invalid: dict[str, int]
    """Number of invalid answers by `InvalidReason`."""
    samples: tuple[str, ...]
    """If no answer was valid, some of them with their reasons."""

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory]) -> Answers:
        """The answers in all steps of these trajectories."""
        steps = [step for trajectory in trajectories for step in trajectory.steps]
        actions = [step.decision.action for step in steps]
        reasons = Counter(str(action.invalid) for action in actions if action.invalid is not None)
        share = 1 - reasons.total() / len(steps) if steps else math.nan
        samples = _samples(trajectories) if reasons.total() == len(steps) else ()
        return cls(share, dict(sorted(reasons.items())), samples)


def _samples(trajectories: Sequence[Trajectory]) -> tuple[str, ...]:
    """Some answers with their places and reasons; from different tasks first, because these differ most."""
    numbered = [(number, t.task.id, step) for t in trajectories for number, step in enumerate(t.steps, 1)]
    numbered.sort(key=lambda answer: answer[0])
    return tuple(
        sample(task, number, str(step.decision.action.invalid), step.decision.completion.answer.transcript)
        for number, task, step in numbered[:SAMPLES]
    )


def sample(place: str, step: int, reason: str, text: str) -> str:
    """One line about an invalid answer.

    Args:
        place: the task or the trajectory.
        step: number of the step, counted from 1.
        reason: an `InvalidReason`.
        text: the agent's answer.
    """
    return f"{place}, step {step}, {reason}: {shortened(text)!r}"


def shortened(text: str, length: int = 400) -> str:
    """A text whose middle is left out if it is longer than `length` characters."""
    return text if len(text) <= length else f"{text[: length // 2]} […] {text[-length // 2 :]}"


def no_valid_answer(who: str, answers: Sequence[Answers]) -> str | None:
    """The warning that none of an agent's answers was valid; None if some were, or if there were none.

    Args:
        who: the agent.
        answers: the answers of all its results.
    """
    samples = [line for a in answers for line in a.samples][:SAMPLES]
    if not samples or any(a.valid_action_rate > 0 for a in answers):
        return None
    return warning_of(who, samples)


def failed_episodes(result: SplitResult | ProtocolResult) -> str | None:
    """How many of a result's episodes failed before their end, and why; None if none did."""
    if not result.failed:
        return None
    kinds = ", ".join(f"{kind} {count}" for kind, count in result.failed.items())
    return (
        f"{result.split}: {sum(result.failed.values())} failed before the end, counted as not won ({kinds})"
        + (f"; the first: {result.first_failure}" if result.first_failure else "")
    )


def no_episode_ended(who: str, results: Sequence[SplitResult | ProtocolResult]) -> str | None:
    """The error that all episodes of an agent failed, so that nothing was measured; None if some did not.

    Args:
        who: the agent.
        results: its results on all splits.
    """
    episodes = sum(result.episodes for result in results)
    if sum(sum(result.failed.values()) for result in results) < episodes:
        return None
    first = next(result.first_failure for result in results if result.failed)
    return f"all {episodes} episodes of {who} failed, so nothing was measured; the first: {first}"


def warning_of(who: str, samples: Sequence[str]) -> str:
    """The warning that none of an agent's answers was valid, with some of them; see `sample`."""
    return "\n".join(
        [
            f"WARNING: no answer of {who} was valid, so nothing can be won or learned. For example:",
            *(f"  {line}" for line in samples),
            "Check that the model fits the response format, its chat template and the length of responses.",
        ]
    )


@dataclass(frozen=True)
class SplitResult:
    """An agent's result on one split with one way of decoding."""

    split: str
    temperature: float
    success: Success
    by_kind: dict[str, Success]
    mean_steps: float
    """Mean number of steps per episode, including those not won."""
    answers: Answers
    """Statistics of the agent's answers."""
    tasks_won: tuple[bool, ...]
    """Whether each task was won, in the split's order."""
    mean_score: float | None
    """Mean score of the tasks, from 0 to 1; None for suites that report none."""
    suite: str
    """Description of the environment (see `describe`)."""
    failed: dict[str, int] = field(default_factory=dict)
    """Number of episodes that stopped early, by kind (see `Failure`); they count as not won."""
    first_failure: str | None = None
    """The message of the first of them."""

    @property
    def episodes(self) -> int:
        """Number of episodes that were begun."""
        return self.success.tasks

    def record(self, iteration: int) -> dict[str, Any]:
        """The result as JSON values, with rate and interval spelled out, after `iteration` iterations."""
        return {
            "iteration": iteration,
            **plain_values(self),
            "success_rate": self.success.rate,
            "interval_95": list(self.success.interval()),
        }


def evaluate_split(
    suite: TaskSuite,
    agent: Agent | PlayingAgent,
    split: str,
    *,
    temperature: float,
    seed: Sequence[int],
    count: int | None = None,
    on_step: Callable[[int, int], None] = lambda finished, live: None,
    timeout: float | None = None,
    processes: ProcessGroup | None = None,
    batching: Batching = "step",
) -> SplitResult:
    """Play each task of a held-out split once, or as often as the agent tries again (see `play`).

    Args:
        suite: the environment.
        agent: the agent that plays.
        split: the split's name.
        temperature: sampling temperature; 0 is greedy.
        seed: seed of sampling.
        count: play only the first `count` tasks; None plays all.
        on_step, timeout, batching: as in `rollout`; a task whose environment fails is not won.
        processes: the processes that share the tasks.
    """
    tasks = tasks_of(suite, split, count)
    trajectories = play(
        suite,
        agent,
        tasks,
        temperature=temperature,
        seed=seed,
        on_step=on_step,
        timeout=timeout,
        processes=processes,
        batching=batching,
    )
    return summarize(split, temperature, trajectories, describe(suite))


def play(
    suite: TaskSuite,
    agent: Agent | PlayingAgent,
    tasks: Sequence[Task],
    *,
    temperature: float,
    seed: Sequence[int],
    on_step: Callable[[int, int], None] = lambda finished, live: None,
    timeout: float | None = None,
    processes: ProcessGroup | None = None,
    batching: Batching = "step",
) -> list[Trajectory]:
    """One trajectory per task: the last one, if the agent reflects and tries failed tasks again.

    Args:
        suite, agent, tasks, temperature, seed, on_step, timeout, batching: as in `rollout`.
        processes: the processes that share the tasks.
    """

    def attempt(agent: Agent | PlayingAgent, numbers: Sequence[int], *trial: int) -> dict[int, Trajectory]:
        tried = distributed_rollout(
            processes or SingleProcess(),
            suite,
            agent,
            [tasks[number] for number in numbers],
            group_size=1,
            temperature=temperature,
            seed=[*seed, *trial],
            on_step=lambda finished, live: on_step(len(tasks) - len(numbers) + finished, live),
            timeout=timeout,
            batching=batching,
        )
        return dict(zip(numbers, tried, strict=True))

    last = attempt(agent, range(len(tasks)))
    if isinstance(agent, ReflectingAgent):
        for trial in range(1, agent.trials):
            failed = [number for number, t in last.items() if not t.won and t.failure is None]
            if not failed:
                break
            agent = agent.reflect([last[number] for number in failed], temperature)
            last.update(attempt(agent, failed, trial))
    return list(last.values())


@dataclass(frozen=True)
class PublishedProtocol:
    """How the paper evaluates: tasks drawn with repetition, under several seeds (arXiv 2602.22817)."""

    seeds: int = 3
    draws: int = 512
    temperature: float = 0.4


@dataclass(frozen=True)
class ProtocolResult:
    """Success on one split under the published protocol."""

    split: str
    rates: tuple[float, ...]
    """Fraction of draws won under each seed."""
    scores: tuple[float, ...] | None
    """Mean score of the draws under each seed, from 0 to 1; None for suites that report none."""
    answers: Answers
    """Statistics of the agent's answers under all seeds."""
    suite: str
    """Description of the environment (see `describe`)."""
    episodes: int
    """Number of draws under all seeds."""
    failed: dict[str, int] = field(default_factory=dict)
    """Number of draws that stopped early, by kind (see `Failure`); they count as not won."""
    first_failure: str | None = None
    """The message of the first of them."""


def plain_values(result: SplitResult | ProtocolResult) -> dict[str, Any]:
    """A result's fields as JSON values, including those of its answers except the samples.

    NaN, which JSON does not have, becomes None.
    """
    values = asdict(result)
    answers = values.pop("answers")
    del answers["samples"]
    named = {**values, **answers}.items()
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in named}


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and Bessel's standard deviation over the seeds; the latter is NaN for a single seed."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def evaluate_published(
    suite: TaskSuite,
    agent: Agent | PlayingAgent,
    split: str,
    protocol: PublishedProtocol,
    seed: Sequence[int],
    on_step: Callable[[int, int], None] = lambda finished, live: None,
) -> ProtocolResult:
    """Play tasks of a split drawn with repetition, as in the paper's evaluation.

    Args:
        suite, agent, split, on_step: as in `evaluate_split`.
        protocol: number of seeds and draws, and the temperature.
        seed: seed of the draws and of sampling.
    """
    tasks = tasks_of(suite, split)
    rates, scores = [], []
    played: list[Trajectory] = []
    for number in range(protocol.seeds):
        drawn = np.random.default_rng([*seed, number]).integers(len(tasks), size=protocol.draws)
        trajectories = play(
            suite,
            agent,
            [tasks[i] for i in drawn],
            temperature=protocol.temperature,
            seed=[*seed, number],
            on_step=on_step,
        )
        rates.append(_success(trajectories).rate)
        scores.append(mean_score(trajectories))
        played += trajectories
    measured = tuple(score for score in scores if score is not None)
    return ProtocolResult(
        split=split,
        rates=tuple(rates),
        scores=measured or None,
        answers=Answers.of(played),
        suite=describe(suite),
        episodes=len(played),
        failed=_failed(played),
        first_failure=_first_failure(played),
    )


def summarize(split: str, temperature: float, trajectories: Sequence[Trajectory], suite: str) -> SplitResult:
    """The result of these trajectories, one per task; `suite` describes the environment (see `describe`)."""
    kinds = sorted({trajectory.task.kind for trajectory in trajectories})
    steps = sum(len(trajectory.steps) for trajectory in trajectories)
    return SplitResult(
        split=split,
        temperature=temperature,
        success=_success(trajectories),
        by_kind={kind: _success([t for t in trajectories if t.task.kind == kind]) for kind in kinds},
        mean_steps=steps / len(trajectories) if trajectories else math.nan,
        answers=Answers.of(trajectories),
        tasks_won=tuple(trajectory.won for trajectory in trajectories),
        mean_score=mean_score(trajectories),
        suite=suite,
        failed=_failed(trajectories),
        first_failure=_first_failure(trajectories),
    )


def _failed(trajectories: Sequence[Trajectory]) -> dict[str, int]:
    return dict(Counter(t.failure.kind for t in trajectories if t.failure is not None))


def _first_failure(trajectories: Sequence[Trajectory]) -> str | None:
    return next((str(t.failure) for t in trajectories if t.failure is not None), None)


def _success(trajectories: Sequence[Trajectory]) -> Success:
    return Success(sum(trajectory.won for trajectory in trajectories), len(trajectories))
