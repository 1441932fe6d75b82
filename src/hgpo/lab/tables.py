"""Writes the results of experiments: tables as Markdown and CSV, plots as PNG and SVG."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hgpo.analysis.intervals import Interval
from hgpo.files import atomic_write, whole_file
from hgpo.lab.estimators import REFERENCES
from hgpo.lab.game_gradient import GameGradients
from hgpo.lab.game_learning import GameLearned
from hgpo.lab.gradient import Aligned
from hgpo.lab.learning import Learned
from hgpo.lab.oracle import OracleResult
from hgpo.lab.sweeps import AHEAD, FIGURES, TITLES, Line
from hgpo.lab.theory import Claim
from hgpo.report.curves import save_picture

SHOWN = {
    "GRPO": ("0.6", ":"),
    "level 0": ("tab:blue", "-"),
    "level 2": ("tab:cyan", "-"),
    "whole history": ("tab:green", "-"),
    "HGPO α=1": ("tab:red", "-"),
    "HGPO reliability": ("tab:purple", "--"),
    "HGPO": ("tab:red", "-"),
    "GAE λ=0.95": ("tab:orange", "--"),
    "exact value": ("black", ":"),
}
"""The estimators in a sweep's plots, each with colour and line style; the tables have all estimators."""
PANELS = {
    "bias": "bias (root mean square)",
    "spread": "standard deviation",
    "alignment": "cosine with the exact advantages",
}


def save_figure(figure: Figure, path: Path) -> None:
    """Write PNG and SVG; the same figure gives the same files."""
    save_picture(figure, path.with_suffix(".png"), dpi=120)
    # Without a fixed salt the ids in an SVG would be random.
    with matplotlib.rc_context({"svg.hashsalt": "hgpo"}):
        save_picture(figure, path.with_suffix(".svg"), metadata={"Date": None})


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as Markdown, with intervals as mean ± half width, and as CSV, with both ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path.with_suffix(".md"), _markdown(header, rows))
    _write_csv(path, header, rows)


