"""What a row of verl's batch says of its step, and the step table that these rows make."""

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
"""The name under which a row's `extra_fields` carry its step."""


@dataclass(frozen=True)
class StepRow:
    """A step, as it travels with its row: verl gives every row of a trajectory the same score."""

    task: str
    """verl's uid of the prompt: a task drawn twice is two tasks."""
    trajectory: str
    """Which rollout of the task it is, unique among all."""
    step: int
    """Its number in the trajectory, counted from 0."""
    state_key: Any
    """Of the state before the action."""
    observation: str
    action: str
    action_valid: bool
    reward: float
    """Of this step alone."""
    terminated: bool
    truncated: bool
    total: float
    """The trajectory's return: verl's score of each of its rows."""
    won: bool
    """Whether the trajectory has achieved the task in the end."""
    score: float | None
    """How well it has done so in the end, from 0 to 1, in games that measure it."""
    restarts: int
    """How often the trajectory had to be started again."""
    invalid_reason: str = ""
    """Why the answer is no valid action, an `InvalidReason`; empty where it is one."""
    state_keys: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the state before the action, by name."""

    def as_field(self) -> dict[str, Any]:
        """The step as plain values, for `extra_fields`."""
        return {FIELD: {column.name: getattr(self, column.name) for column in fields(self)}}


def step_rows(
    extra_fields: Sequence[Mapping[str, Any]], uids: Sequence[Any]
) -> tuple[list[StepRow], NDArray[np.int64]]:
    """The steps of a batch, and the places of their rows in it.

    A padding row is a copy of a real one under a uid of its own: it is left out, as its step belongs to
    another row.

    Args:
        extra_fields: of each row, as the agent loop made them.
        uids: of each row, what verl calls its prompt.

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
    """The values with tuples for lists: verl's queue passes tuples on as lists, which are no keys."""
    if isinstance(values, Mapping):
        return {name: _with_tuples(value) for name, value in values.items()}
    return tuple(map(_with_tuples, values)) if isinstance(values, list | tuple) else values


def step_table(rows: Sequence[StepRow], **columns: Any) -> StepTable:
    """The steps as a table, in the order of `rows`.

    Args:
        rows: the steps.
        columns: further columns of the table by name, such as prompt_tokens, in the same order.
    """
    return StepTable(
        task_id=[row.task for row in rows],
        trajectory_id=[row.trajectory for row in rows],
        step_index=[row.step for row in rows],
        **{name: [getattr(row, name) for row in rows] for name in STEP_COLUMNS},
        **columns,
    )
