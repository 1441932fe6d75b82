"""Atomic writes, which never leave a partial file, and locks that allow one writer per folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hgpo.errors import RunError


def reason(error: Exception) -> str:
    """A short description of an error."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under; when the block ends, the file is moved to its place.

    If writing fails or is interrupted, the temporary file is removed, and an older file at the path stays.

    Raises:
        OSError: The file cannot be moved to its place, e.g. because there is a folder of that name.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError):
            # The error of a full disk comes from a write, which has no file name.
            error.filename = str(path)
        raise


def atomic_write(path: Path, text: str) -> None:
    """Write a text as UTF-8; a lone surrogate, which UTF-8 cannot encode, becomes its escape, `\\ud83d`.

    Raises:
        OSError: It cannot be written; no partial file is left.
    """
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def exclusive_lock(folder: Path, doing: str) -> Iterator[None]:
    """Keep other processes from doing the same in the folder, which is created if needed.

    Raises:
        RunError: if another process is doing it already, or the folder cannot be written to.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(f"another process is {doing} in {folder}: wait until it ends, or stop it") from None
    except OSError as error:
        raise RunError(f"{folder} is not a folder that can be written to: {reason(error)}") from None
    try:
        yield
    finally:
        lock.release()
