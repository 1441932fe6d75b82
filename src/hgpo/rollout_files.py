"""Rollouts in files: Parquet or JSON lines, one row a step. docs/rollout-files.md describes the columns."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.errors import SettingError
from hgpo.steps import StepTable

COLUMNS = tuple(column.name for column in fields(StepTable) if column.init)
"""The columns that are read into a step table."""
KEY_PREFIX = "state_key_"
"""Columns so named hold further state keys, to be set beside the one in use."""
SUFFIXES = (".parquet", ".jsonl")


@dataclass(frozen=True)
class Rollouts:
    """What a file holds."""

    steps: StepTable
    """Its steps, under the file's `state_key`."""
    state_keys: dict[str, NDArray[Any]]
    """Every state key by name, the one in use first; each has one value a row."""
    ignored: tuple[str, ...]
    """Columns that mean nothing here."""


def read_rollouts(path: Path, rename: Mapping[str, str] | None = None) -> Rollouts:
    """Read a file of rollouts.

    A file without `state_key` is grouped by `observation`, as in the paper.

    Args:
        path: A .parquet or .jsonl file.
        rename: The names that other programs give to columns, each with ours.

    Raises:
        SettingError: The file is missing, of another kind, damaged, lacks a column or holds wrong values;
            the message says what to do.
    """
    if not path.is_file():
        raise SettingError(f"no file {path}")
    columns = _read_parquet(path) if _suffix(path) == ".parquet" else _read_json_lines(path)
    for theirs, ours in (rename or {}).items():
        if theirs not in columns:
            raise SettingError(f"{path} has no column {theirs!r} to rename; it has {', '.join(columns)}")
        columns[ours] = columns.pop(theirs)
    if "state_key" not in columns and "observation" in columns:
        columns["state_key"] = columns["observation"]
    if missing := [name for name in COLUMNS[:5] if name not in columns]:
        raise SettingError(
            f"{path} has no column {missing[0]!r}; it has {', '.join(columns)}. If one of them is it, "
            f"say so: --rename THEIRS={missing[0]}"
        )
    known = {name: columns[name] for name in COLUMNS if name in columns}
    try:
        steps = StepTable(**known)
    except (ValueError, TypeError) as error:
        raise SettingError(f"{path}: {error}") from None
    keys = {"state_key": steps.state_key}
    if steps.observation is not None:
        keys["observation"] = steps.observation
    for name in columns:
        if name.startswith(KEY_PREFIX):
            keys[name.removeprefix(KEY_PREFIX)] = np.fromiter(columns[name], object, len(steps))
    ignored = tuple(name for name in columns if name not in known and not name.startswith(KEY_PREFIX))
    return Rollouts(steps, keys, ignored)


def write_rollouts(
    path: Path,
    steps: StepTable,
    state_keys: Mapping[str, Sequence[Any]] | None = None,
    *,
    logprob_step: float | None = None,
) -> None:
    """Write steps so that `read_rollouts` finds them.

    Keys and ids that are neither texts nor integers are written as numbers, equal where they are equal.

    Args:
        path: A .parquet or .jsonl file.
        steps: What is written.
        state_keys: Further keys by name, each with one a row.
        logprob_step: Round log-probabilities to multiples of it, in nats: their last digits are noise that
            no compression makes smaller. None keeps them.
    """
    columns: dict[str, Any] = {
        name: column for name in COLUMNS if (column := getattr(steps, name)) is not None
    }
    if logprob_step is not None and steps.response_logprobs is not None:
        columns["response_logprobs"] = tuple(
            np.round(row / logprob_step) * logprob_step for row in steps.response_logprobs
        )
    for name, keys in (state_keys or {}).items():
        columns[KEY_PREFIX + name] = steps.with_state_keys(keys).state_code
    for name, codes in (
        ("task_id", steps.task_code),
        ("trajectory_id", steps.trajectory_code),
        ("state_key", steps.state_code),
    ):
        if not _of_one_plain_type(columns[name]):
            columns[name] = codes
    write_columns(path, columns)


def write_columns(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length under a temporary name, then move the file to its own."""
    suffix = _suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    if suffix == ".parquet":
        _write_parquet(unfinished, columns)
    else:
        with unfinished.open("w") as file:
            for values in zip(*columns.values(), strict=True):
                row = {name: _plain(value) for name, value in zip(columns, values, strict=True)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    os.replace(unfinished, path)


def _suffix(path: Path) -> str:
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise SettingError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")


def _read_json_lines(path: Path) -> dict[str, list[Any]]:
    rows, number = [], 0
    try:
        with path.open() as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise SettingError(f"{path}, line {number}: expected an object, one a step")
                rows.append(row)
    except json.JSONDecodeError as error:
        raise SettingError(f"{path}, line {number}: this is not JSON ({error})") from None
    except (UnicodeDecodeError, OSError) as error:
        raise SettingError(f"{path} cannot be read as text: {error}") from None
    if not rows:
        raise SettingError(f"{path} holds no steps")
    names = list(rows[0])
    for number, row in enumerate(rows, 1):
        if row.keys() != rows[0].keys():
            odd = sorted(row.keys() ^ rows[0].keys())[0]
            raise SettingError(f"{path}, step {number}: {odd!r} must be in every line or in none")
    return {name: [_hashable(row[name], name) for row in rows] for name in names}


def _read_parquet(path: Path) -> dict[str, Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise SettingError(f"{path} cannot be read as Parquet: {first_line}") from None
    if not table.num_rows:
        raise SettingError(f"{path} holds no steps")
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and (name in COLUMNS or name.startswith(KEY_PREFIX)):
            raise SettingError(f"{path}: {column.null_count} values of {name} are missing; fill or drop them")
        if pyarrow.types.is_nested(column.type):
            columns[name] = [_hashable(value, name) for value in column.to_pylist()]
        else:
            columns[name] = column.to_numpy()
    return columns


def _hashable(value: Any, name: str) -> Any:
    """The value, or where a list or an object cannot be a key, its JSON. Columns of tokens stay lists."""
    if isinstance(value, list | dict) and not name.endswith(("_tokens", "_logprobs")):
        return json.dumps(value, sort_keys=True, default=str)
    return value


def _write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    import pyarrow
    import pyarrow.parquet

    arrays = {name: _arrow(column) for name, column in columns.items()}
    repeated = [name for name, array in arrays.items() if not pyarrow.types.is_nested(array.type)]
    pyarrow.parquet.write_table(
        pyarrow.table(arrays),
        path,
        compression="zstd",
        compression_level=15,
        # Texts, ids and numbers recur as a whole; within lists of tokens whole stretches do, which zstd finds
        # if they are left as they are and a page holds many rows.
        use_dictionary=repeated,  # pyright: ignore[reportArgumentType]
        data_page_size=64 * 2**20,
    )


def _arrow(column: Any) -> Any:
    import pyarrow

    if not isinstance(column, tuple):
        return pyarrow.array(column.tolist() if column.dtype == object else column)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in column])])
    values = np.concatenate([*column, np.empty(0, column[0].dtype if column else np.int64)])
    if values.dtype.kind == "f":
        narrow = values.astype(np.float32)
        lossless = np.array_equal(narrow, values)
    else:
        narrow = values.astype(np.int32)
        lossless = np.array_equal(narrow, values)
    return pyarrow.LargeListArray.from_arrays(offsets, narrow if lossless else values)


def _of_one_plain_type(column: NDArray[Any]) -> bool:
    if column.dtype != object:
        return column.dtype.kind in "iuU"
    kinds = {type(value) for value in column.tolist()}
    return kinds <= {str} or kinds <= {int}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
