"""Finds the files of rollouts at a path, a file or a folder of parts, and suggests corrections of names."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from hgpo.errors import SettingError
from hgpo.rollout_files.formats import FORMATS, WRITERS, suffixes_of

_NOT_PARTS = ("dataset_info.json", "state.json")
"""Files that the library datasets writes next to its Arrow files."""

LISTED = 30
"""Largest number of names that an error lists."""


@dataclass(frozen=True)
class Part:
    """One file of rollouts."""

    path: Path
    keys: Mapping[str, str | None] = field(default_factory=dict)
    """Columns that come from the names of the file's folders, such as task_id=7, each with its one value."""


def parts_of(path: Path) -> list[Part]:
    """The files with the rollouts at a path: the file itself, or those of a folder, sorted by name.

    Folders within the folder are searched if their names give a column's value, such as task_id=7. Names that
    begin with "_" or "." are left out, as in Spark and Hadoop.

    Raises:
        SettingError: There is no such path, no file in a known format, or files in several formats.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SettingError(_not_there(path, error)) from None
    if stat.S_ISREG(mode):
        return [Part(path)]
    if not stat.S_ISDIR(mode):
        raise SettingError(f"{path} is a pipe or a device: write the rollouts to a file first")
    if is_run(path):
        raise SettingError(
            f"{path} is the folder of a run: give one of the files in {path / 'rollouts'}, "
            "which hgpo train --keep-rollouts writes"
        )
    try:
        parts = list(_parts(path, {}))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from None
    if not parts:
        inner = [folder.name for folder in sorted(path.iterdir()) if folder.is_dir()]
        raise SettingError(
            f"{path} has no file whose name ends in {', '.join(FORMATS)}"
            + (f"; it has the folders {listed(inner)}" if inner else "")
        )
    for part in parts[1:]:
        if FORMATS[suffixes_of(part.path)[0]].name != FORMATS[suffixes_of(parts[0].path)[0]].name:
            raise SettingError(
                f"{path} has files in several formats, {parts[0].path.name} and {part.path.name}: "
                "give one of them, or a folder for each format"
            )
    return parts


def result_path(path: Path, what: str) -> Path:
    """The path for a result computed from rollouts: next to them, in their format if it can be written.

    Args:
        path: A file or a folder of rollouts.
        what: A word for the file's name: r.parquet and "advantages" make r.advantages.parquet.

    Raises:
        SettingError: as in `parts_of`.
    """
    file = parts_of(path)[0].path
    suffix, compression = suffixes_of(file)
    if path.name in ("", ".."):
        path = Path(os.path.abspath(path))
    stem = path.name[: -len(suffix + compression)] if path == file and suffix else path.name
    if suffix not in WRITERS:
        suffix = ".jsonl" if suffix == ".json" else ".parquet"
    return path.with_name(f"{stem}.{what}{suffix}{compression}")


def is_run(folder: Path) -> bool:
    """Whether this is the folder of a run."""
    return os.path.isfile(folder / "config.json")


def _parts(folder: Path, keys: Mapping[str, str | None]) -> Iterator[Part]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(("_", ".")) or path.name in _NOT_PARTS:
            continue
        name, equals, value = path.name.partition("=")
        if path.is_dir() and equals:
            # Hive gives this name to the folder of rows without a value.
            given = None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
            yield from _parts(path, {**keys, unquote(name): given})
        elif path.is_file() and suffixes_of(path)[0]:
            yield Part(path, keys)


def _not_there(path: Path, error: OSError) -> str:
    """Why a path cannot be read, and which path may have been meant."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{path} cannot be read: {error.strerror}"
    if path.is_symlink():
        return f"{path} is a link to {os.readlink(path)}, which does not exist"
    missing = path
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    if missing.is_file():
        return f"no file {path}: {missing} is a file, not a folder"
    what = f"no file or folder {path}" + ("" if missing == path else f": there is no folder {missing}")
    close = None
    with suppress(PermissionError):
        # If a parent folder does not exist, only another folder can have been meant.
        names = [known.name for known in missing.parent.iterdir() if missing == path or known.is_dir()]
        close = _meant_file(missing.name, names)
    return f"{what}; did you mean {missing.with_name(close)}?" if close else what


def _meant_file(name: str, names: Sequence[str]) -> str | None:
    """The file whose stem is most similar to a name's; suffixes decide ties, as many names share them."""
    stem = meant(_stem(name), map(_stem, names))
    return nearest(name, [known for known in names if _stem(known) == stem], likeness=0)


def _stem(name: str) -> str:
    return name.partition(".")[0] or name


def listed(names: Sequence[str]) -> str:
    """A list of names for an error message, shortened if there are too many to read."""
    return ", ".join([*names[:LISTED], "…"] if len(names) > LISTED else names)


def nearest(name: str, names: Iterable[str], likeness: float = 0.6) -> str | None:
    """The name that is most similar to a given one; case, spaces, "_" and "-" are ignored.

    Args:
        name: The given name, which may be mistyped.
        names: The names that may have been meant.
        likeness: Smallest ratio of difflib, at most 1; the result is None if no name reaches it.
    """
    forms = {_bare(known): known for known in names}
    close = difflib.get_close_matches(_bare(name), forms, n=1, cutoff=likeness)
    return forms[close[0]] if close else None


def meant(name: str, names: Iterable[str]) -> str | None:
    """The most likely meaning of an unknown name: a similar name, or one of which one begins the other."""
    names = sorted(names)
    return nearest(name, names) or next((known for known in names if _one_begins(known, name)), None)


def _one_begins(name: str, other: str) -> bool:
    """Whether one of the two begins with the other."""
    short, long = sorted((_bare(name), _bare(other)), key=len)
    return len(short) >= 3 and long.startswith(short)


def _bare(name: str) -> str:
    return "".join(character for character in name.lower() if character not in " _-")
