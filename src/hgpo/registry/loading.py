"""Loads a class by its spelling, MODULE:CLASS or path/to/file.py:CLASS, and finds the spelling of a class.

Modules are searched for on Python's path and in the current folder. A file is imported under its own name,
with its folder on Python's path, so that it can import other files in the folder.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import io
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from hgpo.errors import SettingError, in_one_line

_FILES: WeakKeyDictionary[ModuleType, Path] = WeakKeyDictionary()
"""The files of modules that were loaded by path."""
_OWN: set[str] = set()
"""The names of all modules that were loaded by this module."""


def load_class(spelling: str) -> Any:
    """The object that a spelling names.

    Raises:
        SettingError: if there is no such module, file or name in it, or if the module cannot be imported.
    """
    place, _, name = spelling.rpartition(":")
    if not place or not name:
        raise SettingError(f"{spelling}: expected MODULE:CLASS or FILE.py:CLASS")
    module = _module(place, spelling)
    try:
        return getattr(module, name)
    except AttributeError:
        known = [each for each, value in vars(module).items() if callable(value)]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {place}:{near[0]}?" if near else ""
        raise SettingError(f"{spelling}: {place} has no attribute {name!r}{hint}") from None


def spelling_of(cls: type) -> str:
    """The spelling that loads a class again, also in another process.

    Raises:
        SettingError: if there is none, because the class is not at the top level of its module.
    """
    module = sys.modules.get(cls.__module__)
    name = next((name for name, value in vars(module).items() if value is cls), None) if module else None
    if module is None or name is None:
        raise SettingError(
            f"{cls.__qualname__} cannot be loaded again by its name: define it at the top level of a module"
        )
    # A script's own module is called __main__ only while the script runs.
    script = getattr(module, "__file__", None) if module.__name__ == "__main__" else None
    path = _FILES.get(module, script and Path(script).resolve())
    return f"{path or module.__name__}:{name}"


def full_spelling(spelling: str) -> str:
    """The spelling with the full path of its file, if it names one: it then works in every folder."""
    place, _, name = spelling.rpartition(":")
    return f"{_full_path(place)}:{name}" if place.endswith(".py") else spelling


def own_place(error: BaseException) -> str | None:
    """The file and line in a user's module that raised an error; None if no such module was involved.

    In a chain of calls, this is the last call within the modules that `load_class` has loaded.
    """
    files = {getattr(sys.modules.get(name), "__file__", None) for name in _OWN}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else None


def _module(place: str, spelling: str) -> ModuleType:
    if place.endswith(".py"):
        path = _full_path(place)
        if not path.is_file():
            raise SettingError(f"{spelling}: there is no file {path}")
        _on_path(path.parent)
        module = _imported(_name_of(path, spelling), spelling)
        _FILES[module] = path
        return module
    _on_path(Path.cwd())
    return _imported(place, spelling)


def _full_path(place: str) -> Path:
    return Path(place).expanduser().resolve()


def _on_path(folder: Path) -> None:
    # The folder comes last on the path, so that its files do not hide installed modules.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def _name_of(path: Path, spelling: str) -> str:
    """The name by which Python finds this file."""
    name = path.stem
    if not name.isidentifier():
        raise SettingError(f"{spelling}: {path.name} is not a module name: use letters, digits and _")
    loaded = sys.modules.get(name)
    found = loaded.__spec__ if loaded is not None else importlib.util.find_spec(name)
    if found is None or found.origin is None or Path(found.origin).resolve() != path:
        other = getattr(found, "origin", None) or "built into Python"
        raise SettingError(f"{spelling}: another module is called {name} ({other}): rename the file")
    return name


def _imported(name: str, spelling: str) -> ModuleType:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            module = importlib.import_module(name)
    # A module can raise anything when it is imported, including SystemExit by sys.exit.
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in _parents(name):
            raise SettingError(
                f"{spelling}: No module named {error.name!r} in {os.getcwd()}, on PYTHONPATH or installed: "
                "correct the name, or start the command in the module's folder"
            ) from None
        raise SettingError(f"{spelling}: the import of {name} fails: {in_one_line(error)}") from None
    _OWN.add(module.__name__)
    if text := " ".join(printed.getvalue().split()):
        print(
            f"hgpo: {spelling}: {name} prints when it is imported ({text[:60]!r}): move that under "
            'if __name__ == "__main__"',
            file=sys.stderr,
        )
    return module


def _parents(name: str) -> set[str]:
    """A dotted name and the packages that contain it."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
