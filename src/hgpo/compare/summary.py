"""Results of a comparison: success rates and differences with intervals, and the steps to reach a goal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.intervals import (
    Interval,
    bootstrap,
    interquartile_mean,
    probability_of_improvement,
)
from hgpo.compare.plan import Plan
from hgpo.compare.runs import run_folder
from hgpo.runs.folder import RunLog
from hgpo.training.config import TrainConfig, mini_batches_of

WINDOW = 10
"""Number of iterations over which training success is averaged, because one iteration has few tasks."""
GOALS = (0.5, 0.8)


@dataclass(frozen=True)
class MethodSummary:
    """Results of one arm on one split, with greedy decoding, after the last iteration."""

    method: str
    """The arm: a method, or METHOD+LOSS."""
    split: str
    success: Interval
    difference: Interval | None
    """Success rate minus the reference's, on the same seeds and tasks; None for the reference itself."""
    interquartile_mean: float
    """Interquartile mean of the seeds' success rates."""
    improvement: Interval | None
    """Probability that a run has a higher success rate than one of the reference; None for the reference."""
    steps_to: tuple[float, ...]
    """For each of `GOALS`: the environment steps until the success rate of training rollouts, averaged over
    10 iterations, reaches the goal. Median over the seeds; ∞ if half of the seeds or more never reach it."""
    environment_steps: float
    """Environment steps taken in training, mean over the seeds."""
    optimizer_steps: float
    """Optimizer steps taken in training, mean over the seeds."""


def summarize(plan: Plan, folder: Path) -> list[MethodSummary]:
    """Summarize all arms on all splits, over the seeds that all arms have finished.

    Args:
        plan: the comparison.
        folder: the comparison's folder, in which its runs lie.
    """
    seeds = finished_seeds(plan, folder)
    if not seeds:
        return []
    summaries = []
    for split in plan.settings.env.splits[1:]:
        won = {arm: outcomes(plan, folder, arm, split, seeds) for arm in plan.arms}
        rates = {arm: tasks.mean(axis=1) for arm, tasks in won.items()}
        for arm in plan.arms:
            reference = plan.reference_of(arm)
            logs = [RunLog(run_folder(folder, arm, seed)).read_metrics() for seed in seeds]
            summaries.append(
                MethodSummary(
                    method=arm,
                    split=split,
                    success=bootstrap(won[arm]),
                    difference=None if arm == reference else bootstrap(won[arm] - won[reference]),
                    interquartile_mean=interquartile_mean(rates[arm]),
                    improvement=(
                        None if arm == reference else probability_of_improvement(rates[arm], rates[reference])
                    ),
                    steps_to=tuple(float(np.median([steps_to(log, goal) for log in logs])) for goal in GOALS),
                    environment_steps=float(
                        np.mean([sum(record["environment_steps"] for record in log) for log in logs])
                    ),
                    optimizer_steps=float(np.mean([optimizer_steps(plan.settings, log) for log in logs])),
                )
            )
    return summaries


def finished_seeds(plan: Plan, folder: Path) -> list[int]:
    """The seeds whose runs are finished for every arm."""
    return [
        seed
        for seed in range(plan.seeds)
        if all((run_folder(folder, arm, seed) / "finished").exists() for arm in plan.arms)
    ]


def suites_played(plan: Plan, folder: Path, seeds: Sequence[int]) -> str:
    """The tasks on which the runs with these seeds were evaluated, in one line."""
    logs = (RunLog(run_folder(folder, arm, seed)) for arm in plan.arms for seed in seeds)
    records = (record for log in logs for record in log.read_evaluations())
    # Results of older versions do not name the suite.
    name = plan.settings.env.name
    return "; ".join(dict.fromkeys(record.get("suite", name) for record in records))


def outcomes(plan: Plan, folder: Path, arm: str, split: str, seeds: Sequence[int]) -> NDArray[np.float64]:
    """Whether each task of a split was won by greedy decoding after training, [seeds, tasks]."""
    rows = []
    for seed in seeds:
        records = RunLog(run_folder(folder, arm, seed)).read_evaluations()
        last = [r for r in records if r["split"] == split and r["temperature"] == 0][-1]
        rows.append(last["tasks_won"])
    return np.array(rows, np.float64)


def optimizer_steps(settings: TrainConfig, metrics: Sequence[dict]) -> int:
    """Number of optimizer steps of a run; the planned number for iterations whose log does not give it."""
    return sum(
        record["optimizer_steps_taken"]
        if "optimizer_steps_taken" in record
        else settings.ppo_epochs * mini_batches_of(settings, record["environment_steps"])
        for record in metrics
    )


def steps_to(metrics: Sequence[dict], goal: float) -> float:
    """Environment steps until the success rate, averaged over 10 iterations, reaches `goal`, or ∞."""
    steps = 0
    rates: list[float] = []
    for record in metrics:
        steps += record["environment_steps"]
        rates = [*rates[-(WINDOW - 1) :], record["success_rate"]]
        if len(rates) == WINDOW and sum(rates) / WINDOW >= goal:
            return float(steps)
    return math.inf
