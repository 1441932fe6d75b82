"""Reads rollouts for people to look at: with fewer required columns, and texts only of the rows on screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.columns import objects
from hgpo.errors import SettingError
from hgpo.keys import factorize
from hgpo.rollout_files.columns import DETAILS, TOKENS, Values, is_key, is_read, table_column
from hgpo.rollout_files.places import Part
from hgpo.rollout_files.reading import ReadPart, has_no, joined, read_part, step_table
from hgpo.steps import StepTable

LONG = (*TOKENS, "prompt", "response")
"""Columns that are read only for the rows on screen."""


@dataclass(frozen=True, eq=False)
class ShownRollouts:
    """The rollouts of one iteration in one file, without their prompts and responses."""

    iteration: int | None
    """From the column of this name; None if the file has none."""
    steps: StepTable
    details: Mapping[str, NDArray[Any]]
    """The columns of `DETAILS` that the file has, except prompts and responses, with one value per row."""
    rows: NDArray[np.int64]
    """The number of each row in the file."""


def iterations_of(part: Part, rename: Mapping[str, str]) -> list[int | None]:
    """The iterations whose rollouts are in a file, ascending; [None] if it has no column "iteration"."""
    column = read_part(part, rename, "iteration".__eq__).columns.get("iteration")
    if column is None:
        return [None]
    return np.unique(np.asarray(table_column("iteration", column))).tolist()


def read_shown(part: Part, rename: Mapping[str, str]) -> list[ShownRollouts]:
    """The rollouts in one file, by iteration.

    Columns that a step table needs are derived where they are missing. The task is then the prompt, or the
    observation; each row is a rollout of its own; the steps of a rollout come in the order of the rows; and
    the state is the observation, or the task.

    Args:
        part: the file.
        rename: see `read_rollouts`.

    Raises:
        SettingError: the file cannot be read, has no rows, or has neither a task nor a prompt, or no reward.
    """
    read = read_part(part, rename, lambda name: name not in LONG and (is_read(name) or name in DETAILS))
    if not read.rows:
        raise SettingError(f"{part.path} holds no steps")
    columns = joined(part.path, [read])
    if "task_id" not in columns:
        columns |= joined(part.path, [read_part(part, rename, "prompt".__eq__)])
    _complete(part, columns, read)
    details = {
        name: objects(name, column) if is_key(name) else np.asarray(column)
        for name in DETAILS
        if (column := columns.pop(name, None)) is not None
    }
    iteration = details.pop("iteration", None)
    if iteration is None:
        steps = step_table(part.path, columns, rename, 1)
        return [ShownRollouts(None, steps, details, np.arange(read.rows))]
    arrays = {name: objects(name, values) for name, values in columns.items()}
    found = []
    for number in np.unique(iteration).tolist():
        rows = np.flatnonzero(iteration == number)
        steps = step_table(part.path, {name: array[rows] for name, array in arrays.items()}, rename, 1)
        of_rows = {name: detail[rows] for name, detail in details.items()}
        found.append(ShownRollouts(number, steps, of_rows, rows))
    return found


def read_long(part: Part, rename: Mapping[str, str], rows: NDArray[np.int64]) -> dict[str, Values]:
    """The columns of `LONG` that a file has, for some of its rows, ascending.

    Raises:
        SettingError: the file cannot be read.
    """
    return read_part(part, rename, LONG.__contains__, rows).columns


def _complete(part: Part, columns: dict[str, Values], read: ReadPart) -> None:
    text = next((columns[name] for name in ("prompt", "observation") if name in columns), None)
    if "task_id" not in columns:
        if text is None:
            raise SettingError(
                f"{part.path} {has_no('task_id', read)}, or its prompt: --rename THEIRS=prompt"
            )
        columns["task_id"] = text
    if "reward" not in columns:
        raise SettingError(f"{part.path} {has_no('reward', read)}")
    if "trajectory_id" not in columns:
        if "step_index" in columns:
            raise SettingError(f"{part.path} {has_no('trajectory_id', read)}")
        columns["trajectory_id"] = list(range(read.rows))
    if "step_index" not in columns:
        columns["step_index"] = _order(factorize(columns["trajectory_id"], "trajectory_id"))
    if "state_key" not in columns:
        columns["state_key"] = columns.get("observation", columns["task_id"])


def _order(trajectory: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of earlier rows of each row's trajectory."""
    by_trajectory = np.argsort(trajectory, kind="stable")
    ordered = trajectory[by_trajectory]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    starts = np.maximum.accumulate(np.where(first, np.arange(len(ordered)), 0))
    number = np.empty(len(ordered), np.int64)
    number[by_trajectory] = np.arange(len(ordered)) - starts
    return number
