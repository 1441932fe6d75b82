"""Files of which nobody finds half, whoever reads one or stops the writer; and one writer a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hgpo.errors import RunError


def reason(error: Exception) -> str:
    """What went wrong, in a few words."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The name to write a file under until it is complete; then it takes its place.

    Where writing fails or is stopped, what was written is removed, and an older file of that name stays.

    Raises:
        OSError: The file cannot be moved to its place, e.g. because a folder is there.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError):
            # A full disk shows in a write, which knows no name.
            error.filename = str(path)
        raise


def atomic_write(path: Path, text: str) -> None:
    """Write a text as UTF-8; a lone surrogate, which UTF-8 cannot hold, as its escape, `\\ud83d`.

    Raises:
        OSError: It cannot be written; nothing of it is left then.
    """
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def exclusive_lock(folder: Path, doing: str) -> Iterator[None]:
    """Keep other processes from doing the same in the folder, which is made if need be.

    Raises:
        RunError: if one does already, or the folder cannot be written into.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(f"another process is {doing} in {folder}: wait until it ends, or stop it") from None
    except OSError as error:
        raise RunError(f"{folder} is no folder to write into: {reason(error)}") from None
    try:
        yield
    finally:
        lock.release()
