"""Rows as JSON: objects on separate lines or in sequence, an array of objects, or an object of columns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from hgpo.rollout_files.columns import EVERYTHING, Selection, Values

_BETWEEN = re.compile(r"[\s\ufeff]*")
"""Characters allowed between values, including a byte order mark where files were joined."""


class JsonTable:
    """Columns of Python values; None where a row has no value."""

    def __init__(self, columns: Mapping[str, list[Any]], selection: Selection) -> None:
        self.names = tuple(columns)
        rows = range(len(next(iter(columns.values()), ())))
        chosen = rows if selection.rows is None else selection.rows.tolist()
        self._length = len(chosen)
        self._columns = {
            name: column if chosen is rows else [column[row] for row in chosen]
            for name, column in columns.items()
            if selection.column(name)
        }

    def __len__(self) -> int:
        return self._length

    def column(self, name: str) -> Values:
        """The values of a column."""
        return self._columns[name]


def read_json(file: BinaryIO, selection: Selection = EVERYTHING) -> JsonTable:
    """The selected table in a file of JSON, in UTF-8, UTF-16 or UTF-32."""
    data = file.read()
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding, "surrogatepass")
    except UnicodeDecodeError as error:
        raise ValueError(f"this is not text in UTF-8, UTF-16 or UTF-32: {error}") from None
    match _values(text):
        case [dict(columns)] if columns and all(isinstance(column, list) for column in columns.values()):
            return JsonTable(_of_one_length(columns), selection)
        case [dict(columns)] if columns and all(isinstance(column, dict) for column in columns.values()):
            # pandas writes columns in this form, with the index as names.
            return JsonTable({name: _by_index(columns, name) for name in columns}, selection)
        case [list(rows)] | rows:
            return JsonTable(_by_name(rows), selection)


def _by_name(rows: list[Any]) -> dict[str, list[Any]]:
    for row, value in enumerate(rows):
        if not isinstance(value, dict):
            raise ValueError(f"row {row}: expected an object, one per step; found {value!r:.40}")
    # If a row lacks a name, its value is missing, as if it were null.
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in names}


def _values(text: str) -> list[Any]:
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    values = []
    place = _after_gap(text, 0)
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {error.lineno}: this is not JSON ({error})") from None
        except _Twice as error:
            line = text.count("\n", 0, place) + 1
            raise ValueError(f"the object that begins in line {line} has {error.args[0]!r} twice") from None
        except RecursionError:
            raise ValueError("lists or objects are nested too deep") from None
        values.append(value)
        place = _after_gap(text, place)
    return values


def _after_gap(text: str, place: int) -> int:
    gap = _BETWEEN.match(text, place)
    return gap.end() if gap else place


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return made


class _Twice(Exception):
    """An object has two values with the same name."""


def _by_index(columns: Mapping[str, dict[str, Any]], name: str) -> list[Any]:
    first = next(iter(columns))
    if columns[name].keys() != columns[first].keys():
        raise ValueError(f"columns {first!r} and {name!r} do not have the same rows")
    return [columns[name][row] for row in columns[first]]


def _of_one_length(columns: Mapping[str, list[Any]]) -> Mapping[str, list[Any]]:
    first, rows = next((name, len(column)) for name, column in columns.items())
    for name, column in columns.items():
        if len(column) != rows:
            raise ValueError(f"column {name!r} has {len(column)} rows but {first!r} has {rows}")
    return columns


def write_json_lines(file: BinaryIO, columns: Mapping[str, Any]) -> None:
    """Write columns, numpy arrays or tuples of them, as one object per line."""
    lists = [column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values()]
    for values in zip(*lists, strict=True):
        row = {name: _plain(value) for name, value in zip(columns, values, strict=True)}
        # A lone surrogate, which UTF-8 cannot hold, is written as its escape in JSON.
        file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
