"""What the commands that read a file of rollouts have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hgpo.errors import SettingError
from hgpo.rollout_files import Rollouts, read_rollouts


def open_rollouts(path: Path, rename: Sequence[str], console: Console) -> Rollouts:
    """The rollouts in a file; what they are, and which columns mean nothing, is printed.

    Args:
        path: The file.
        rename: "THEIRS=OURS" for each column that goes by another name there.
        console: Where to print.

    Raises:
        SettingError: The file or a renaming cannot be read.
    """
    names = {}
    for pair in rename:
        theirs, equals, ours = pair.partition("=")
        if not (theirs and equals and ours):
            raise SettingError(f"--rename {pair}: expected THEIRS=OURS, e.g. uid=task_id")
        names[theirs] = ours
    rollouts = read_rollouts(path, names)
    console.print(f"{path}: {rollouts.steps!r}", soft_wrap=True, highlight=False, markup=False)
    if rollouts.ignored:
        console.print(
            f"not read: {', '.join(rollouts.ignored)}", soft_wrap=True, highlight=False, markup=False
        )
    return rollouts
