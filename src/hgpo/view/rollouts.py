"""The rollouts of all sources: an index with one entry per rollout, and one task at a time.

The index is made batch by batch, when a question needs it. A question has a time limit: its answer tells how
many batches it has read, and the same question, asked again, goes on where it stopped.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.credit import misordered_pairs
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS, Comparison, missing_column
from hgpo.registry import create
from hgpo.report.data import SampledRollouts, levels_data, long_data, rows_of_task, task_data
from hgpo.rollout_files.shown import ShownRollouts, read_long, read_shown
from hgpo.view.sources import Batch, Source

SECONDS = 0.3
"""Time limit of a question."""
CACHED_ROWS = 2_500_000
"""Number of steps whose tables are kept in memory."""
CACHED_SAMPLES = 2
"""Number of batches whose advantages and groups are kept in memory."""
OWN, RECORDED = "own", "recorded"
"""Advantages that need no estimator's name: those of the source's own estimator, and the file's column."""
SORTS: Mapping[str, Callable[[Index], NDArray[Any]]] = {
    "iteration": lambda index: index.iteration,
    "steps": lambda index: index.length,
    "reward": lambda index: index.reward,
    "advantage": lambda index: index.credit,
    "against": lambda index: np.where(index.won, -index.credit, index.credit),
    "contradictions": lambda index: index.contradictions,
}
"""What rollouts can be sorted by; "against" is the credit of lost rollouts, and minus that of won ones."""

T = TypeVar("T")


@dataclass(frozen=True)
class Filter:
    """Which rollouts are wanted. A range includes its ends; None is no bound."""

    iteration: tuple[float | None, float | None] = (None, None)
    steps: tuple[float | None, float | None] = (None, None)
    reward: tuple[float | None, float | None] = (None, None)
    advantage: tuple[float | None, float | None] = (None, None)
    """Of the mean advantage of the rollout's steps."""
    won: bool | None = None
    task_type: str | None = None
    task: str = ""
    """A part of the task's name or of its instruction."""
    text: str = ""
    """A part of an observation or an action."""


@dataclass(frozen=True, eq=False)
class Index:
    """One entry per rollout, in the order of the batch."""

    iteration: NDArray[np.int64]
    task: NDArray[Any]
    """Names of tasks."""
    task_type: NDArray[Any]
    instruction: NDArray[Any]
    trajectory: NDArray[Any]
    """Ids of rollouts, as texts."""
    won: NDArray[np.bool_]
    length: NDArray[np.int64]
    reward: NDArray[np.float64]
    credit: NDArray[np.float64]
    """Mean advantage."""
    contradictions: NDArray[np.int64]
    """Number of steps whose advantage contradicts their comparisons."""
    advantages: tuple[NDArray[np.float32], ...]
    """The advantages of each rollout's steps."""
    by_type: Mapping[str, tuple[int, ...]]
    """For each task type: pairs of a won and a lost rollout, misordered pairs, steps, contradictions,
    rollouts, and won rollouts."""

    def __len__(self) -> int:
        return len(self.iteration)


@dataclass(frozen=True, eq=False)
class Answer:
    """Some of the rollouts that were asked for."""

    total: int
    """Number of rollouts found so far."""
    read: int
    batches: int
    """Number of batches, of which `read` were searched."""
    rows: list[dict[str, Any]] = field(default_factory=list)


