"""Tables of a comparison."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from hgpo.analysis.intervals import Interval
from hgpo.compare.summary import GOALS, WINDOW, MethodSummary
from hgpo.files import atomic_write


def summary_tables(
    summaries: Sequence[MethodSummary], seeds: Sequence[int], reference: str, suite: str
) -> Group:
    """One table per split, narrow enough for any terminal."""
    tables: list[RenderableType] = []
    for split in dict.fromkeys(summary.split for summary in summaries):
        table = Table(title=f"{split}, greedy, after training", title_justify="left")
        # The name of a user's own method may be a path, whose end is the most informative part.
        table.add_column("method", overflow="fold")
        goals = [f"to {goal:.0%}" for goal in GOALS]
        for column in ("success %", "95 %", f"− {reference}", "95 %", *goals):
            table.add_column(column, justify="right")
        for summary in (summary for summary in summaries if summary.split == split):
            difference = ("", "") if summary.difference is None else _cells(summary.difference, signed=True)
            steps = [_thousands(count) for count in summary.steps_to]
            table.add_row(summary.method, *_cells(summary.success), *difference, *steps)
        tables.append(table)
    tables.append(
        f"[dim]Tasks: {suite}. Seeds {', '.join(map(str, seeds))}; intervals by bootstrap over seeds and "
        "tasks. to 50%: environment steps until the success rate of training rollouts, averaged over "
        f"{WINDOW} iterations, reaches 50%.[/]"
    )
    return Group(*tables)


def markdown(summaries: Sequence[MethodSummary], reference: str, suite: str) -> str:
    """The same as a Markdown table, with the budgets used and the tasks."""
    goals = " | ".join(f"steps to {goal:.0%}" for goal in GOALS)
    lines = [
        f"| method | split | success % (95 %) | less {reference}'s (95 %) | P(above {reference}) % (95 %) "
        f"| interquartile mean % | {goals} | environment steps | optimizer steps |",
        "|---|---|---|---|---|---|" + "---|" * (len(GOALS) + 2),
    ]
    for summary in summaries:
        difference = "" if summary.difference is None else _points(summary.difference)
        improvement = "" if summary.improvement is None else _percent(summary.improvement)
        steps = " | ".join(_thousands(count) for count in summary.steps_to)
        lines.append(
            f"| {summary.method} | {summary.split} | {_percent(summary.success)} | {difference} "
            f"| {improvement} | {100 * summary.interquartile_mean:.1f} | {steps} "
            f"| {_thousands(summary.environment_steps)} | {summary.optimizer_steps:.0f} |"
        )
    return "\n".join([*lines, "", f"Tasks: {suite}"]) + "\n"


def write_results(folder: Path, summaries: Sequence[MethodSummary], reference: str, suite: str) -> None:
    """Write results.json and results.md."""
    values = [asdict(summary) for summary in summaries]
    for value in values:
        value["steps_to"] = [None if math.isinf(steps) else steps for steps in value["steps_to"]]
    atomic_write(folder / "results.json", json.dumps(values, indent=2) + "\n")
    atomic_write(folder / "results.md", markdown(summaries, reference, suite))


def _percent(interval: Interval) -> str:
    return "{} ({})".format(*_cells(interval))


def _points(interval: Interval) -> str:
    return "{} ({})".format(*_cells(interval, signed=True))


def _cells(interval: Interval, signed: bool = False) -> tuple[str, str]:
    """Mean and interval in percent or, with a sign, in percentage points."""
    mean, low, high = (100 * value for value in (interval.mean, interval.low, interval.high))
    if signed:
        return f"{mean:+.1f}", f"{low:+.0f} … {high:+.0f}"
    return f"{mean:.1f}", f"{low:.0f} … {high:.0f}"


def _thousands(steps: float) -> str:
    return "never" if math.isinf(steps) else f"{steps / 1000:.0f} k"
