"""Shows the progress and the results of a run in the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from hgpo.rollouts.evaluate import (
    ProtocolResult,
    PublishedProtocol,
    SplitResult,
    Success,
    failed_episodes,
    mean_and_std,
)

Advance = Callable[[int, int], None]
"""Called with the amount of work that is done in a phase, and with its total."""


class Display(Protocol):
    """Receives what a run reports while it trains."""

    def say(self, message: str) -> None:
        """Show one line of text."""
        ...

    def warn(self, message: str) -> None:
        """Show a warning, of one or more lines."""
        ...

    def phase(self, name: str) -> Any:
        """A context manager for one phase of the work; it yields an `Advance`."""
        ...

    def iteration(self, record: dict[str, float], iterations: int) -> None:
        """Show the metrics of a finished iteration."""
        ...


class NoDisplay(Display):
    """Reports nothing."""

    @override
    def say(self, message: str) -> None:
        pass

    @override
    def warn(self, message: str) -> None:
        pass

    @override
    @contextmanager
    def phase(self, name: str) -> Iterator[Advance]:
        yield lambda done, total: None

    @override
    def iteration(self, record: dict[str, float], iterations: int) -> None:
        pass


class RichDisplay(Display):
    """Shows progress bars at the bottom of the terminal, and one line per iteration above them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            transient=True,
            # Without a terminal, the bars would only leave a blank line.
            disable=not console.is_interactive,
        )
        self._overall = self._progress.add_task("iterations", total=None, visible=False, note="")

    def __enter__(self) -> RichDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, message: str) -> None:
        """Show one line above the bars."""
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Show red lines above the bars."""
        self.console.print(message, style="bold red", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[Advance]:
        """Show a bar while the phase lasts."""
        bar = self._progress.add_task(name, total=None, note="")
        try:
            yield lambda done, total: self._progress.update(bar, completed=done, total=total)
        finally:
            self._progress.remove_task(bar)

    def iteration(self, record: dict[str, float], iterations: int) -> None:
        """Show one line of metrics, and advance the overall bar by one."""
        peers = "/".join(
            f"{value:.0%}" for name, value in record.items() if name.startswith("peer_fraction_")
        )
        self.console.print(
            f"[bold]{record['iteration']:>4}[/]/{iterations}"
            f"  success [bold]{record['success_rate']:6.1%}[/]"
            + (f"  score {100 * record['score_mean']:5.1f}" if "score_mean" in record else "")
            + f"  return {record['return_mean']:5.2f}"
            f"  steps {record['steps_mean']:4.1f}"
            f"  valid {record['valid_action_rate']:6.1%}"
            + (f"  KL {record['kl']:.3f}" if "kl" in record else "")
            + f"  entropy {record['entropy']:.2f}"
            + (f"  peers {peers}" if peers else "")
            + f"  [dim]{record['seconds']:.1f} s[/]",
            highlight=False,
            soft_wrap=True,
        )
        self._progress.update(self._overall, total=iterations, completed=record["iteration"], visible=True)


def evaluation_tables(records: Sequence[dict[str, Any]], title: str) -> Group:
    """Tables of the success rates on the splits, narrow enough for any terminal.

    The first table has one row per split and decoding method, and columns for the first and the last
    evaluation; the second shows the last evaluation by task type.
    """
    iterations = sorted({record["iteration"] for record in records})
    shown = sorted({iterations[0], iterations[-1]})
    ways = list(dict.fromkeys((record["split"], record["temperature"]) for record in records))
    by_place = {(r["iteration"], r["split"], r["temperature"]): r for r in records}
    overall = Table(title=title, title_justify="left")
    overall.add_column("split")
    overall.add_column("decoding")
    for iteration in shown:
        overall.add_column(f"iteration {iteration}", justify="right")
    for split, temperature in ways:
        cells = [by_place.get((iteration, split, temperature)) for iteration in shown]
        overall.add_row(split, decoding(temperature), *map(_success_cell, cells))
    kinds = Table(title=f"by task type, after iteration {shown[-1]}", title_justify="left")
    kinds.add_column("task type")
    last = [record for record in records if record["iteration"] == shown[-1]]
    for record in last:
        kinds.add_column(f"{record['split']}\n{decoding(record['temperature'])}", justify="right")
    for kind in sorted({kind for record in last for kind in record["by_kind"]}):
        counts = [record["by_kind"].get(kind) for record in last]
        kinds.add_row(short_kind(kind), *(_kind_cell(Success(**c) if c else None) for c in counts))
    scores = [record.get("mean_score") for record in last]
    if any(score is not None for score in scores):
        kinds.add_row("score of 100", *map(_score_cell, scores))
    kinds.add_row("steps per episode", *(f"{record['mean_steps']:.1f}" for record in last), end_section=True)
    invalid = sum((Counter(record.get("invalid", {})) for record in last), Counter[str]())
    return Group(
        overall,
        kinds,
        *([f"[dim]invalid answers: {invalid_kinds(invalid)}[/]"] if invalid else []),
        *_suite_lines(record.get("suite") for record in last),
    )


def players_tables(rows: Mapping[str, Sequence[SplitResult]]) -> Group:
    """Tables of the success rates of several players on the same splits, overall and by task type.

    Args:
        rows: each player's results, one per split; all players have the same splits.
    """
    splits = [result.split for result in next(iter(rows.values()))]
    overall = Table(title="success of each held-out game once, in % (95 %)", title_justify="left")
    overall.add_column("player")
    for split in splits:
        overall.add_column(split, justify="right")
    scored = any(result.mean_score is not None for results in rows.values() for result in results)
    if scored:
        overall.add_column("score", justify="right")
    overall.add_column("steps", justify="right")
    overall.add_column("valid", justify="right")
    for player, results in rows.items():
        overall.add_row(
            player,
            *(_short_rate_cell(result.success) for result in results),
            *([" / ".join(_score_cell(result.mean_score) for result in results)] if scored else []),
            " / ".join(f"{result.mean_steps:.1f}" for result in results),
            " / ".join(_share_cell(result.answers.valid_action_rate) for result in results),
        )
    return Group(
        overall,
        *_lost_lines(rows),
        *_invalid_lines(rows),
        *(_kinds_table(number, split, rows) for number, split in enumerate(splits)),
        *_suite_lines(result.suite for results in rows.values() for result in results),
    )


def _invalid_lines(rows: Mapping[str, Sequence[SplitResult | ProtocolResult]]) -> list[str]:
    """The number of invalid answers of each kind, for each player that gave any."""
    counts = {
        player: sum((Counter(result.answers.invalid) for result in results), Counter[str]())
        for player, results in rows.items()
    }
    return [
        f"[dim]invalid answers of {escape(player)}: {invalid_kinds(count)}[/]"
        for player, count in counts.items()
        if count
    ]


def invalid_kinds(counts: Mapping[str, int]) -> str:
    """The number of invalid answers per reason, the most frequent first: "12 not_listed, 3 cut_off"."""
    return ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items(), key=lambda item: -item[1]))


def _lost_lines(rows: Mapping[str, Sequence[SplitResult | ProtocolResult]]) -> list[Text]:
    """The number of each player's episodes that failed before their end, and the reasons."""
    return [
        Text(f"{player}, {line}")
        for player, results in rows.items()
        for result in results
        if (line := failed_episodes(result)) is not None
    ]


