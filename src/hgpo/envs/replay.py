"""Compares recorded episodes with this package's engines: counts the compared steps and lists differences."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hgpo.errors import SettingError

MOST_SHOWN = 20
"""Number of differences that are printed; the others are counted."""


@dataclass(frozen=True)
class Difference:
    """A difference from the recording."""

    where: str
    """The episode and the step."""
    what: str
    """The name of the value that differs."""
    recorded: Any
    played: Any


@dataclass
class Comparison:
    """The result of a replay."""

    episodes: int = 0
    steps: int = 0
    """Number of steps compared, not counting starts."""
    differing_steps: int = 0
    """Number of steps or starts with any difference."""
    differences: list[Difference] = field(default_factory=list)
    searches: int = 0
    """Number of searches, in environments that have them."""
    ranked_otherwise: int = 0
    """Number of searches with the right number of results, but in another order or with other products; the
    rest of such an episode is not compared."""

    @property
    def exact(self) -> bool:
        """Whether at least one step was compared and nothing differs, including the ranking of searches."""
        return self.steps > 0 and not self.differences and not self.ranked_otherwise

    def compare(self, where: str, recorded: dict[str, Any], played: dict[str, Any]) -> None:
        """Record the differences between two descriptions of one step."""
        found = [
            Difference(where, name, recorded.get(name), value)
            for name, value in played.items()
            if recorded.get(name) != value
        ]
        self.differing_steps += bool(found)
        self.differences += found


def read_recordings(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and records of a .jsonl or .jsonl.xz file.

    Raises:
        SettingError: if there is no such file, or a line is not a JSON object.
    """
    number = 0
    try:
        with lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, _record(path, number, line)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise SettingError(f"{path} cannot be read after line {number}: {error}") from None


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{path}, line {number} is not a recorded episode: {error}") from None
    if not isinstance(record, dict):
        raise SettingError(f"{path}, line {number} is not a recorded episode: it is not a JSON object")
    return record


def format_comparison(comparison: Comparison) -> str:
    """The comparison as lines for a terminal."""
    head = f"{comparison.episodes} episodes, {comparison.steps} steps compared: "
    lines = [head + f"{comparison.differing_steps} differ"]
    if not comparison.differences:
        lines = [head + ("all equal" if comparison.steps else "nothing to compare")]
    if comparison.searches:
        lines.append(f"{comparison.searches} searches, {comparison.ranked_otherwise} ranked differently")
    for difference in comparison.differences[:MOST_SHOWN]:
        lines.append(f"  {difference.where}: {difference.what}")
        lines.append(f"    recorded {difference.recorded!r}")
        lines.append(f"    played   {difference.played!r}")
    hidden = len(comparison.differences) - MOST_SHOWN
    return "\n".join([*lines, *([f"  … and {hidden} more"] if hidden > 0 else [])])
