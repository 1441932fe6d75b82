"""Columns: converts a caller's values for a table's rows to read-only arrays, or raises a clear error.

It accepts lists, tuples, NumPy arrays, everything that converts to them (pandas, polars, Arrow, JAX), and
PyTorch tensors on any device and in any precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Column = Sequence[Any] | NDArray[Any]


def as_sequence(name: str, column: Any) -> Column:
    """The column as a one-dimensional array or a sequence with a length.

    Raises:
        TypeError: It is neither; the message says what to pass.
        ValueError: A value is masked.
    """
    if hasattr(column, "detach"):
        column = _from_torch(column)
    if isinstance(column, np.ma.MaskedArray) and np.ma.is_masked(column):
        row = int(np.argmax(np.ma.getmaskarray(column).reshape(len(column), -1).any(axis=1)))
        raise ValueError(f"row {row}: {name} is masked, i.e. missing; fill it in or drop the row")
    if hasattr(column, "__array__"):
        column = np.asarray(column)
        if column.ndim != 1:
            fix = f", e.g. {name}[:, 0]" if column.shape[1:] == (1,) else ""
            if not fix and name == "state_key":
                fix = ", e.g. [s.tobytes() for s in states]"
            raise TypeError(f"{name} has shape {column.shape}; a column has one value per row{fix}")
        return column
    if isinstance(column, Sequence) and not isinstance(column, str | bytes):
        return column
    raise TypeError(f"{name} is a {type(column).__name__}; pass a list, a tuple or a one-dimensional array")


def columns_by_name(name: str, columns: Any) -> dict[str, Any]:
    """Named columns, from a mapping of columns or from one mapping per row; {} for None.

    Raises:
        TypeError: It is neither, or a name is not a string.
        ValueError: A row has other names than the first one.
    """
    if columns is None:
        return {}
    if not isinstance(columns, Mapping):
        rows = as_sequence(name, columns)
        for row, values in enumerate(rows):
            if not isinstance(values, Mapping):
                raise TypeError(f"row {row}: {name} is {values!r:.60}; give a mapping from names to values")
            if values.keys() != rows[0].keys():
                raise ValueError(
                    f"row {row}: {name} has {list(values)}, but row 0 has {list(rows[0])}; "
                    "give the same names in every row"
                )
        columns = {key: [values[key] for values in rows] for key in (rows[0] if len(rows) else ())}
    for key in columns:
        if not isinstance(key, str):
            raise TypeError(f"{name} has the name {key!r}; names are texts")
    return dict(columns)


def objects(name: str, column: Any) -> NDArray[Any]:
    """The values unchanged; those of a sequence as objects."""
    values = as_sequence(name, column)
    if isinstance(values, np.ndarray):
        return frozen(values.copy())
    # fromiter keeps tuples whole and strings as references; np.array would make a matrix or pad the strings.
    return frozen(np.fromiter(values, dtype=object, count=len(values)))


def texts(name: str, column: Any) -> NDArray[Any]:
    """The values unchanged; TypeError if one is a list or an array."""
    values = objects(name, column)
    if values.dtype == object:
        wrapped = [kind for kind in set(map(type, values.tolist())) if issubclass(kind, list | np.ndarray)]
        for row, value in enumerate(values.tolist() if wrapped else ()):
            if type(value) in wrapped:
                raise TypeError(
                    f"row {row}: {name} is {value!r:.60}; {_one_value(name, value, 'give a text')}"
                )
    return values


def integers(name: str, column: Any) -> NDArray[np.int64]:
    """Integers of any width; TypeError for anything else."""
    return frozen(_numbers(name, column, "iu", "give an integer").astype(np.int64))


def floats(name: str, column: Any) -> NDArray[np.float64]:
    """Numbers of any precision; TypeError for anything else."""
    return frozen(_numbers(name, column, "biuf", "give a finite number").astype(np.float64))


def booleans(name: str, column: Any) -> NDArray[np.bool_]:
    """Truth values; TypeError for anything else."""
    return frozen(_numbers(name, column, "b", "give True or False").astype(np.bool_))


def token_ids(name: str, column: Any) -> tuple[NDArray[np.int64], ...]:
    """A flat list of integers for each row."""
    return _ragged(name, column, np.int64, "iu")


def token_logprobs(name: str, column: Any) -> tuple[NDArray[np.float64], ...]:
    """A flat list of numbers for each row."""
    return _ragged(name, column, np.float64, "iuf")


def token_choices(name: str, column: Any) -> tuple[tuple[NDArray[np.int64], ...], ...]:
    """For each row, a flat list of integers for each of its tokens."""
    return tuple(token_ids(f"{name}[{row}]", lists) for row, lists in enumerate(column))


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, made read-only."""
    array.setflags(write=False)
    return array


def precisions(column: Any) -> set[str]:
    """The names of the types in which a column, or each of its values, is stored, such as "float32"."""
    kept = {str(column.dtype)} if hasattr(column, "dtype") else set()
    if hasattr(column, "__array__") and not hasattr(column, "detach"):
        kept.add(str(np.asarray(column).dtype))  # pandas and Arrow have other names for the same types
    if kept <= {"object"}:
        kept = {str(value.dtype) for value in column if hasattr(value, "dtype")}
    return {name.removeprefix("torch.") for name in kept}


def _from_torch(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    # NumPy has no bfloat16; every floating-point number can be stored as float64.
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def _numbers(name: str, column: Any, kinds: str, wanted: str) -> NDArray[Any]:
    values = as_sequence(name, column)
    if isinstance(values, np.ndarray) and values.dtype == object:
        values = values.tolist()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):
        # Tensors that NumPy does not take, or lists of unequal lengths.
        values = [value.tolist() if hasattr(value, "tolist") else value for value in values]
        array = np.fromiter(values, object, len(values))
        if not any(isinstance(value, list) for value in values):
            array = np.asarray(values)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float64)
    if len(array) and (array.ndim != 1 or array.dtype.kind not in kinds):
        for row, value in enumerate(values):
            if np.ndim(value) or np.asarray(value).dtype.kind not in kinds:
                raise TypeError(f"row {row}: {name} is {value!r:.60}; {_one_value(name, value, wanted)}")
        raise TypeError(f"row 0: {name} has type {array.dtype}; {wanted}")
    return array


def _one_value(name: str, value: Any, wanted: str) -> str:
    """The advice for an invalid value, which may be the only one in a list or an array."""
    length = len(value) if isinstance(value, list | tuple) else next(iter(getattr(value, "shape", ())), 0)
    if length == 1:
        return f"{wanted}, not a list of one: [x for [x] in {name}]"
    return wanted


def _ragged(name: str, column: Any, dtype: type, kinds: str) -> tuple[NDArray[Any], ...]:
    # Rows of one prompt often share an object: it is converted once, and kept alive so that its id stays
    # unique.
    known: dict[int, tuple[Any, NDArray[Any]]] = {}
    rows = []
    for row, values in enumerate(column):
        if id(values) not in known:
            known[id(values)] = values, _flat_numbers(name, row, values, dtype, kinds)
        rows.append(known[id(values)][1])
    return tuple(rows)


def _flat_numbers(name: str, row: int, values: ArrayLike, dtype: type, kinds: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in kinds):
        raise TypeError(f"row {row}: {name} is {values!r:.60}; give a flat list, one number per token")
    return frozen(array.astype(dtype))
