"""The step in each row of verl's batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.adapters.step_records import StepRecord
from hgpo.errors import SettingError

FIELD = "hgpo"
"""The name of the step in a row's `extra_fields`."""


@dataclass(frozen=True, kw_only=True)
class StepRow(StepRecord):
    """A step that is stored with its row, because verl gives every row of a trajectory the same score.

    The task is verl's uid of the prompt, and `total` is verl's score of each row of the trajectory.
    """

    restarts: int
    """Number of times that the trajectory was restarted."""

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
