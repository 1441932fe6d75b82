"""Converts columns of files to columns of a step table: ids and keys, numbers, truth values, tokens.

A column of any file format comes as a numpy array or as a list of Python values, with None for missing
values. The result depends only on these values, so the same content gives the same groups in every format.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.steps import KEY_PREFIX, StepTable

Values = list[Any] | NDArray[Any]


@dataclass(frozen=True)
class Selection:
    """The part of a file that is wanted."""

    column: Callable[[str], bool] = lambda name: True
    """Whether a column is wanted, by its name in the file."""
    rows: NDArray[np.int64] | None = None
    """Row numbers in the file, ascending; all rows if None."""


EVERYTHING = Selection()

_NOT_IN_FILES = ("state_keys", "response_allowed")
"""Further state keys have columns of their own; only the update of the same iteration needs the other."""
COLUMNS = tuple(
    column.name for column in fields(StepTable) if column.init and column.name not in _NOT_IN_FILES
)
"""The columns that are read into a step table."""
REQUIRED = COLUMNS[:5]
"""The columns that a step table needs; observations can replace `state_key`."""
TOKENS = ("prompt_tokens", "response_tokens", "response_logprobs")
"""Columns of lists."""
DETAILS = ("iteration", "task_type", "instruction", "won", "prompt", "response", "advantage")
"""Columns that no estimator reads; `hgpo view` shows them."""


def is_read(name: str) -> bool:
    """Whether a column of this name is read."""
    return name in COLUMNS or name.startswith(KEY_PREFIX)


def is_key(name: str) -> bool:
    """Whether a column that is read holds ids, keys or texts, which are compared."""
    return name not in _CONVERTERS and name not in TOKENS


def table_column(name: str, values: Values) -> Values:
    """A column of a file, converted for a step table.

    Integers may be whole floats, numbers may be decimals or texts, and truth values may be 0 and 1 or texts.
    Values that cannot be converted are unchanged: the step table then raises an error that names the row.

    Args:
        name: The step table's name for the column, one of those that are read.
        values: One per row.

    Raises:
        ValueError: A value is missing: null, or NaN in an id or a key, also within a list or an object; or a
            value is a list where a single value is needed. A null within a list or an object is allowed.
    """
    if name in _CONVERTERS:
        return _converted(name, values, *_CONVERTERS[name])
    if name in TOKENS:
        _require(name, values, _rows_of_none(values))
        return values
    return _keys(name, values)


def _converted(
    name: str, values: Values, kinds: str, types: set[type], convert: Callable[[Any], Any]
) -> Values:
    if isinstance(values, np.ndarray):
        if values.dtype.kind in kinds:
            return values
        values = values.tolist()
    _require(name, values, _rows_of_none(values))
    if set(map(type, values)) <= types:
        return values
    for row, value in enumerate(values):
        if isinstance(value, list | dict | np.ndarray):
            raise ValueError(f"row {row}: {name} is {value!r:.60}; give one value, not a list or an object")
    return [convert(value) for value in values]


def _integer(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value):
        return int(value)
    return int(value) if isinstance(value, float | Decimal) and _is_whole(value) else value


def _is_whole(value: float | Decimal) -> bool:
    # value // 1 would fail for decimals of more than 28 digits.
    return math.isfinite(value) and value == int(value)


def _number(value: Any) -> Any:
    numeric = isinstance(value, Decimal) or (
        isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", value)
    )
    return float(value) if numeric else value


def _truth(value: Any) -> Any:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), value)
    return bool(value) if isinstance(value, int | float | Decimal) and value in (0, 1) else value


_CONVERTERS: Mapping[str, tuple[str, set[type], Callable[[Any], Any]]] = {
    **dict.fromkeys(("step_index", "policy_version", "iteration"), ("iu", {int}, _integer)),
    **dict.fromkeys(("reward", "value", "entropy", "advantage"), ("iuf", {int, float}, _number)),
    **dict.fromkeys(("action_valid", "terminated", "truncated", "won"), ("b", {bool}, _truth)),
}
"""For each column: the types of numpy and Python that are not converted, and the conversion of all others."""


def _keys(name: str, values: Values) -> Values:
    """Values that are compared or read as text, each as a text, an integer, a float or a truth value."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "iub":
            return values
        if values.dtype.kind == "f":
            _require(name, values, np.flatnonzero(np.isnan(values)).tolist())
            return values
        values = values.tolist()
    if set(map(type, values)) <= {str, int, bool}:
        return values
    keys: list[Any] = []
    missing: list[int] = []
    for row, value in enumerate(values):
        try:
            if value is None:
                raise _Missing
            keys.append(_plain(value))
        except _Missing:
            missing.append(row)
    _require(name, values, missing)
    if any(isinstance(key, list | dict) for key in keys):
        # All values are written as JSON, so that the list [1] and the text "[1]" remain different keys.
        return [json.dumps(key, sort_keys=True) for key in keys]
    return keys


def _plain(value: Any) -> Any:
    """The value, made of JSON's types."""
    match value:
        case None:
            return None
        case float() if np.isnan(value):
            raise _Missing
        case Decimal() if value.is_nan():
            raise _Missing
        case float():
            return value + 0.0  # −0 as 0, with which it compares equal
        case str() | int():
            return value
        case bytes():
            return text_of(value)
        case Decimal():
            return int(value) if _is_whole(value) else format(value, "f").rstrip("0")
        case np.ndarray():
            return [_plain(item) for item in value.tolist()]
        case [tuple(), *_]:  # an Arrow map, whose order has no meaning
            return sorted(([_plain(key), _plain(item)] for key, item in value), key=json.dumps)
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case _:
            return str(value)


def text_of(value: bytes) -> str:
    """Bytes as text: UTF-8 with lone surrogates, or, if it is not UTF-8, as Python decodes file names."""
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return value.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The bytes that `text_of` converts to this text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


class _Missing(Exception):
    """A value is missing."""


def _rows_of_none(values: Values) -> list[int]:
    return [row for row, value in enumerate(values) if value is None]


def _require(name: str, values: Values, missing: list[int]) -> None:
    if missing:
        raise ValueError(
            f"{len(missing)} values of {name} are missing; fill or drop them "
            f"(first in row {missing[0]}: {values[missing[0]]!r:.60})"
        )
