"""The step in each row of verl's batch, and the step table made from these rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.errors import SettingError
from hgpo.rollouts.episodes import STEP_COLUMNS
from hgpo.steps import StepTable

FIELD = "hgpo"
"""The name of the step in a row's `extra_fields`."""


@dataclass(frozen=True)
class StepRow:
    """A step that is stored with its row, because verl gives every row of a trajectory the same score."""

    task: str
    """verl's uid of the prompt; a task that is drawn twice counts as two tasks."""
    trajectory: str
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
    """The trajectory's return: verl's score of each of its rows."""
    won: bool
    """Whether the trajectory achieved the task."""
    score: float | None
    """Final score of the task from 0 to 1, in environments that report one."""
    restarts: int
    """Number of times that the trajectory was restarted."""
    invalid_reason: str = ""
    """Why the answer is not a valid action, as an `InvalidReason`; empty if it is valid."""
    state_keys: Mapping[str, Any] = field(default_factory=dict)
    """Additional keys of the state before the action, by name."""

    def as_field(self) -> dict[str, Any]:
        """The step as plain values, for `extra_fields`."""
        return {FIELD: {column.name: getattr(self, column.name) for column in fields(self)}}


def step_rows(
    extra_fields: Sequence[Mapping[str, Any]], uids: Sequence[Any]
) -> tuple[list[StepRow], NDArray[np.int64]]:
    """The steps of a batch, and the index of each step's row.

    A padding row is a copy of a real row with a different uid. It is left out, because its step belongs to
    the real row.

    Args:
        extra_fields: the extra fields of each row, from the agent loop.
        uids: verl's identifier of each row's prompt.

    Raises:
        SettingError: if a row has no step.
    """
    steps, places = [], []
    for place, (extra, uid) in enumerate(zip(extra_fields, uids, strict=True)):
        if FIELD not in extra:
            raise SettingError(
                f"row {place} of the batch has no step: estimators of hgpo need rows of its agent loop, "
                "actor_rollout_ref.rollout.agent.default_agent_loop=hgpo"
            )
        step = StepRow(**_with_tuples(extra[FIELD]))
        if step.task == uid:
            steps.append(step)
            places.append(place)
    return steps, np.array(places, dtype=np.int64)


def _with_tuples(values: Any) -> Any:
    """The values with tuples instead of lists: verl's queue turns tuples into lists, which cannot be keys."""
    if isinstance(values, Mapping):
        return {name: _with_tuples(value) for name, value in values.items()}
    return tuple(map(_with_tuples, values)) if isinstance(values, list | tuple) else values


def step_table(rows: Sequence[StepRow], **columns: Any) -> StepTable:
    """The steps as a table, in the order of `rows`.

    Args:
        rows: the steps.
        columns: additional columns of the table by name, such as prompt_tokens, in the same order.
    """
    return StepTable(
        task_id=[row.task for row in rows],
        trajectory_id=[row.trajectory for row in rows],
        step_index=[row.step for row in rows],
        **{name: [getattr(row, name) for row in rows] for name in STEP_COLUMNS},
        **columns,
    )
