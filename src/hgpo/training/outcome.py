"""The warning at the end of a run whose agent does worse than before it, with the likely cause."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SHARE = 0.1
"""Fraction of a run's iterations, at its start and at its end, over which metrics are averaged."""


@dataclass(frozen=True)
class Cause:
    """A possible reason why a run failed to learn, indicated by one metric."""

    metric: str
    """Its name in metrics.jsonl."""
    shown_by: Callable[[float, float], bool]
    """Whether it applies, given the metric's means over the first and over the last iterations."""
    meaning: str
    """What this says about the run."""
    advice: str
    """What may help."""


CAUSES = (
    Cause(
        "skipped_steps",
        lambda first, last: last > 0,
        "optimizer steps had no finite gradient",
        "a lower --learning-rate may help",
    ),
    Cause(
        "valid_action_rate",
        lambda first, last: last < first - 0.1,
        "fewer answers are valid",
        "a lower --learning-rate or a larger --estimator.invalid-penalty may help",
    ),
    Cause(
        "success_rate",
        lambda first, last: last < 0.5 * first,
        "it wins fewer training tasks, too",
        "a lower --learning-rate or a larger --loss.kl-coefficient may help",
    ),
    Cause(
        "zero_advantage_fraction",
        lambda first, last: last > 0.9,
        "most rollouts of a task end alike, so there is little to learn from",
        "a longer warm start, more --tasks-per-iteration or a larger --group-size may help",
    ),
    Cause(
        "entropy",
        lambda first, last: last < 0.2 * first,
        "the policy hardly tries anything new",
        "a larger --loss.entropy-coefficient may help",
    ),
    Cause(
        "entropy",
        lambda first, last: last > 1.5 * first,
        "the policy has become more random",
        "a smaller --loss.entropy-coefficient or --learning-rate may help",
    ),
    Cause(
        "clip_fraction",
        lambda first, last: last > 0.2,
        "updates are large",
        "a lower --learning-rate may help",
    ),
    Cause(
        "success_rate",
        lambda first, last: last > first + 0.05,
        "it wins more training tasks, but what it learned does not carry over",
        "more --tasks-per-iteration may help",
    ),
)
"""The possible causes, the most likely ones first."""
NO_CAUSE = "no metric stands out; the run may have been too short, or the difference may be chance"


def worse_than_start(
    evaluations: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, float]]
) -> str | None:
    """A warning if the run's greedy agent wins fewer held-out tasks than before the first iteration.

    Args:
        evaluations: the run's records of evaluations.jsonl.
        metrics: the run's records of metrics.jsonl.

    Returns:
        None if it wins at least as many, or if no iteration has been done.
    """
    greedy = [record for record in evaluations if record["temperature"] == 0]
    last = max((record["iteration"] for record in greedy), default=0)
    if last == 0 or not metrics:
        return None
    before, after = (
        _rate([record["success"] for record in greedy if record["iteration"] == iteration])
        for iteration in (0, last)
    )
    if not after < before:
        return None
    return (
        f"WARNING: the agent does worse than before reinforcement learning: it wins {after:.1%} of the "
        f"held-out tasks (greedy), and won {before:.1%}. Likely cause: {_likely_cause(metrics)}"
    )


def _likely_cause(metrics: Sequence[Mapping[str, float]]) -> str:
    count = max(1, round(SHARE * len(metrics)))
    for cause in CAUSES:
        # Metrics that were not measured are nan, for which no cause applies.
        values = [record.get(cause.metric, math.nan) for record in metrics]
        first, last = float(np.mean(values[:count])), float(np.mean(values[-count:]))
        if cause.shown_by(first, last):
            return f"{cause.meaning} ({cause.metric} {first:.2g} → {last:.2g}); {cause.advice}"
    return NO_CAUSE


def _rate(successes: Sequence[Mapping[str, int]]) -> float:
    """Fraction of the tasks of all splits that were won; nan without tasks."""
    tasks = sum(success["tasks"] for success in successes)
    return sum(success["won"] for success in successes) / tasks if tasks else math.nan
