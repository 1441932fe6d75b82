"""Reads a file or a folder of rollouts as one step table."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.errors import SettingError
from hgpo.rollout_files.columns import (
    COLUMNS,
    DETAILS,
    REQUIRED,
    Selection,
    Values,
    is_key,
    is_read,
    table_column,
)
from hgpo.rollout_files.formats import read_table
from hgpo.rollout_files.places import Part, listed, meant, parts_of
from hgpo.steps import KEY_PREFIX, STATE_KEY, StepTable


@dataclass(frozen=True)
class Rollouts:
    """The content of a file of rollouts."""

    steps: StepTable
    """The steps, with the file's `state_key`; observations are an additional state key."""
    ignored: tuple[str, ...]
    """Names of columns that are not read."""

    @property
    def state_keys(self) -> dict[str, NDArray[Any]]:
        """All state keys by name, the one in use first; each has one value per row."""
        return {STATE_KEY: self.steps.state_key, **self.steps.state_keys}


def read_rollouts(path: str | os.PathLike[str], rename: Mapping[str, str] | None = None) -> Rollouts:
    """Read a file of rollouts, or a folder of files as one.

    A file without `state_key` is grouped by `observation`, as in the paper.

    Args:
        path: A file in one of the formats in docs/rollout-files.md, or a folder of files in one format, whose
            rows are taken in the order of the files' names.
        rename: The file's names of columns, each with the name to use here. All are renamed at once, so that
            two columns can exchange their names.

    Raises:
        SettingError: The file is missing, has an unknown format, is damaged, lacks a column or has invalid
            values; the message says what to do.
    """
    path = Path(path)
    rename = rename or {}
    check_renaming(rename)
    parts = parts_of(path)
    found = [read for part in parts if (read := read_part(part, rename, is_read)).rows]
    if not found:
        raise SettingError(f"{path} holds no steps")
    columns = joined(path, found)
    if "state_key" not in columns and "observation" in columns:
        columns["state_key"] = columns["observation"]
    others = dict.fromkeys(chain.from_iterable(part.others for part in found))
    ignored = tuple(name for name in others if rename.get(name, name) not in DETAILS)
    if missing := [name for name in REQUIRED if name not in columns]:
        raise SettingError(f"{path} {has_no(missing[0], found[0])}")
    steps = step_table(path, columns, rename, len(parts))
    return Rollouts(steps, ignored)


def check_renaming(rename: Mapping[str, str]) -> None:
    """Check that columns are renamed to known names, each to another one.

    Raises:
        SettingError: if not.
    """
    known = (*COLUMNS, *DETAILS)
    for theirs, ours in rename.items():
        if not (is_read(ours) or ours in DETAILS):
            close = meant(ours, known)
            raise SettingError(
                f"{theirs!r} cannot be renamed to {ours!r}, which is not a column that is read; "
                + (f"did you mean {close}?" if close else f"choose from {', '.join(known)}")
            )
        if list(rename.values()).count(ours) > 1:
            raise SettingError(f"two columns cannot both be renamed to {ours!r}")


@dataclass(frozen=True)
class ReadPart:
    """The content of one file."""

    path: Path
    rows: int
    columns: dict[str, Values]
    """The wanted columns, by their names in a step table."""
    others: tuple[str, ...]
    """The names of all other columns, in the file."""


def read_part(
    part: Part,
    rename: Mapping[str, str],
    wanted: Callable[[str], bool],
    rows: NDArray[np.int64] | None = None,
) -> ReadPart:
    """Read some columns of one file, without any conversion.

    Args:
        part: the file.
        rename: as in `read_rollouts`.
        wanted: whether a column of this name is wanted.
        rows: the numbers of the rows to read, ascending; None reads all.

    Raises:
        SettingError: the file cannot be read, or lacks a column to rename.
    """
    # A renamed column replaces any other column with its new name.
    replaced = rename.values() - rename.keys()

    def is_wanted(theirs: str) -> bool:
        return theirs not in replaced and wanted(rename.get(theirs, theirs))

    table = read_table(part.path, Selection(is_wanted, rows))
    of_folder = {name: [key] * len(table) for name, key in part.keys.items() if name not in table.names}
    names = (*table.names, *of_folder)
    if not len(table):
        return ReadPart(part.path, 0, {}, names)
    for theirs, ours in rename.items():
        if theirs not in names:
            close = meant(theirs, names)
            raise SettingError(
                f"{part.path} has no column {theirs!r} to rename; it has {listed(names)}"
                + (f". Did you mean --rename {shlex.quote(f'{close}={ours}')}?" if close else "")
            )
    columns: dict[str, Values] = {}
    for theirs in filter(is_wanted, names):
        try:
            values = of_folder[theirs] if theirs in of_folder else table.column(theirs)
        except ValueError as error:
            raise SettingError(f"{part.path}: {error}") from None
        columns[rename.get(theirs, theirs)] = values
    return ReadPart(part.path, len(table), columns, tuple(name for name in names if not is_wanted(name)))