class Rollouts:
    """All rollouts of the sources, each identified by the source's number, its iteration and its id."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self._lock = threading.RLock()
        self._tables: OrderedDict[Batch, list[ShownRollouts]] = OrderedDict()
        self._samples: OrderedDict[tuple[int, Batch, str], SampledRollouts] = OrderedDict()
        self._indices: dict[tuple[int, Batch, str], Index] = {}
        self._matches: dict[tuple[int, Batch, str], NDArray[np.bool_]] = {}
        self._made = 0

    def find(
        self,
        source: int,
        wanted: Filter,
        credit: str,
        *,
        sort: str = "iteration",
        descending: bool = True,
        first: int = 0,
        count: int = 100,
        seconds: float = SECONDS,
    ) -> Answer:
        """Some of the rollouts of a source that pass a filter.

        Args:
            source: the source's number.
            wanted: the filter.
            credit: which advantages; see `_sample`.
            sort: one of `SORTS`; equal rollouts come in the order of iterations and of the file.
            descending: whether the largest come first.
            first: the number of rollouts to leave out.
            count: the largest number of rollouts to return.
            seconds: the time limit.

        Raises:
            SettingError: `sort` is unknown, or the rollouts or their advantages cannot be read or computed.
        """
        if sort not in SORTS:
            raise SettingError(f"sort is {sort!r}: choose from {', '.join(SORTS)}")
        every = self.sources[source].batches()
        batches = [batch for batch in every if _within(batch.iteration, wanted.iteration)]
        if descending:
            batches.reverse()

        def found(batch: Batch) -> tuple[Index, NDArray[np.int64]]:
            index = self._index(source, batch, credit)
            passed = _passes(index, wanted)
            if wanted.text and passed.any():
                passed &= self._matching(source, batch, wanted.text.casefold())
            return index, np.flatnonzero(passed)

        parts = self._until(batches, found, seconds)
        ends = np.cumsum([0, *(len(rows) for _, rows in parts)])
        order = np.arange(ends[-1])
        if sort != "iteration" and parts:
            keys = np.concatenate([SORTS[sort](index)[rows] for index, rows in parts])
            order = np.argsort(-keys if descending else keys, kind="stable")
        shown = order[first : first + count]
        of_part = np.searchsorted(ends, shown, side="right") - 1
        entries = [
            _entry(parts[part][0], int(parts[part][1][place - ends[part]]))
            for part, place in zip(of_part.tolist(), shown.tolist(), strict=True)
        ]
        return Answer(len(order), len(parts), len(batches), entries)

    def credit_by_type(self, source: int, credit: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Whether credit agrees with success and with the comparisons, by task type and iteration.

        Returns:
            "types", "iterations", and "cells": [type, iteration, pairs, misordered pairs, steps, steps whose
            advantage contradicts their comparisons, rollouts, won rollouts].
        """
        batches = self.sources[source].batches()
        parts = self._until(batches, lambda batch: self._index(source, batch, credit), seconds)
        types = sorted({kind for index in parts for kind in index.by_type})
        cells = [
            [number, int(index.iteration[0]), *index.by_type[kind]]
            for index in parts
            for number, kind in enumerate(types)
            if kind in index.by_type
        ]
        return {
            **{"types": types, "iterations": [batch.iteration for batch in batches], "cells": cells},
            **{"read": len(parts), "batches": len(batches)},
        }

    def task(
        self, source: int, iteration: int, task: str, credit: str, trajectory: str = ""
    ) -> dict[str, Any]:
        """A task of an iteration as a graph (see `task_data`), with its type, instruction, and who won.

        Args:
            source: the source's number.
            iteration: one of its iterations.
            task: the task's name.
            credit: which advantages; see `_sample`.
            trajectory: the id of a rollout; if the task was drawn more than once in the iteration, its group
                is the one that is shown, and otherwise the first.

        Raises:
            SettingError: there is no such task.
        """
        batch, shown = self._shown(source, iteration)
        sample = self._sampled(source, batch, shown, credit)
        of_task = _names(self.sources[source], shown) == task
        ids = shown.steps.trajectory_id.tolist()
        of_trajectory = np.fromiter((str(name) == trajectory for name in ids), bool, len(ids))
        rows = np.flatnonzero(of_trajectory if of_trajectory.any() else of_task)
        if not len(rows):
            raise SettingError(f"iteration {iteration} has no task {task!r}")
        code = int(shown.steps.task_code[rows[0]])
        order = rows_of_task(shown.steps, code)
        first = order[shown.steps.step_index[order] == 0]
        return {
            **{"iteration": iteration, "pooled": sample.comparison.pooled, "levels": levels_data(sample)},
            **{"task": task_data(sample, code), "name": task},
            "type": str(_detail(shown, "task_type", "")[order[0]]),
            "instruction": str(_detail(shown, "instruction", "")[order[0]]),
            "won": _won(shown)[first].tolist(),
        }

    def answers(self, source: int, iteration: int, trajectory: str) -> dict[str, Any]:
        """What the agent read and answered in a rollout; see `long_data`.

        Raises:
            SettingError: there is no such rollout.
        """
        batch, shown = self._shown(source, iteration)
        steps = shown.steps
        rows = np.flatnonzero([str(name) == trajectory for name in steps.trajectory_id.tolist()])
        if not len(rows):
            raise SettingError(f"iteration {iteration} has no rollout {trajectory!r}")
        rows = rows[np.argsort(steps.step_index[rows])]
        in_file = shown.rows[rows]
        ascending = np.argsort(in_file)
        columns = read_long(batch.part, self.sources[source].rename, in_file[ascending])
        back = np.argsort(ascending)
        ordered = {name: [column[place] for place in back] for name, column in columns.items()}
        return long_data(ordered, self.sources[source].reader())

    def common_tasks(self, first: int, second: int, credit: str, seconds: float = SECONDS) -> dict[str, Any]:
        """The tasks that two sources have in common, each with its iterations in both."""
        found: list[dict[str, set[int]]] = []
        read = batches = 0
        for source in (first, second):
            every = self.sources[source].batches()
            parts = self._until(every, lambda batch, of=source: self._index(of, batch, credit), seconds)
            of_task: dict[str, set[int]] = {}
            for index in parts:
                for task in np.unique(index.task).tolist():
                    of_task.setdefault(task, set()).add(int(index.iteration[0]))
            found.append(of_task)
            read, batches = read + len(parts), batches + len(every)
        one, other = found
        several = first != second
        common = [
            {"task": task, "first": sorted(one[task]), "second": sorted(other[task])}
            for task in one
            if task in other and (several or len(one[task]) > 1)
        ]
        return {"tasks": common, "read": read, "batches": batches}

    def _until(self, batches: Sequence[Batch], answer: Callable[[Batch], T], seconds: float) -> list[T]:
        """The answers for the first batches, until the time is over.

        What was made before is always taken, and one more is always made, so that a question that is asked
        again comes to its end.
        """
        found: list[T] = []
        with self._lock:
            end, made = time.monotonic() + seconds, self._made
            for batch in batches:
                if self._made > made and time.monotonic() > end:
                    break
                found.append(answer(batch))
        return found

    def _shown(self, source: int, iteration: int) -> tuple[Batch, ShownRollouts]:
        for batch in self.sources[source].batches():
            if batch.iteration == iteration:
                return batch, self._table(source, batch)
        raise SettingError(f"{self.sources[source].path} has no rollouts of iteration {iteration}")

    def _table(self, source: int, batch: Batch) -> ShownRollouts:
        with self._lock:
            # All iterations of a file are read at once.
            file = Batch(batch.path, batch.keys, batch.changed, batch.size, 0, None)
            if file not in self._tables:
                self._tables[file] = read_shown(batch.part, self.sources[source].rename)
                while len(self._tables) > 1 and _rows(self._tables.values()) > CACHED_ROWS:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(file)
            return next(shown for shown in self._tables[file] if shown.iteration == batch.column)

    def _sampled(self, source: int, batch: Batch, shown: ShownRollouts, credit: str) -> SampledRollouts:
        with self._lock:
            key = (source, batch, credit)
            if key not in self._samples:
                self._samples[key] = _sample(self.sources[source], batch, shown, credit)
                while len(self._samples) > CACHED_SAMPLES:
                    self._samples.popitem(last=False)
            return self._samples[key]

    def _index(self, source: int, batch: Batch, credit: str) -> Index:
        key = (source, batch, credit)
        if key not in self._indices:
            shown = self._table(source, batch)
            sample = self._sampled(source, batch, shown, credit)
            self._made += 1
            self._indices[key] = _index(self.sources[source], shown, sample)
        return self._indices[key]

    def _matching(self, source: int, batch: Batch, text: str) -> NDArray[np.bool_]:
        key = (source, batch, text)
        if key not in self._matches:
            steps = self._table(source, batch).steps
            rows = np.zeros(len(steps), bool)
            for column in (steps.observation, steps.action):
                if column is not None:
                    # Texts recur, so each is searched once.
                    has = {value: text in str(value).casefold() for value in set(column.tolist())}
                    rows |= np.fromiter((has[value] for value in column.tolist()), bool, len(column))
            self._made += 1
            self._matches[key] = np.bincount(steps.trajectory_code, rows) > 0
        return self._matches[key]


