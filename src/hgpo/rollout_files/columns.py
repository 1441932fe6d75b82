"""Columns as files hold them, made ready for a step table: ids and keys, numbers, truth values, tokens.

Every kind of file hands over a column as a numpy array or as a list of Python values, with None where there
is none. What comes out depends on these values alone, so the same content gives the same groups.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.steps import KEY_PREFIX, StepTable

Values = list[Any] | NDArray[Any]

COLUMNS = tuple(column.name for column in fields(StepTable) if column.init and column.name != "state_keys")
"""The columns that are read into a step table."""
REQUIRED = COLUMNS[:5]
"""Those without which there is none; observations can stand in for `state_key`."""
TOKENS = ("prompt_tokens", "response_tokens", "response_logprobs")
"""Columns of lists."""


def is_read(name: str) -> bool:
    """Whether a column of this name is read."""
    return name in COLUMNS or name.startswith(KEY_PREFIX)


def is_key(name: str) -> bool:
    """Whether a column that is read holds ids, keys or texts, which are compared."""
    return name not in _CONVERTERS and name not in TOKENS


def table_column(name: str, values: Values) -> Values:
    """A column of a file as a step table takes it.

    Integers may come as whole floats, any number as a decimal or a text, truth values as 0 and 1 or as texts.
    What cannot be converted stays as it is: the step table says what is wrong with it, and in which row.

    Args:
        name: What the column is called here; one that is read.
        values: One a row.

    Raises:
        ValueError: A value is missing: null, or NaN in an id or a key, also within a list or an object. Or it
            is a list where one value is meant. A null within a list or an object is a value of its own.
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
    # Not value // 1, which decimals of more than 28 digits do not have.
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
    **dict.fromkeys(("step_index", "policy_version"), ("iu", {int}, _integer)),
    **dict.fromkeys(("reward", "value", "entropy"), ("iuf", {int, float}, _number)),
    **dict.fromkeys(("action_valid", "terminated", "truncated"), ("b", {bool}, _truth)),
}
"""By column: numpy's and Python's types that stay as they are, and what is done with any other value."""


def _keys(name: str, values: Values) -> Values:
    """Values to be compared or read as text, each as a text, an integer, a float or a truth value."""
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
        # All of them as JSON, so that the list [1] and the text "[1]" stay two keys.
        return [json.dumps(key, sort_keys=True) for key in keys]
    return keys


def _plain(value: Any) -> Any:
    """The value in JSON's types."""
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
        case [tuple(), *_]:  # a map of Arrow, whose order means nothing
            return sorted(([_plain(key), _plain(item)] for key, item in value), key=json.dumps)
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case _:
            return str(value)


def text_of(value: bytes) -> str:
    """Bytes as text: UTF-8 with lone surrogates, or what Python makes of file names that are not UTF-8."""
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return value.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """What `text_of` reads as this text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


class _Missing(Exception):
    """There is no value."""


def _rows_of_none(values: Values) -> list[int]:
    return [row for row, value in enumerate(values) if value is None]


def _require(name: str, values: Values, missing: list[int]) -> None:
    if missing:
        raise ValueError(
            f"{len(missing)} values of {name} are missing; fill or drop them "
            f"(first in row {missing[0]}: {values[missing[0]]!r:.60})"
        )
