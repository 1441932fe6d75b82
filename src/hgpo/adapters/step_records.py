"""From records of steps to advantages and diagnostics: the part that adapters to all training stacks share.

It needs only numpy. An adapter converts its stack's batch to records, one per row, and the advantages back.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.groups import depth_statistics, level_statistics
from hgpo.envs.episode import Transition
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS, HGPO, CriticEstimator, Estimator
from hgpo.estimators.depth import as_deep_as_shown
from hgpo.registry import create
from hgpo.rollouts.episodes import STEP_COLUMNS
from hgpo.rollouts.evaluate import SAMPLES, sample, warning_of
from hgpo.steps import StepTable
from hgpo.training.metrics import advantage_metrics, step_metrics


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """A step, with what is known of its whole trajectory."""

    task: Hashable
    """Identifier of the group of rollouts that the trajectory is compared with; a task that is drawn twice
    counts as two tasks."""
    trajectory: Hashable
    """Identifier of the rollout, unique in the batch."""
    step: int
    """The step's number in the trajectory, counted from 0."""
    state_key: Any
    """Key of the state before the action."""
    observation: str
    action: str
    action_valid: bool
    reward: float
    """Reward of this step only."""
    terminated: bool
    truncated: bool
    total: float
    """The trajectory's return, not discounted."""
    won: bool
    """Whether the trajectory achieved the task."""
    score: float | None
    """Final score of the task from 0 to 1, in environments that report one."""
    invalid_reason: str = ""
    """Why the answer is not a valid action, as an `InvalidReason`; empty if it is valid."""
    state_keys: Mapping[str, Any] = field(default_factory=dict)
    """Additional keys of the state before the action, by name."""


def episode_records(
    steps: Sequence[Transition[Any]], *, task: Hashable, trajectory: Hashable
) -> list[StepRecord]:
    """The records of a complete episode, in the order of its steps.

    Args:
        steps: at least one; each has a `Decision`.
        task, trajectory: see `StepRecord`.
    """
    end, total = steps[-1].after.info, sum(step.after.reward for step in steps)
    return [
        StepRecord(
            task=task,
            trajectory=trajectory,
            step=number,
            total=total,
            won=end.won,
            score=end.score,
            **{name: of(step) for name, of in STEP_COLUMNS.items()},
        )
        for number, step in enumerate(steps)
    ]


def step_table(records: Sequence[StepRecord], **columns: Any) -> StepTable:
    """The steps as a table, in the order of the records.

    Args:
        records: the steps.
        columns: additional columns of the table by name, such as prompt_tokens, in the same order.
    """
    return StepTable(
        task_id=[record.task for record in records],
        trajectory_id=[record.trajectory for record in records],
        step_index=[record.step for record in records],
        **{name: [getattr(record, name) for record in records] for name in STEP_COLUMNS},
        **columns,
    )


def step_advantages(
    records: Sequence[Mapping[str, Any] | None], estimator: str | Estimator = "hgpo", **settings: Any
) -> NDArray[np.float64]:
    """The advantage of each step, in the order of the records.

        advantages = step_advantages(records, "hbc", discount=0.95)

    Args:
        records: One mapping per row with `task_id`, `trajectory_id`, `step_index`, `state_key` and `reward`,
            and any other column of `StepTable`, such as `action` and `action_valid`, in every row or in none.
            None is a padding row: it is in no group and gets 0.
        estimator: A name in `ESTIMATORS`, the MODULE:CLASS of your own estimator, or an estimator object.
        settings: the settings of an estimator that is given by name.

    Returns:
        Shape (records,), float64.

    Raises:
        ValueError: if there is no estimator of that name, or a setting or a record is not valid.
        TypeError: if settings are given with an estimator object.
    """
    rows = [row for row, record in enumerate(records) if record is not None]
    advantages = np.zeros(len(records))
    advantages[rows] = estimator_of(estimator, settings)(
        StepTable.from_rows([record for record in records if record is not None])
    )
    return advantages


def estimator_of(estimator: str | Estimator, settings: Mapping[str, Any]) -> Estimator:
    """The estimator that is given by name, MODULE:CLASS or FILE.py:CLASS with settings, or as an object.

    Raises:
        SettingError: if there is no estimator of that name, or a setting is unknown or invalid.
        TypeError: if settings are given with an estimator object.
    """
    if isinstance(estimator, str):
        return create(ESTIMATORS.find(estimator, "estimator"), settings, "estimator")
    if settings:
        raise TypeError(
            f"{', '.join(settings)}: give settings only with the name of an estimator; {estimator!r} has its "
            "own"
        )
    return estimator


def shown_estimator(
    name: str, settings: Mapping[str, Any], prompt_history: int | None, *, stack: str
) -> Estimator:
    """The estimator with this name and settings, as deep as the prompt shows unless settings say otherwise.

    Args:
        name: as in `estimator_of`.
        settings: its settings by name.
        prompt_history: number of past steps that a prompt shows; None if it is not known.
        stack: the training stack, for the message.

    Raises:
        SettingError: as in `estimator_of`, or if the estimator needs a critic.
    """
    estimator = estimator_of(name, settings)
    if isinstance(estimator, CriticEstimator):
        raise SettingError(f"estimator {name} needs a critic, which {stack} does not train")
    if prompt_history is None or "history_length" in settings:
        return estimator
    return as_deep_as_shown(estimator, prompt_history)


def diagnostics(
    records: Sequence[StepRecord],
    steps: StepTable,
    advantages: NDArray[np.float64],
    estimator: Estimator,
    *,
    tried: int,
) -> dict[str, float]:
    """Every metric of a batch by its name; docs/metrics.md and docs/verl.md have the formulas.

    Args:
        records: the batch's steps, without padding.
        steps: the same steps as a table, with the rewards that the estimator received.
        advantages: one per step.
        estimator: the one that computed the advantages.
        tried: number of trajectories that were started; those without a record were dropped.
    """
    figures = {
        **_trajectory_metrics(records, tried),
        **step_metrics(steps),
        **step_diagnostics(steps, advantages, estimator),
    }
    return {name: float(value) for name, value in figures.items()}


def step_diagnostics(
    steps: StepTable, advantages: NDArray[np.float64], estimator: Estimator
) -> dict[str, float]:
    """The metrics of the advantages and of the groups that they come from; arguments as in `diagnostics`."""
    figures = advantage_metrics(advantages)
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
    return figures


def _trajectory_metrics(records: Sequence[StepRecord], tried: int) -> dict[str, float]:
    last = {record.trajectory: record for record in sorted(records, key=lambda record: record.step)}.values()
    scores = [record.score for record in last if record.score is not None]
    return {
        "success_rate": float(np.mean([record.won for record in last])),
        **({"score_mean": float(np.mean(scores))} if scores else {}),
        "return_mean": float(np.mean([record.total for record in last])),
        "steps_mean": len(records) / len(last),
        "environment_steps": len(records),
        "dropped_trajectories": tried - len(last),
    }


def no_valid_answer(records: Sequence[StepRecord], texts: Sequence[str]) -> str:
    """The warning that none of a batch's answers was valid, with the answers of the first steps.

    Args:
        records: the batch's steps.
        texts: the model's answer in each step.
    """
    first = sorted(zip(records, texts, strict=True), key=lambda answer: answer[0].step)[:SAMPLES]
    return warning_of(
        "the batch",
        [sample(str(each.trajectory), each.step + 1, each.invalid_reason, text) for each, text in first],
    )