def _rows(tables: Any) -> int:
    return sum(len(shown.steps) for parts in tables for shown in parts)


def _within(value: Any, bounds: tuple[float | None, float | None]) -> Any:
    low, high = bounds
    return (True if low is None else value >= low) & (True if high is None else value <= high)


def _passes(index: Index, wanted: Filter) -> NDArray[np.bool_]:
    passed = np.ones(len(index), bool)
    passed &= _within(index.length, wanted.steps)
    passed &= _within(index.reward, wanted.reward)
    passed &= _within(index.credit, wanted.advantage)
    if wanted.won is not None:
        passed &= index.won == wanted.won
    if wanted.task_type is not None:
        passed &= index.task_type == wanted.task_type
    if wanted.task:
        part = wanted.task.casefold()
        texts = zip(index.task.tolist(), index.instruction.tolist(), strict=True)
        passed &= np.fromiter(
            (part in f"{name}\n{words}".casefold() for name, words in texts), bool, len(index)
        )
    return passed


def _sample(source: Source, batch: Batch, shown: ShownRollouts, credit: str) -> SampledRollouts:
    """The rollouts of a batch with advantages.

    Args:
        credit: JSON: {"name": OWN}, {"name": RECORDED}, or the name of an estimator, with its "settings".

    Raises:
        SettingError: there is no such estimator, or it cannot compute advantages for these rollouts.
    """
    name, settings = _choice(credit)
    if name == RECORDED:
        if "advantage" not in shown.details:
            raise SettingError(f"{batch.path} has no column advantage")
        recorded = shown.details["advantage"].astype(np.float64)
        return SampledRollouts(batch.iteration, shown.steps, recorded, _comparison(source, shown))
    if name == OWN:
        estimator = source.estimator()
    elif name in ESTIMATORS:
        estimator = create(ESTIMATORS[name], settings, name)
    else:
        raise SettingError(f"no estimator {name!r}: choose from {', '.join(ESTIMATORS)}")
    if missing := missing_column(estimator, shown.steps):
        raise SettingError(f"{type(estimator).__name__} needs the column {missing}, which {batch.path} lacks")
    try:
        return SampledRollouts.of(batch.iteration, shown.steps, estimator)
    except ValueError as error:
        raise SettingError(f"{batch.path}: {error}") from None


