"""Keys: how ids and states are compared, and which values cannot be keys.

Two values are the same key if they are equal and of the same type: 1, 1.0, True and "1" are four keys, alone
and inside tuples and frozensets. Scalars of NumPy and Arrow count as the Python values that they hold, and
strings of any class as strings. Values of other classes are the same key if their own == says so.

Three kinds of values cannot be keys: values that cannot be hashed, values that are compared by identity (no
two rows would share one), and missing values (all rows without one would share it). None within a tuple
is not missing: ("hall", None) may be a state with nothing in hand.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def factorize(values: Sequence[Any] | NDArray[Any], name: str = "value") -> NDArray[np.int64]:
    """Dense integer codes 0, 1, …: equal if and only if the values are the same key.

    Args:
        values: One per row.
        name: The name of the values in error messages.

    Raises:
        TypeError: A value cannot be hashed or is compared by identity; the message names its row.
        ValueError: A value is missing (None, NaN); the message names its row.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufcmM":
        return _factorize_numbers(values, name)
    objects: Sequence[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    try:
        codes, kinds = _number(objects)
    except TypeError:
        pass
    else:
        # Only strings equal strings: if all different keys are strings, all values are. An integer equals
        # values of other types.
        if kinds == {str} or set(map(type, objects)) <= _PLAIN:
            return codes
    keys = []
    for row, value in enumerate(objects):
        try:
            keys.append(as_key(value))
        except (TypeError, ValueError) as error:
            raise type(error)(f"row {row}: {name} {error}") from None
    return _number(keys)[0]


def as_key(value: Any, verb: str = "is") -> Hashable:
    """An object that is equal for two values if and only if they are the same key.

    Args:
        value: Any value.
        verb: The first word of error messages: the value "is", or a value around it "holds".

    Raises:
        TypeError, ValueError: The value cannot be a key; see `factorize`.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if hasattr(kind, "as_py"):  # a scalar of Arrow
        return as_key(value.as_py(), verb)
    if isinstance(value, np.generic) and kind not in _BEYOND_PYTHON:
        return as_key(value.item(), verb)
    if value is None:
        raise ValueError(f"{verb} None, {_MISSING}")
    if isinstance(value, tuple):
        parts = tuple(map(_part, value))
        return parts if kind is tuple else (kind, parts)
    if isinstance(value, frozenset):
        return kind, frozenset(map(_part, value))
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.compare:
                _part(getattr(value, field.name))
    _require_value(value, verb)
    return kind, value


def _part(value: Any) -> Hashable:
    """A part of a key, where None is allowed: a state with nothing in hand is not a missing state."""
    return None if value is None else as_key(value, "holds")


_PLAIN = frozenset({str, bytes, int})
"""Types whose values are keys without conversion."""
_NUMBERS = frozenset({bool, float, complex})
"""Types that are compared by value."""
_BEYOND_PYTHON = frozenset({np.datetime64, np.timedelta64, np.longdouble, np.clongdouble})
"""NumPy's scalar types that have no Python type with the same values."""
_MISSING = "a missing value; fill it in, drop the row, or give what is absent a value of its own, such as ''"


def _number(values: Sequence[Any]) -> tuple[NDArray[np.int64], set[type]]:
    """A number for every value, equal where the values are equal, and the types of the different values."""
    # A dict that numbers new keys keeps the whole pass in C: 0.1 µs per row plus the string's hash.
    codes: defaultdict[Any, int] = defaultdict(itertools.count().__next__)
    numbers = np.fromiter(map(codes.__getitem__, values), np.int64, len(values))
    return numbers, set(map(type, codes))


def _factorize_numbers(values: NDArray[Any], name: str) -> NDArray[np.int64]:
    if values.dtype.kind in "fcmM":
        missing = np.isnat(values) if values.dtype.kind in "mM" else np.isnan(values)
        if missing.any():
            row = int(np.argmax(missing))
            raise ValueError(f"row {row}: {name} is {values[row]}, {_MISSING}")
    return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64, copy=False)


def _require_value(value: Any, verb: str) -> None:
    """Raise an error if a value cannot be hashed, is missing, or is compared by identity."""
    name = type(value).__name__
    kind = f"a{'n' if name[0] in 'AEIOUaeiou' else ''} {name}"
    try:
        code = hash(value)
    except TypeError as error:
        fix = (
            "give a string, a number or a tuple, e.g. array.tobytes() for an array, tuple(sorted(d.items())) "
            "for a dict"
        )
        if isinstance(value, list) and len(value) == 1:
            fix += ", or the value itself: [x for [x] in column]"
        raise TypeError(f"{verb} {kind} that cannot be hashed ({error}); {fix}") from None
    if _is_missing(value):
        raise ValueError(f"{verb} {value!r}, {_MISSING}")
    if type(value) not in _NUMBERS and _is_compared_by_identity(value, code):
        raise TypeError(
            f"{verb} {kind} that is compared by identity, so that no two rows would share it; give what it "
            "holds as a string, a number or a tuple, e.g. tensor.cpu().numpy().tobytes() for a tensor, or "
            "define __eq__ and __hash__"
        )


def _is_missing(value: Any) -> bool:
    """Whether the value is not equal to itself: NaN in any form, pandas' NaT and NA."""
    try:
        return bool(value != value)
    except TypeError:
        return True  # comparing pandas' NA gives NA again, which is neither true nor false
    except Exception:
        return False  # a tensor with several elements compares element by element


def _is_compared_by_identity(value: Any, code: int) -> bool:
    """Whether the hash or equality of the value, or of something in it, depends on its place in memory."""
    if code in (id(value), object.__hash__(value)):
        return True
    try:
        twin = copy.deepcopy(value)
        return hash(twin) != code or twin != value
    except Exception:
        return False  # it cannot be copied, so there is no evidence of it
