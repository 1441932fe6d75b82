"""The file formats from which rollouts are read and to which they are written, by the file name's suffix."""

from __future__ import annotations

import bz2
import io
import lzma
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from hgpo.errors import SettingError
from hgpo.files import whole_file
from hgpo.rollout_files.columns import EVERYTHING, Selection, Values
from hgpo.rollout_files.json_text import read_json, write_json_lines


class Table(Protocol):
    """The columns of a file by name."""

    names: tuple[str, ...]
    """All columns of the file, also those that were not selected."""

    def __len__(self) -> int: ...

    def column(self, name: str) -> Values:
        """The values of a selected column: an array, or a list with None for missing values."""
        ...


def _read_parquet(file: BinaryIO, selection: Selection) -> Table:
    from hgpo.rollout_files.arrow import read_parquet

    return read_parquet(file, selection)


def _read_arrow(file: BinaryIO, selection: Selection) -> Table:
    from hgpo.rollout_files.arrow import read_arrow

    return read_arrow(file, selection)


def _write_parquet(file: BinaryIO, columns: Mapping[str, Any]) -> None:
    from hgpo.rollout_files.arrow import write_parquet

    write_parquet(file, columns)


@dataclass(frozen=True)
class Format:
    """How the content of a file is read and written."""

    name: str
    read: Callable[[BinaryIO, Selection], Table]
    begins: bytes | None = None
    """The bytes with which every such file begins, if they distinguish it from other files."""


_PARQUET = Format("Parquet", _read_parquet, b"PAR1")
_ARROW = Format("Arrow", _read_arrow, b"ARROW1")
_JSON = Format("JSON", read_json)

FORMATS = {
    ".parquet": _PARQUET,
    ".jsonl": _JSON,
    ".ndjson": _JSON,
    ".json": _JSON,
    ".arrow": _ARROW,
    ".feather": _ARROW,
}
"""The formats that can be read, by file name suffix."""

WRITERS: dict[str, Callable[[BinaryIO, Mapping[str, Any]], None]] = {
    ".parquet": _write_parquet,
    ".jsonl": write_json_lines,
    ".ndjson": write_json_lines,
}
"""The functions that write columns, by file name suffix."""


@dataclass(frozen=True)
class Compression:
    """How the bytes of a file are compressed."""

    begins: bytes
    """The bytes with which every such file begins."""
    read: Callable[[BinaryIO], AbstractContextManager[BinaryIO]]
    """Opens the content of a compressed file for reading."""
    write: Callable[[BinaryIO], AbstractContextManager[BinaryIO]]
    """Opens a compressed file for writing its content."""


def _of_arrow(codec: str, begins: bytes) -> Compression:
    def read(file: BinaryIO) -> Any:
        import pyarrow

        return pyarrow.CompressedInputStream(file, codec)

    def write(file: BinaryIO) -> Any:
        import pyarrow

        return pyarrow.CompressedOutputStream(file, codec)

    return Compression(begins, read, write)


def _of_python(opened: type[bz2.BZ2File] | type[lzma.LZMAFile], begins: bytes) -> Compression:
    def read(file: BinaryIO) -> Any:
        return opened(file)

    def write(file: BinaryIO) -> Any:
        return opened(file, "w")

    return Compression(begins, read, write)


COMPRESSIONS = {
    ".gz": _of_arrow("gzip", b"\x1f\x8b"),
    ".bz2": _of_python(bz2.BZ2File, b"BZh"),
    ".zst": _of_arrow("zstd", b"\x28\xb5\x2f\xfd"),
    ".lz4": _of_arrow("lz4", b"\x04\x22\x4d\x18"),
    ".xz": _of_python(lzma.LZMAFile, b"\xfd7zXZ\x00"),
}
"""The compressions that can be read and written, by the suffix that follows the format's suffix."""

_INSTEAD = {
    ".csv": "CSV does not distinguish texts from numbers; convert it: "
    'python -c "from pyarrow import csv, parquet; '
    "parquet.write_table(csv.read_csv('{path}'), '{path}.parquet')\"",
    ".zip": "unpack it first",
    ".tar": "unpack it first",
    ".tgz": "unpack it first",
}
"""Advice for files in other formats, by suffix."""


def suffixes_of(path: Path) -> tuple[str, str]:
    """The suffixes of a file's name for its format and its compression; "" if there is none."""
    name = path.name.lower()
    compression = next((suffix for suffix in COMPRESSIONS if name.endswith(suffix)), "")
    name = name.removesuffix(compression)
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), ""), compression


def read_table(path: Path, selection: Selection = EVERYTHING) -> Table:
    """The table in a file, or a selection of its columns and rows.

    Compressed files, Parquet files and Arrow files are recognised by their first bytes, not by their names.
    Of a Parquet file only the selected columns are read, and only those groups of rows that have a selected
    one.

    Raises:
        SettingError: The file has another format, is damaged or cannot be opened.
    """
    suffix = suffixes_of(path)[0]
    if not suffix:
        known = [_INSTEAD[suffix.lower()] for suffix in path.suffixes if suffix.lower() in _INSTEAD]
        instead = known[0] if known else "write the rollouts as Parquet or JSON lines"
        raise SettingError(
            f"{path}: expected a name that ends in {', '.join(FORMATS)}, "
            f"or one of these and {', '.join(COMPRESSIONS)}; {instead.format(path=path)}"
        )
    kind = FORMATS[suffix]
    try:
        with path.open("rb") as file:
            content = _decompressed(file)
            kind = next((kind for kind in FORMATS.values() if _begins(content, kind.begins)), kind)
            return kind.read(content, selection)
    except MemoryError:
        reason = "it needs more memory than there is; if it is not that large, it is damaged"
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = words.partition("\n")[0]
    raise SettingError(f"{path} cannot be read as {kind.name}: {reason}")


def _decompressed(file: BinaryIO) -> BinaryIO:
    for compression in COMPRESSIONS.values():
        if _begins(file, compression.begins):
            with compression.read(file) as content:
                return io.BytesIO(content.read())
    return file


def _begins(file: BinaryIO, content: bytes | None) -> bool:
    found = content is not None and file.read(len(content)) == content
    file.seek(0)
    return found


def require_writable(path: Path) -> None:
    """Check that columns can be written to a file of this name.

    Raises:
        SettingError: if not; the message lists the suffixes that are possible.
    """
    if suffixes_of(path)[0] not in WRITERS:
        raise SettingError(
            f"{path}: expected a name that ends in {' or '.join(WRITERS)}, "
            f"or one of these and {', '.join(COMPRESSIONS)}"
        )


def write_columns(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns to a file; its folder is created if needed.

    Args:
        path: The file; its suffixes determine the format and the compression.
        columns: Numpy arrays or tuples of numpy arrays, of equal length.

    Raises:
        SettingError: The name ends in another suffix, or the format cannot hold the values.
        OSError: The file cannot be written; no part of it is left.
    """
    require_writable(path)
    suffix, compression = suffixes_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    compressed = COMPRESSIONS[compression].write if compression else nullcontext
    with whole_file(path) as unfinished, unfinished.open("wb") as file, compressed(file) as content:
        WRITERS[suffix](content, columns)