def _choice(credit: str) -> tuple[str, dict[str, Any]]:
    """The name and the settings in a choice of advantages."""
    try:
        match json.loads(credit):
            case {"name": str(name), "settings": dict(settings)}:
                return name, settings
            case {"name": str(name)}:
                return name, {}
    except json.JSONDecodeError:
        pass
    raise SettingError(f'credit is {credit!r:.60}: expected JSON such as {{"name": "{OWN}"}}')


def _comparison(source: Source, shown: ShownRollouts) -> Comparison:
    return source.estimator().comparison(shown.steps)


def _detail(shown: ShownRollouts, name: str, otherwise: Any) -> NDArray[Any]:
    return shown.details.get(name, np.full(len(shown.steps), otherwise))


def _won(shown: ShownRollouts) -> NDArray[np.bool_]:
    """Whether the rollout of each row was won: the column, or a reward above 0 in all."""
    steps = shown.steps
    count = int(steps.trajectory_code.max(initial=-1)) + 1
    if "won" in shown.details:
        won = np.bincount(steps.trajectory_code, shown.details["won"], count) > 0
    else:
        won = np.bincount(steps.trajectory_code, steps.reward, count) > 0
    return won[steps.trajectory_code]


def _names(source: Source, shown: ShownRollouts) -> NDArray[Any]:
    ids = shown.steps.task_id.tolist()
    name_of = {value: source.task_name(str(value)) for value in set(ids)}
    return np.fromiter((name_of[value] for value in ids), dtype=object, count=len(ids))


def _index(source: Source, shown: ShownRollouts, sample: SampledRollouts) -> Index:
    steps, trajectory = shown.steps, shown.steps.trajectory_code
    order = steps.time_order
    length = np.bincount(trajectory)
    starts = np.cumsum(length) - length
    first = order[starts]
    in_order = sample.advantages[order].astype(np.float32)
    task_type, won = _detail(shown, "task_type", "")[first], _won(shown)[first]
    credit = np.bincount(trajectory, sample.advantages) / length
    contradictions = np.bincount(trajectory, sample.against).astype(np.int64)
    return Index(
        iteration=np.full(len(length), sample.iteration),
        task=_names(source, shown)[first],
        task_type=task_type,
        instruction=_detail(shown, "instruction", "")[first],
        trajectory=np.array([str(steps.trajectory_id[row]) for row in first], dtype=object),
        won=won,
        length=length,
        reward=np.bincount(trajectory, steps.reward).astype(np.float64),
        credit=credit,
        contradictions=contradictions,
        advantages=tuple(np.split(in_order, starts[1:])),
        by_type=_by_type(task_type, steps.task_code[first], won, credit, length, contradictions),
    )


def _by_type(
    task_type: NDArray[Any],
    task: NDArray[np.int64],
    won: NDArray[np.bool_],
    credit: NDArray[np.float64],
    length: NDArray[np.int64],
    contradictions: NDArray[np.int64],
) -> dict[str, tuple[int, ...]]:
    """See `Index.by_type`; each argument has one value per rollout."""
    pairs, misordered = misordered_pairs(task, won, credit)
    found = {}
    for kind in dict.fromkeys(task_type.tolist()):
        of_type = task_type == kind
        tasks = np.unique(task[of_type])
        sums = (pairs[tasks], misordered[tasks], length[of_type], contradictions[of_type])
        counts = (int(amounts.sum()) for amounts in sums)
        found[str(kind)] = (*counts, int(of_type.sum()), int(won[of_type].sum()))
    return found


def _entry(index: Index, row: int) -> dict[str, Any]:
    return {
        "iteration": int(index.iteration[row]),
        "task": index.task[row],
        "type": str(index.task_type[row]),
        "instruction": str(index.instruction[row]),
        "trajectory": index.trajectory[row],
        "won": bool(index.won[row]),
        "steps": int(index.length[row]),
        "reward": float(index.reward[row]),
        "advantage": float(index.credit[row]),
        "contradictions": int(index.contradictions[row]),
        "advantages": [round(float(value), 4) for value in index.advantages[row]],
    }
