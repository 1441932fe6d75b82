"""Rollouts that the tests of files write in many formats, and the expected results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

# Two tasks, two rollouts each of two steps; one rollout of each task wins, by 10 or by 1. The states are the
# same in both tasks.
ROWS: list[dict[str, Any]] = [
    {
        "task_id": task,
        "trajectory_id": f"{task}/{member}",
        "step_index": step,
        "state_key": f"room {step}",
        "reward": prize * (member == 0) * step,
    }
    for task, prize in (("easy", 10.0), ("hard", 1.0))
    for member in range(2)
    for step in range(2)
]
COLUMNS: dict[str, list[Any]] = {name: [row[name] for row in ROWS] for name in ROWS[0]}

# At both states the two rollouts of a task have the returns γ·prize and 0, then prize and 0. Each is a standard
# deviation away from their mean, so the winner's advantages are 1 and the other's −1 (ε takes off a millionth).
ADVANTAGES = [1.0, 1.0, -1.0, -1.0] * 2


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def with_column(name: str, values: Sequence[Any]) -> str:
    """The rows as JSON lines with one column replaced or added."""
    return lines([{**row, name: value} for row, value in zip(ROWS, values, strict=True)])


def write_parquet(path: Path, **columns: Any) -> Path:
    """The rows as Parquet with columns replaced or added."""
    pyarrow.parquet.write_table(pyarrow.table({**COLUMNS, **columns}), path)
    return path


def numbered(name: str) -> list[int]:
    """A column's values as integers from 0, equal where they are equal."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(COLUMNS[name]))}
    return [numbers[value] for value in COLUMNS[name]]
