"""A comparison as tables and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Group, RenderableType
from rich.table import Table

from hgpo.analysis.intervals import Interval
from hgpo.compare.plan import Plan
from hgpo.compare.runs import run_folder
from hgpo.compare.summary import GOALS, WINDOW, MethodSummary
from hgpo.files import atomic_write
from hgpo.report.curves import save_picture
from hgpo.runs.folder import RunLog


def summary_tables(
    summaries: Sequence[MethodSummary], seeds: Sequence[int], reference: str, suite: str
) -> Group:
    """A table for each split, narrow enough for any terminal."""
    tables: list[RenderableType] = []
    for split in dict.fromkeys(summary.split for summary in summaries):
        table = Table(title=f"{split}, greedy, after training", title_justify="left")
        table.add_column("method")
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
        f"games. to 50%: environment steps until {WINDOW} iterations of training rollouts are won so "
        "often.[/]"
    )
    return Group(*tables)


def markdown(summaries: Sequence[MethodSummary], reference: str, suite: str) -> str:
    """The same as a table of Markdown, with the budgets that were used and the tasks."""
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


_LINES = ("-", "--", ":", "-.")


def plot_curves(plan: Plan, folder: Path, seeds: Sequence[int], path: Path) -> None:
    """Success of the training rollouts by environment steps: mean over the seeds, and each seed thinly.

    Methods differ by color, and losses by the kind of line.
    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for number, arm in enumerate(plan.arms):
        method, loss = divmod(number, max(1, len(plan.losses)))
        color, line = f"C{method % 10}", _LINES[loss % len(_LINES)]
        curves = [_curve(RunLog(run_folder(folder, arm, seed))) for seed in seeds]
        for steps, rates in curves:
            axes.plot(steps, rates, line, color=color, alpha=0.2, linewidth=0.8)
        # All seeds are read off at the same steps, as far as the shortest of them goes.
        end = min(steps[-1] for steps, _ in curves)
        grid = np.linspace(max(steps[0] for steps, _ in curves), end, 100)
        mean = np.mean([np.interp(grid, steps, rates) for steps, rates in curves], axis=0)
        axes.plot(grid, mean, line, color=color, linewidth=2, label=arm)
    axes.set(
        xlabel="environment steps", ylabel=f"success in training, mean of {WINDOW} iterations", ylim=(0, 1)
    )
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:.0f} k")
    axes.grid(alpha=0.3)
    axes.legend()
    save_picture(figure, path, dpi=120)


def plot_success(summaries: Sequence[MethodSummary], path: Path) -> None:
    """Success of each method on each split with its interval."""
    splits = list(dict.fromkeys(summary.split for summary in summaries))
    methods = list(dict.fromkeys(summary.method for summary in summaries))
    figure = Figure(figsize=(7.5, 1.5 + 0.4 * len(methods)), layout="constrained")
    axes = figure.add_subplot()
    for number, split in enumerate(splits):
        found = {summary.method: summary.success for summary in summaries if summary.split == split}
        places = [place + 0.2 * (number - (len(splits) - 1) / 2) for place in range(len(methods))]
        means = [found[method].mean for method in methods]
        errors = [
            [found[method].mean - found[method].low for method in methods],
            [found[method].high - found[method].mean for method in methods],
        ]
        axes.errorbar(means, places, xerr=errors, fmt="o", capsize=3, label=split)
    axes.set(yticks=range(len(methods)), yticklabels=methods, xlabel="greedy success")
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.3)
    axes.legend()
    save_picture(figure, path, dpi=120)


def _curve(log: RunLog) -> tuple[list[float], list[float]]:
    """Environment steps and mean success of the last iterations, from the first whole window on."""
    metrics = log.read_metrics()
    steps = np.cumsum([record["environment_steps"] for record in metrics])
    rates = [record["success_rate"] for record in metrics]
    ends = range(min(WINDOW, len(rates)), len(rates) + 1)
    return (
        [float(steps[end - 1]) for end in ends],
        [sum(rates[max(0, end - WINDOW) : end]) / min(WINDOW, end) for end in ends],
    )


def _percent(interval: Interval) -> str:
    return "{} ({})".format(*_cells(interval))


def _points(interval: Interval) -> str:
    return "{} ({})".format(*_cells(interval, signed=True))


def _cells(interval: Interval, signed: bool = False) -> tuple[str, str]:
    """Mean and interval in percent, or in points of percent with a sign."""
    mean, low, high = (100 * value for value in (interval.mean, interval.low, interval.high))
    if signed:
        return f"{mean:+.1f}", f"{low:+.0f} … {high:+.0f}"
    return f"{mean:.1f}", f"{low:.0f} … {high:.0f}"


def _thousands(steps: float) -> str:
    return "never" if math.isinf(steps) else f"{steps / 1000:.0f} k"
