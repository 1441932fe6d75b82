"""What a run of gpu.py measures: one line of JSON each, written as it comes, and a table of them all."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figures:
    """The figures of one section, added to a file."""

    path: Path
    section: str
    until: float
    """When the section has to be over, in seconds since the epoch."""
    release: Callable[[], None] = lambda: None
    """Gives memory back that a part has left."""

    def add(
        self,
        what: str,
        value: float,
        unit: str,
        *,
        paper: float | None = None,
        at_most: float | None = None,
        **details: Any,
    ) -> None:
        """Write a figure down, and show it.

        Args:
            what: was measured.
            value: in `unit`.
            unit: of the value.
            paper: what docs/scaling.md's arithmetic expects of this card.
            at_most: what a right result does not exceed.
            details: whatever else belongs to it.
        """
        figure: dict[str, Any] = {"what": what, "value": value, "unit": unit}
        if paper is not None:
            figure["paper"] = paper
        if at_most is not None:
            # Not "value > at_most", which NaN would pass.
            figure |= {"at_most": at_most, "ok": value <= at_most}
        write(self.path, {"section": self.section, **figure, **details})

    def left(self) -> float:
        """Seconds until the section has to be over."""
        return self.until - time.time()

    def attempt(self, what: str, part: Callable[..., None], *arguments: Any, needs: float = 0.0) -> None:
        """Run a part of the section; a failure is written down, and what comes after it goes on.

        Args:
            what: names the part.
            part: is called with the arguments.
            arguments: of the part.
            needs: seconds without which it is not begun.
        """
        if self.left() < needs:
            self.fail(what, f"not begun: {self.left():.0f} seconds left of the {needs:.0f} that it needs")
            return
        started = time.perf_counter()
        try:
            part(*arguments)
        except Exception as error:
            traceback.print_exc()
            words = str(error).splitlines() or [""]
            self.fail(what, f"{type(error).__name__}: {words[0]}")
        self.release()
        print(f"  {what}: {time.perf_counter() - started:.1f} s", flush=True)

    def fail(self, what: str, why: str) -> None:
        """Write down that a part has no figures, and why."""
        write(self.path, {"section": self.section, "what": what, "failed": why})


def write(path: Path, record: dict[str, Any]) -> None:
    """Add a line to the file, there at once whatever becomes of the process, and show it."""
    line = json.dumps(record)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line, flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file; a last one that was cut off is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def failures(records: Sequence[dict[str, Any]]) -> int:
    """How many parts failed or gave a wrong result."""
    return sum("failed" in record or record.get("ok") is False for record in records)


def table(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The figures as a Markdown table."""
    yield "| section | | measured | unit | on paper | |"
    yield "|---|---|---:|---|---:|---|"
    for record in records:
        if "failed" in record:
            yield f"| {record['section']} | {record['what']} | | | | FAILED: {record['failed']} |"
        elif "value" in record:
            paper = _short(record["paper"]) if "paper" in record else ""
            yield (
                f"| {record['section']} | {record['what']} | {_short(record['value'])} | {record['unit']} "
                f"| {paper} | {_verdict(record)} |"
            )


def _verdict(record: dict[str, Any]) -> str:
    """Whether a figure keeps its limit; without one, what is to be said of it."""
    if "ok" not in record:
        return record.get("note", "")
    return f"at most {record['at_most']:g}: {'ok' if record['ok'] else 'TOO LARGE'}"


def _short(value: float) -> str:
    """A number with as many digits as can be trusted."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
