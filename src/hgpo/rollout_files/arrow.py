"""Converts Arrow tables, from Parquet and Arrow files, to columns of Python values, and back to Parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
from numpy.typing import NDArray
from pyarrow import types

from hgpo.errors import SettingError
from hgpo.rollout_files.columns import EVERYTHING, Selection, Values, bytes_of

PAGE_BYTES = 64 * 2**20
GROUP_ROWS = 2**16
"""Rows per group in a file; who reads a few rows reads whole groups."""


class ArrowTable:
    """The columns of a table, each converted when it is requested."""

    def __init__(self, table: pyarrow.Table, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._table = table

    def __len__(self) -> int:
        return self._table.num_rows

    def column(self, name: str) -> Values:
        """The values of a column; see `values`."""
        try:
            return values(self._table[name])
        except pyarrow.ArrowException as error:
            first_line = str(error).partition("\n")[0]
            raise ValueError(f"column {name} cannot be read: {first_line}") from None


def read_parquet(file: BinaryIO, selection: Selection = EVERYTHING) -> ArrowTable:
    """The selected table in a Parquet file."""

    def read() -> tuple[pyarrow.Table, list[str]]:
        schema = pyarrow.parquet.read_schema(file)
        names = schema.names
        chosen = [name for name in names if selection.column(name)]
        parquet = pyarrow.parquet.ParquetFile(
            file,
            # Ids and texts recur: each is decoded once, and once in memory.
            read_dictionary=[field.name for field in schema if _is_text(field.type)],
            page_checksum_verification=True,
        )
        if selection.rows is None:
            return parquet.read(chosen), names
        return _rows(parquet, chosen, selection.rows), names

    return _read(read)


def _rows(parquet: pyarrow.parquet.ParquetFile, columns: list[str], rows: NDArray[np.int64]) -> pyarrow.Table:
    """Some rows, from the groups of rows that have them."""
    sizes = [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]
    ends = np.cumsum([0, *sizes])
    parts = [
        parquet.read_row_group(number, columns).take(rows[(rows >= start) & (rows < end)] - start)
        for number, (start, end) in enumerate(pairwise(ends.tolist()))
        if ((rows >= start) & (rows < end)).any()
    ]
    return pyarrow.concat_tables(parts) if parts else parquet.schema_arrow.empty_table().select(columns)


def read_arrow(file: BinaryIO, selection: Selection = EVERYTHING) -> ArrowTable:
    """The selected table in an Arrow file, also called Feather, or in an Arrow stream."""

    def read() -> tuple[pyarrow.Table, list[str]]:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        with pyarrow.ipc.open_file(file) if is_file else pyarrow.ipc.open_stream(file) as reader:
            table = reader.read_all()
        # Unlike the reader for Parquet, this one does not check the lengths and offsets in the file.
        table.validate(full=True)
        names = table.column_names
        table = table.select([name for name in dict.fromkeys(names) if selection.column(name)])
        return table if selection.rows is None else table.take(selection.rows), names

    return _read(read)


def _read(read: Callable[[], tuple[pyarrow.Table, list[str]]]) -> ArrowTable:
    try:
        table, names = read()
    except pyarrow.ArrowException as error:
        raise ValueError(error) from None
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two columns are called {twice[0]!r}")
    return ArrowTable(table, names)


def values(column: pyarrow.ChunkedArray) -> Values:
    """A column as a numpy array or as a list, with None for missing values.

    Times become texts in UTC with nine decimals, dates become texts, and durations nanoseconds, for any unit
    and time zone in the file.
    """
    if types.is_dictionary(column.type) and _is_text(column.type.value_type) and not column.null_count:
        try:
            return np.concatenate([_looked_up(chunk) for chunk in column.chunks] or [np.empty(0, object)])
        except pyarrow.ArrowException:  # a text that is not UTF-8
            pass
    for leaf in (_in_nanoseconds, _as_text):
        kind = _mapped(column.type, leaf)
        if kind != column.type:
            column = column.cast(kind)
    if not column.null_count:
        if types.is_primitive(column.type) or _is_vectors(column):
            return column.to_numpy()
        if _is_text(column.type):
            try:
                return column.to_numpy()
            except pyarrow.ArrowException:  # not UTF-8, which Arrow does not check when it reads
                return column.cast(pyarrow.large_binary()).to_pylist()
    return column.to_pylist()


def _is_text(kind: pyarrow.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind)


def _looked_up(chunk: pyarrow.DictionaryArray) -> NDArray[Any]:
    """The values of a chunk without nulls; equal values are one object."""
    return chunk.dictionary.to_numpy(zero_copy_only=False)[chunk.indices.to_numpy()]


def _is_vectors(column: pyarrow.ChunkedArray) -> bool:
    """Whether every value is a list of numbers."""
    kind = column.type
    return (
        (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))
        and types.is_primitive(kind.value_type)
        and not any(chunk.flatten().null_count for chunk in column.chunks)
    )


def _mapped(kind: pyarrow.DataType, leaf: Callable[[pyarrow.DataType], pyarrow.DataType]) -> pyarrow.DataType:
    """The type with `leaf` applied to its component types."""
    if types.is_dictionary(kind):
        return _mapped(kind.value_type, leaf)
    if types.is_map(kind):
        return pyarrow.map_(_mapped(kind.key_type, leaf), _mapped(kind.item_type, leaf))
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(_mapped(field.type, leaf)) for field in kind])
    if types.is_fixed_size_list(kind):
        return pyarrow.list_(kind.value_field.with_type(_mapped(kind.value_type, leaf)), kind.list_size)
    if types.is_list(kind):
        return pyarrow.list_(kind.value_field.with_type(_mapped(kind.value_type, leaf)))
    if types.is_large_list(kind):
        return pyarrow.large_list(kind.value_field.with_type(_mapped(kind.value_type, leaf)))
    return leaf(kind)


def _in_nanoseconds(kind: pyarrow.DataType) -> pyarrow.DataType:
    if types.is_timestamp(kind):
        return pyarrow.timestamp("ns")
    if types.is_time(kind):
        return pyarrow.time64("ns")
    return pyarrow.duration("ns") if types.is_duration(kind) else kind


def _as_text(kind: pyarrow.DataType) -> pyarrow.DataType:
    if types.is_duration(kind):
        return pyarrow.int64()
    return pyarrow.string() if types.is_temporal(kind) and not types.is_interval(kind) else kind


def write_parquet(file: BinaryIO, columns: Mapping[str, Any]) -> None:
    """Write columns, numpy arrays or tuples of them, as a Parquet file.

    Raises:
        SettingError: A column holds values of several types, which Parquet does not allow.
    """
    arrays = {name: _array(name, column) for name, column in columns.items()}
    repeated = [name for name, array in arrays.items() if not types.is_nested(array.type)]
    pyarrow.parquet.write_table(
        pyarrow.table(arrays),
        file,
        compression="zstd",
        compression_level=15,
        # Texts, ids and numbers recur as whole values, so a dictionary stores each once. In lists of tokens,
        # long subsequences recur: zstd finds them if there is no dictionary and a page holds many rows.
        use_dictionary=repeated,  # pyright: ignore[reportArgumentType]
        row_group_size=GROUP_ROWS,
        data_page_size=PAGE_BYTES,
        write_page_checksum=True,
    )


def _array(name: str, column: Any) -> pyarrow.Array:
    if isinstance(column, tuple):
        return _lists(column)
    if column.dtype != object:
        return pyarrow.array(column)
    values = column.tolist()
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1:
        raise SettingError(
            f"{name} holds values of several types ({', '.join(kinds)}), which a Parquet column cannot hold; "
            "write to a name that ends in .jsonl"
        )
    try:
        return pyarrow.array(values)
    except UnicodeEncodeError:  # a lone surrogate
        return pyarrow.array([bytes_of(value) for value in values])
    except OverflowError:
        pass
    try:
        return pyarrow.array(values, pyarrow.uint64())
    except OverflowError:
        raise SettingError(
            f"{name} holds integers beyond 64 bits, which Parquet cannot hold; write to a name that ends in "
            ".jsonl"
        ) from None


def _lists(column: tuple[Any, ...]) -> pyarrow.Array:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in column])])
    values = np.concatenate([*column, np.empty(0, column[0].dtype if column else np.int64)])
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32 if values.dtype.kind == "f" else np.int32)
    lossless = np.array_equal(narrow, values)
    return pyarrow.LargeListArray.from_arrays(offsets, narrow if lossless else values)