def write_crossed(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], *, by: int, tables: Mapping[str, int]
) -> None:
    """Write all rows as CSV and, for each figure, a Markdown table with one row per estimator.

    Args:
        path: the file's path without suffix.
        header, rows: the first columns identify a row; one of them is called "estimator".
        by: the column whose values become the columns of the Markdown tables.
        tables: by title, the index of the column that each Markdown table shows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = header.index("estimator")
    columns = list(dict.fromkeys(row[by] for row in rows))
    texts = []
    for title, column in tables.items():
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            found.setdefault(row[line], {})[row[by]] = row[column]
        crossed = [[name, *(cells[each] for each in columns)] for name, cells in found.items()]
        texts.append(f"{title}\n\n{_markdown(['estimator', *columns], crossed)}")
    atomic_write(path.with_suffix(".md"), "\n".join(texts))
    _write_csv(path, header, rows)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(map(_short, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with whole_file(path.with_suffix(".csv")) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        first: list[Any] = list(rows[0]) if rows else []
        writer.writerow(
            [
                column
                for name, value in zip(header, first, strict=True)
                for column in ([name, f"{name} low", f"{name} high"] if _is_interval(value) else [name])
            ]
        )
        for row in rows:
            writer.writerow(
                [
                    cell
                    for value in row
                    for cell in ([value.mean, value.low, value.high] if _is_interval(value) else [value])
                ]
            )


def write_sweep(folder: Path, lines: Sequence[Line]) -> list[Path]:
    """Write a table and a plot for every axis; returns their paths, without suffix."""
    written = []
    for axis in dict.fromkeys(line.axis for line in lines):
        of_axis = [line for line in lines if line.axis == axis]
        path = folder / f"sweep_{axis}"
        header = [axis, "estimator", *FIGURES, AHEAD]
        rows = [[line.at, line.estimator, *line.figures.values()] for line in of_axis]
        write_table(path, header, rows)
        save_figure(_drawn(axis, of_axis), path)
        written.append(path)
    return written


def _drawn(axis: str, lines: Sequence[Line]) -> Figure:
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    places = list(dict.fromkeys(line.at for line in lines))
    for panel, (name, title) in zip(panels, PANELS.items(), strict=True):
        for estimator, (colour, style) in SHOWN.items():
            shown = [line for line in lines if line.estimator == estimator]
            if not shown:
                continue
            means = [line.figures[name].mean for line in shown]
            panel.plot(
                [places.index(line.at) for line in shown],
                means,
                color=colour,
                linestyle=style,
                marker="o",
                markersize=4,
                label=estimator,
            )
            panel.fill_between(
                [places.index(line.at) for line in shown],
                [line.figures[name].low for line in shown],
                [line.figures[name].high for line in shown],
                color=colour,
                alpha=0.08,
                linewidth=0,
            )
        panel.set(title=title, xlabel=TITLES[axis], ylim=(0, None))
        panel.set_xticks(range(len(places)), [f"{place:g}".replace("inf", "∞") for place in places])
        panel.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    return figure


def _is_interval(value: Any) -> bool:
    return isinstance(value, Interval)


def _short(value: Any) -> str:
    if isinstance(value, Interval):
        half = max(value.high - value.mean, value.mean - value.low)
        return f"{value.mean:.3f} ± {half:.3f}"
    return f"{value:g}".replace("inf", "∞").replace("nan", "–") if isinstance(value, float) else str(value)


def write_claims(folder: Path, claims: Sequence[Claim]) -> Path:
    """Write the table of assumptions; returns its path, without suffix."""
    path = folder / "theory_claims"
    header = ["processes", "assumption", "expected", "found", "verdict"]
    write_table(path, header, [[c.process, c.claim, c.expected, c.found, c.verdict] for c in claims])
    return path


def write_weights(folder: Path, lines: Sequence[Line]) -> Path:
    """Write the table that compares weights; returns its path, without suffix."""
    path = folder / "theory_weights"
    header = ["processes", "weights", *FIGURES, AHEAD]
    write_table(path, header, [[line.axis, line.estimator, *line.figures.values()] for line in lines])
    return path


def write_gradients(folder: Path, lines: Sequence[Aligned]) -> list[Path]:
    """Write the cosines of gradients on processes, one file per N; returns the paths, without suffix."""
    less = [f"16 groups less {other}" for other in REFERENCES]
    header = ["kind", "estimator", "row", "expected", "1 group", "16 groups", *less]
    tables = {
        "Rows": 2,
        "Expected gradient": 3,
        "Gradient of 1 task group": 4,
        "Gradient of 16 task groups": 5,
        **{f"Gradient of 16 task groups, less {other}'s": 6 + n for n, other in enumerate(REFERENCES)},
    }
    written = []
    for size in dict.fromkeys(line.group_size for line in lines):
        path = folder / f"gradient_N{size}"
        rows = [
            [each.kind, each.estimator, *vars(each.cosines).values(), *each.many_less.values()]
            for each in lines
            if each.group_size == size
        ]
        write_crossed(path, header, rows, by=0, tables=tables)
        written.append(path)
    return written


def write_game_gradients(folder: Path, name: str, found: GameGradients) -> Path:
    """Write the cosines of gradients on games; returns the path, without suffix."""
    path = folder / f"gradient_{name}"
    less = [f"16 groups less {other}" for other in REFERENCES]
    header = ["estimator", "expected", "1 group", "16 groups", *less, "success"]
    rows = [
        [line.estimator, line.expected, line.few, line.many, *line.many_less.values(), found.success]
        for line in found.lines
    ]
    write_table(path, header, rows)
    return path


def write_learning(folder: Path, lines: Sequence[Learned]) -> list[Path]:
    """Write the results of learning on processes, one file per N; returns the paths, without suffix."""
    less = [f"less {other}" for other in REFERENCES]
    header = ["kind", "estimator", "share", *less, "learning rate", "processes"]
    tables = {
        "Share of the way to the optimum": 2,
        **{f"The share less {o}'s": 3 + n for n, o in enumerate(REFERENCES)},
    }
    written = []
    for size in dict.fromkeys(line.group_size for line in lines):
        path = folder / f"learning_N{size}"
        rows = [
            [each.kind, each.estimator, each.share, *each.less.values(), each.learning_rate, each.processes]
            for each in lines
            if each.group_size == size
        ]
        write_crossed(path, header, rows, by=0, tables=tables)
        written.append(path)
    return written


def write_game_learning(folder: Path, name: str, lines: Sequence[GameLearned]) -> list[Path]:
    """Write the results of learning on games, one file per N; returns the paths, without suffix."""
    header = ["estimator", "training success"]
    header += [f"training less {other}" for other in REFERENCES]
    header += ["held-out success", *(f"held-out less {other}" for other in REFERENCES), "learning rate"]
    written = []
    for size in dict.fromkeys(line.group_size for line in lines):
        path = folder / f"learning_{name}_N{size}"
        rows = [
            [
                each.estimator,
                each.training,
                *each.training_less.values(),
                each.held_out,
                *each.held_out_less.values(),
                each.learning_rate,
            ]
            for each in lines
            if each.group_size == size
        ]
        write_table(path, header, rows)
        written.append(path)
    return written


def write_oracle(folder: Path, name: str, result: OracleResult) -> list[Path]:
    """Write table and plot of the estimators, and of group sizes; returns the paths, without suffix."""
    scores, sizes = folder / f"oracle_{name}", folder / f"oracle_{name}_sizes"
    rows = [
        [estimator, *(figure(each) for figure in FIGURES.values()), result.ahead[estimator]]
        for estimator, each in result.scores.items()
    ]
    write_table(scores, ["estimator", *FIGURES, AHEAD], rows)
    save_figure(_bars(result), scores)
    bounds = (1, 2, 3, 4, 8, 16, 32)
    table = []
    for level, found in result.sizes.items():
        there = found[found > 0]
        shares = [float(np.mean(there >= bound)) if len(there) else float("nan") for bound in bounds]
        table.append([level, float(np.mean(found > 0)), *shares])
    write_table(sizes, ["level", "there", *(f"size ≥ {bound}" for bound in bounds)], table)
    save_figure(_size_curves(result), sizes)
    return [scores, sizes]


def _bars(result: OracleResult) -> Figure:
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    names = list(result.scores)[::-1]
    for panel, (figure_name, title) in zip(panels, PANELS.items(), strict=True):
        panel.barh(names, [FIGURES[figure_name](result.scores[name]) for name in names], color="tab:blue")
        panel.set(title=title)
        panel.grid(alpha=0.3, axis="x")
    return figure


def _size_curves(result: OracleResult) -> Figure:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for level, found in result.sizes.items():
        sizes = np.sort(found)
        axes.step(sizes, 1 - np.arange(len(sizes)) / len(sizes), where="post", label=level)
    axes.set(
        xscale="symlog",
        xlabel="size of a step's group, itself included; 0: there is none",
        ylabel="share of steps whose group is at least as large",
        ylim=(0, 1),
    )
    ticks = [0, 1, 2, 4, 8, 16, 32, 64]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