def _suite_lines(descriptions: Iterable[str | None]) -> list[str]:
    """The suites that were played, each once; runs of older versions do not name theirs."""
    return [f"[dim]tasks: {escape(suite)}[/]" for suite in dict.fromkeys(descriptions) if suite]


def _share_cell(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.0%}"


def _score_cell(score: float | None) -> str:
    return "–" if score is None else f"{100 * score:.1f}"


def _short_rate_cell(success: Success) -> str:
    low, high = success.interval()
    return f"{100 * success.rate:.1f} [dim]({100 * low:.0f}–{100 * high:.0f})[/]"


def _kinds_table(number: int, split: str, rows: Mapping[str, Sequence[SplitResult]]) -> Table:
    table = Table(title=f"{split} by task type", title_justify="left")
    table.add_column("task type")
    for player in rows:
        table.add_column(player, justify="right")
    for kind in sorted({kind for results in rows.values() for kind in results[number].by_kind}):
        found = [results[number].by_kind.get(kind) for results in rows.values()]
        table.add_row(short_kind(kind), *map(_kind_cell, found))
    return table


def published_table(rows: Mapping[str, Sequence[ProtocolResult]]) -> Group:
    """Success, and score where measured, under the published protocol, to compare with the paper's table.

    Args:
        rows: each player's results, one per split; all players have the same splits.
    """
    protocol = PublishedProtocol()
    table = Table(
        title=f"success in %, {protocol.seeds} × {protocol.draws} draws, temperature {protocol.temperature}",
        title_justify="left",
    )
    table.add_column("player")
    for result in next(iter(rows.values())):
        if result.scores is not None:
            table.add_column(f"{result.split}: score", justify="right")
        table.add_column(result.split, justify="right")
    for player, results in rows.items():
        measured = [values for r in results for values in (r.scores, r.rates) if values is not None]
        table.add_row(player, *map(_protocol_cell, measured))
    suites = (result.suite for results in rows.values() for result in results)
    return Group(table, *_lost_lines(rows), *_invalid_lines(rows), *_suite_lines(suites))


def _protocol_cell(values: Sequence[float]) -> str:
    mean, std = mean_and_std(values)
    return f"{100 * mean:.2f} ± {100 * std:.2f}"


def _rate_cell(success: Success) -> str:
    low, high = success.interval()
    return f"{success.rate:.1%}  [dim]({low:.0%} – {high:.0%})[/]"


def _success_cell(record: dict[str, Any] | None) -> str:
    if record is None:
        return "–"
    return _rate_cell(Success(**record["success"]))


def _kind_cell(success: Success | None) -> str:
    """Success in percent and its 95 % interval."""
    if success is None or not success.tasks:
        return "–"
    low, high = success.interval()
    return f"{100 * success.rate:.0f}% [dim]({100 * low:.0f}–{100 * high:.0f})[/]"


def decoding(temperature: float) -> str:
    """The name of the decoding method at a temperature."""
    return "greedy" if temperature == 0 else f"sampled at {temperature:g}"


def short_kind(kind: str) -> str:
    """A task type's name, short enough for a column header."""
    return kind.removesuffix("_then_place_in_recep").replace("_simple", "").replace("_", " ")
