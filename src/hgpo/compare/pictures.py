"""Plots of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hgpo.compare.plan import Plan
from hgpo.compare.runs import run_folder
from hgpo.compare.summary import WINDOW, MethodSummary
from hgpo.report.curves import save_picture
from hgpo.runs.folder import RunLog

_LINES = ("-", "--", ":", "-.")


def plot_curves(plan: Plan, folder: Path, seeds: Sequence[int], path: Path) -> None:
    """Plot the success rate of training rollouts against environment steps: the mean over seeds as a thick
    line, each seed as a thin one.

    Color shows the method, line style the loss.
    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for number, arm in enumerate(plan.arms):
        method, loss = divmod(number, max(1, len(plan.losses)))
        color, line = f"C{method % 10}", _LINES[loss % len(_LINES)]
        curves = [_curve(RunLog(run_folder(folder, arm, seed))) for seed in seeds]
        for steps, rates in curves:
            axes.plot(steps, rates, line, color=color, alpha=0.2, linewidth=0.8)
        # The mean is over all seeds at the same step, so it ends where the shortest seed ends.
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
    # Curves reach this corner last.
    axes.legend(loc="upper left", ncols=3)
    save_picture(figure, path, dpi=120)


def plot_success(summaries: Sequence[MethodSummary], path: Path) -> None:
    """Plot each method's success rate on each split, with its confidence interval."""
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
    """Environment steps, and the success rate as a moving average, from the first full window on."""
    metrics = log.read_metrics()
    steps = np.cumsum([record["environment_steps"] for record in metrics])
    rates = [record["success_rate"] for record in metrics]
    ends = range(min(WINDOW, len(rates)), len(rates) + 1)
    return (
        [float(steps[end - 1]) for end in ends],
        [sum(rates[max(0, end - WINDOW) : end]) / min(WINDOW, end) for end in ends],
    )
