"""The common part of commands that read a file of rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hgpo.errors import SettingError
from hgpo.rollout_files import COLUMNS, Rollouts, nearest, read_rollouts


def open_rollouts(path: Path, rename: Sequence[str], console: Console) -> Rollouts:
    """The rollouts in a file; a summary and the columns that are not read are printed.

    Args:
        path: The file, or a folder of them.
        rename: "THEIRS=OURS" for each column that has another name in the file.
        console: Where to print.

    Raises:
        SettingError: if the file cannot be read, or a renaming does not have this form.
    """
    rollouts = read_rollouts(path, new_names(rename))
    say(console, f"{path}: {rollouts.steps!r}")
    if rollouts.ignored:
        absent = [name for name in COLUMNS if getattr(rollouts.steps, name) is None]
        shown = [_with_nearest(name, absent) for name in rollouts.ignored]
        say(console, f"not read: {', '.join(shown)}")
    return rollouts


def new_names(rename: Sequence[str]) -> dict[str, str]:
    """The new name of each column that "THEIRS=OURS" renames.

    Raises:
        SettingError: if one does not have this form.
    """
    names = {}
    for pair in rename:
        theirs, equals, ours = pair.partition("=")
        if not (theirs and equals and ours):
            raise SettingError(f"--rename {pair}: expected THEIRS=OURS, e.g. uid=task_id")
        names[theirs] = ours
    return names


def _with_nearest(name: str, absent: Sequence[str]) -> str:
    """The name of a column that is not read, with the known column that may be meant."""
    close = nearest(name, absent, likeness=0.85)
    return f"{name} (for {close}: --rename {name}={close})" if close else name


def say(console: Console, text: str) -> None:
    """Print a text unchanged: file and column names may look like rich's markup."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)
