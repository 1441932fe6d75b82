"""Finds the checkpoints in a run's folder and checks that they are complete, without importing torch."""

from __future__ import annotations

import json
from pathlib import Path

from hgpo.errors import SettingError

STATE = "state.json"
"""The file that is written last: a folder without it is not a complete checkpoint."""


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run; None if there is none."""
    return max(complete_checkpoints(folder), default=None)


def checkpoint_iteration(checkpoint: Path) -> int:
    """Number of iterations done before a checkpoint.

    Raises:
        SettingError: if the checkpoint is incomplete, or was not written by hgpo.
    """
    try:
        state = json.loads((checkpoint / STATE).read_text())
        iteration, files = int(state["iteration"]), dict(state["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise unusable(checkpoint, f"{STATE} was not written by this version of hgpo") from None
    for name, size in files.items():
        path = checkpoint / name
        found = path.stat().st_size if path.is_file() else 0
        if found != size:
            raise unusable(checkpoint, f"{name} has {found} of {size} bytes")
    return iteration


def checkpoint_entropy_coefficient(checkpoint: Path) -> float | None:
    """The entropy coefficient of the iteration after a checkpoint; None in checkpoints of older versions."""
    return json.loads((checkpoint / STATE).read_text()).get("entropy_coefficient")


def unusable(checkpoint: Path, why: str) -> SettingError:
    """The error for a checkpoint that cannot be used; it names the previous checkpoint, if there is one."""
    earlier = [path for path in complete_checkpoints(checkpoint.parent) if path < checkpoint]
    fix = (
        f"; to continue from the previous one, {earlier[-1].name}, move it out of the way: mv {checkpoint} "
        f"{checkpoint}.damaged"
        if earlier
        else "; there is none before it"
    )
    return SettingError(f"{checkpoint} cannot be used: {why}{fix}")


def complete_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    found = (path for path in folder.glob("*") if path.name.isdigit())
    return sorted(path for path in found if (path / STATE).is_file())
