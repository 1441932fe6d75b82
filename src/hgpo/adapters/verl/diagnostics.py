"""Metrics of a batch's rollouts and groups, reported under `hgpo/`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hgpo.adapters.verl.rows import StepRow
from hgpo.analysis.groups import depth_statistics, level_statistics
from hgpo.estimators import HGPO, Estimator
from hgpo.rollouts.evaluate import SAMPLES, sample, warning_of
from hgpo.steps import StepTable
from hgpo.training.metrics import advantage_metrics, step_metrics


def diagnostics(
    rows: Sequence[StepRow],
    steps: StepTable,
    advantages: NDArray[np.float64],
    estimator: Estimator,
    *,
    tried: int,
) -> dict[str, float]:
    """Every metric by its name; docs/metrics.md and docs/verl.md have the formulas.

    Args:
        rows: the batch's steps.
        steps: the same steps as a table, with the rewards that the estimator received.
        advantages: one per step.
        estimator: the one that computed the advantages.
        tried: number of trajectories that were started; those without a row were dropped.
    """
    figures = {**_trajectories(rows, tried), **step_metrics(steps), **advantage_metrics(advantages)}
    for level in level_statistics(steps, estimator.comparison(steps)):
        figures |= {
            f"peer_fraction_{level.name}": level.peer_fraction,
            f"other_trajectory_fraction_{level.name}": level.other_trajectory_fraction,
            f"groups_{level.name}": level.groups,
            f"group_size_median_{level.name}": level.sizes[0],
            f"explained_{level.name}": level.explained,
        }
    if isinstance(estimator, HGPO):
        for number, depth in enumerate(depth_statistics(steps, estimator)):
            figures |= {
                f"level_advantage_mean_{number}": depth.advantage_mean,
                f"level_zero_share_{number}": depth.zero_share,
            }
    return {f"hgpo/{name}": float(value) for name, value in figures.items()}


def no_valid_answer(rows: Sequence[StepRow], texts: Sequence[str]) -> str:
    """The warning that none of a batch's answers was valid, with the answers of the first steps.

    Args:
        rows: the batch's steps.
        texts: the model's answer in each step.
    """
    first = sorted(zip(rows, texts, strict=True), key=lambda answer: answer[0].step)[:SAMPLES]
    return warning_of(
        "the batch", [sample(row.trajectory, row.step + 1, row.invalid_reason, text) for row, text in first]
    )


def _trajectories(rows: Sequence[StepRow], tried: int) -> dict[str, float]:
    last = {row.trajectory: row for row in sorted(rows, key=lambda row: row.step)}.values()
    scores = [row.score for row in last if row.score is not None]
    return {
        "success_rate": float(np.mean([row.won for row in last])),
        **({"score_mean": float(np.mean(scores))} if scores else {}),
        "return_mean": float(np.mean([row.total for row in last])),
        "steps_mean": len(rows) / len(last),
        "environment_steps": len(rows),
        "dropped_trajectories": tried - len(last),
        "restarted_trajectories": sum(row.restarts > 0 for row in last),
    }
