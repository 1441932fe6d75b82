"""Reads WebShop's data files record by record: the full files do not fit into many machines' memory."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

import rich.progress
from rich.console import Console

from hgpo.errors import SettingError

COMPRESSIONS = ("", ".gz", ".bz2", ".xz", ".zst")
"""Suffixes that may follow the names of files; a file's first bytes determine its compression."""
LARGE_FILE = 50_000_000
"""Size in bytes from which progress is shown while a file is read."""
PIECE = 1 << 20
"""Number of characters that are read at a time."""
LONGEST_RECORD = 1 << 26
"""Largest number of characters of a record."""
LONGEST_SIGN = 8
"""Number of characters after an error to examine; no JSON word, escape or end of a number is longer."""
CUT_OFF = "it is cut off"

_BLANK = re.compile(r"[ \t\r\n]*")
_BEHIND_VALUE = re.compile(r"[ \t\r\n,:\]}]")
# Python writes NaN for missing numbers, which is not JSON; it is read as None.
_DECODER = json.JSONDecoder(parse_constant=lambda name: None)


def read_list(path: Path) -> Iterator[Any]:
    """The items of a JSON list.

    Raises:
        SettingError: if the file is not a JSON list, or ends in the middle of it.
    """
    return _read(path, "[]", lambda values: values.next())


def read_object(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and values of a JSON object.

    Raises:
        SettingError: if the file is not a JSON object, or ends in the middle of it.
    """
    return _read(path, "{}", _named)


def _named(values: _Values) -> tuple[str, Any]:
    name = values.next()
    if not isinstance(name, str) or values.sign() != ":":
        raise ValueError("expected a name and a colon")
    return name, values.next()


def _read(path: Path, brackets: str, item: Callable[[_Values], Any]) -> Iterator[Any]:
    """The items between two brackets; an error names the last item that could be read."""
    last = None
    try:
        with _opened(path) as text:
            values = _Values(text)
            if values.ahead() != brackets[0]:
                raise ValueError(_no_data(values.ahead(20), brackets[0]))
            sign = values.sign()
            if values.ahead() == brackets[1]:
                raise ValueError("it holds no products")
            while sign in (brackets[0], ","):
                last = item(values)
                yield last
                sign = values.sign()
            if sign != brackets[1]:
                raise ValueError(f"expected a comma or the end, not {sign!r}" if sign else CUT_OFF)
            if values.ahead():
                raise ValueError(f"{values.ahead(20)!r} follows its end")
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError, RecursionError) as error:
        where = "at its start" if last is None else f"after product {_name(last)}"
        raise SettingError(f"{path} cannot be read {where}: {_reason(error)}") from None


class _Values:
    """Reads the JSON values and punctuation of a text one after the other."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0

    def sign(self) -> str:
        """Consume and return the next character that is not blank; empty at the end."""
        sign = self.ahead()
        self._at += len(sign)
        return sign

    def ahead(self, count: int = 1) -> str:
        """The next characters after blanks, without consuming them; fewer at the end."""
        self._skip_blanks()
        return self._text[self._at : self._at + count]

    def next(self) -> Any:
        """The value that begins at the current position."""
        self._skip_blanks()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                rest = self._text[error.pos : error.pos + LONGEST_SIGN]
                if len(self._text) - self._at > LONGEST_RECORD or not self._more():
                    raise ValueError(_no_value(error.msg, rest)) from None
            else:
                # A number is complete only if something else follows: "1" and "1e" may belong to "1e5".
                if _BEHIND_VALUE.match(self._text, end) or not self._more():
                    self._at = end
                    return value

    def _skip_blanks(self) -> None:
        while True:
            match = _BLANK.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text) or not self._more():
                return

    def _more(self) -> bool:
        """Read more text, as much as is there already; False at the end."""
        rest = self._text[self._at :]
        piece = self._file.read(max(PIECE, len(rest)))
        if piece:
            self._text, self._at = rest + piece, 0
        return bool(piece)


def _zstd(file: IO[bytes]) -> Any:
    import pyarrow  # a large package for a rare file

    return pyarrow.CompressedInputStream(file, "zstd")


_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": _zstd,
}
"""The function that opens a compressed file, by the first bytes of the file."""


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The file's text; shows progress if reading takes long."""
    with path.open("rb") as file:
        begin = file.read(8)
    opener = next((opener for magic, opener in _OPENERS.items() if begin.startswith(magic)), None)
    console = Console(stderr=True)
    with rich.progress.open(
        path,
        "rb",
        description=f"reading {path.name}",
        console=console,
        transient=True,
        disable=path.stat().st_size < LARGE_FILE or not console.is_terminal,
    ) as file:
        content: IO[bytes] = file if opener is None else opener(file)
        # A byte order mark may come first.
        with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
            yield text


def _no_data(begin: str, expected: str) -> str:
    """Why a text is not the expected JSON, judged by its beginning."""
    known = {"<": "is a web page", "PK\x03\x04": "is a zip archive"}
    told = next((kind for start, kind in known.items() if begin.startswith(start)), f"begins with {begin!r}")
    return f"it {told if begin else 'is empty'}, not a JSON {'list' if expected == '[' else 'object'}"


def _no_value(said: str, rest: str) -> str:
    """Why no value could be read, from the decoder's message and the text at the error."""
    cut_off = said.startswith("Unterminated string") or re.fullmatch(r"[\\\w.+-]*", rest)
    return CUT_OFF if cut_off else f"it is not JSON ({said})"


def _reason(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return "it is not text in UTF-8"
        case EOFError():
            return CUT_OFF
        case RecursionError():
            return "it is nested too deeply"
    return " ".join(str(error).split())


def _name(item: Any) -> str:
    """The name of the product that an item describes."""
    match item:
        case {"asin": asin} | (asin, _):
            return str(asin)[:80]
    return str(item)[:80]
