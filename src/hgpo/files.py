"""Files of which nobody finds half, whoever reads one or stops the writer; and one writer a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hgpo.errors import RunError


def write_whole(path: Path, text: str) -> None:
    """Write a text to a new name beside the file, then move it into its place."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


@contextmanager
def only_process(folder: Path, doing: str) -> Iterator[None]:
    """Keep other processes from doing the same in the folder, which is made if need be.

    Raises:
        RunError: if one does already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise RunError(f"another process is {doing} in {folder}: wait until it ends, or stop it") from None
