"""Plots learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hgpo.files import whole_file
from hgpo.runs.display import decoding

WINDOW = 10
"""Window of the smoothed curve, in iterations: one iteration has few tasks, so its success rate is noisy."""


def plot_learning_curve(
    metrics: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]], path: Path
) -> None:
    """Plot the success rate per iteration: training rollouts as a line, each split as points with intervals.

    Args:
        metrics: records of metrics.jsonl.
        evaluations: records of evaluations.jsonl.
        path: the PNG file to write.
    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        [record["iteration"] for record in metrics],
        [record["success_rate"] for record in metrics],
        color="0.8",
        linewidth=1,
        label="training rollouts",
    )
    axes.plot(*_smoothed(metrics), color="0.4", label=f"mean of {WINDOW} iterations")
    splits = sorted({(record["split"], record["temperature"]) for record in evaluations})
    for number, (split, temperature) in enumerate(splits):
        records = [r for r in evaluations if (r["split"], r["temperature"]) == (split, temperature)]
        rates = [record["success_rate"] for record in records]
        axes.errorbar(
            # Side by side, so that intervals at the same iteration do not overlap.
            [record["iteration"] + 0.4 * (number - (len(splits) - 1) / 2) for record in records],
            rates,
            yerr=[
                [rate - record["interval_95"][0] for rate, record in zip(rates, records, strict=True)],
                [record["interval_95"][1] - rate for rate, record in zip(rates, records, strict=True)],
            ],
            marker="o",
            linestyle=":" if temperature else "-",
            capsize=3,
            label=f"{split}, {decoding(temperature)}",
        )
    axes.set(xlabel="iteration", ylabel="success", ylim=(0, 1))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.3)
    axes.legend()
    save_picture(figure, path, dpi=120)


def save_picture(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure in the format of the path's suffix; the options are those of `Figure.savefig`.

    Raises:
        OSError: The file cannot be written; no part of it is left.
    """
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix.removeprefix("."), **options)


def _smoothed(metrics: Sequence[dict[str, Any]]) -> tuple[list[int], list[float]]:
    """Iterations, and the moving average of the success rate over `WINDOW` iterations, at each of them."""
    rates = [record["success_rate"] for record in metrics]
    ends = range(WINDOW, len(rates) + 1)
    return (
        [metrics[end - 1]["iteration"] for end in ends],
        [sum(rates[end - WINDOW : end]) / WINDOW for end in ends],
    )