def joined(path: Path, parts: Sequence[ReadPart]) -> dict[str, Values]:
    """The columns of all parts, joined and ready for a step table.

    Raises:
        SettingError: the parts have different columns or types, or values are missing.
    """
    first = parts[0]
    for part in parts[1:]:
        for one, other in ((first, part), (part, first)):
            for name in one.columns:
                if name not in other.columns:
                    raise SettingError(f"{other.path} {has_no(name, other)} ({one.path.name} has it)")
    columns: dict[str, Values] = {}
    for name in first.columns:
        _check_types(name, parts)
        chunks = [part.columns[name] for part in parts]
        try:
            columns[name] = table_column(name, _concatenated(chunks))
        except ValueError as error:
            raise SettingError(f"{path}: {error}") from None
    return columns


def _check_types(name: str, parts: Sequence[ReadPart]) -> None:
    """Refuse ids and keys with different types in different parts, such as integers and floats."""
    if not is_key(name) or len(parts) == 1:
        return
    first, *others = [(part.path, _types(part.columns[name])) for part in parts]
    for path, types in others:
        if types and first[1] and not types & first[1]:
            raise SettingError(
                f"{name} is of type {' and '.join(sorted(first[1]))} in {first[0]}, but of type "
                f"{' and '.join(sorted(types))} in {path}; write both with one type"
            )


def _types(values: Values) -> set[str]:
    if isinstance(values, np.ndarray) and values.dtype != object:
        return {type(values[0].item()).__name__}
    return {kind.__name__ for kind in map(type, values) if kind is not type(None)}


def _concatenated(chunks: Sequence[Values]) -> Values:
    if len(chunks) == 1:
        return chunks[0]
    arrays = [chunk for chunk in chunks if isinstance(chunk, np.ndarray)]
    if len(arrays) == len(chunks) and len({array.dtype for array in arrays}) == 1:
        return np.concatenate(arrays)
    # numpy would convert a mixture of signed and unsigned integers to floats.
    return [value for chunk in chunks for value in _as_list(chunk)]


def _as_list(values: Values) -> Iterable[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else values


def step_table(
    path: Path, columns: Mapping[str, Values], rename: Mapping[str, str], part_count: int
) -> StepTable:
    """The step table of a file's columns.

    Raises:
        SettingError: they have invalid values; the message says what to do.
    """
    known: dict[str, Any] = {name: columns[name] for name in COLUMNS if name in columns}
    keys = {"observation": columns["observation"]} if "observation" in columns else {}
    keys |= {
        name.removeprefix(KEY_PREFIX): key for name, key in columns.items() if name.startswith(KEY_PREFIX)
    }
    known["state_keys"] = keys
    try:
        return StepTable(**known)
    except (ValueError, TypeError) as error:
        message = f"{path}: {error}"
    swapped = {**known, "task_id": known["trajectory_id"], "trajectory_id": known["task_id"]}
    try:
        StepTable(**swapped)
    except (ValueError, TypeError):
        if part_count > 1:
            message += (
                ". Rows are counted through all parts; if each part has separate rollouts, as the "
                "files of a run do, give one part"
            )
    else:
        theirs = {ours: name for name, ours in rename.items()}
        task, trajectory = (theirs.get(name, name) for name in ("task_id", "trajectory_id"))
        message += (
            ". The two columns seem to be interchanged: "
            f"--rename {task}=trajectory_id {trajectory}=task_id exchanges them"
        )
    raise SettingError(message)


def has_no(name: str, part: ReadPart) -> str:
    """The words for a missing column, and which of the existing ones may be meant."""
    close = meant(name, part.others)
    return f"has no column {name!r}; it has {listed([*part.columns, *part.others])}. " + (
        f"If {close} is this column: --rename {shlex.quote(f'{close}={name}')}"
        if close
        else f"If one of them is this column, rename it: --rename THEIRS={name}"
    )
