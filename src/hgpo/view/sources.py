"""What is looked at: runs, and files of rollouts, each in batches that are compared with one another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from hgpo.errors import SettingError
from hgpo.estimators import ENTROPY_CREDITS, HGPO, Estimator
from hgpo.report.data import run_data, sampled_files
from hgpo.report.tokens import AS_NUMBERS, TokenReader, token_reader
from hgpo.rollout_files import is_run
from hgpo.rollout_files.places import Part, parts_of
from hgpo.rollout_files.shown import iterations_of
from hgpo.rollouts.episodes import task_of_group
from hgpo.runs.folder import RunLog
from hgpo.training.config import load_config


@dataclass(frozen=True)
class Batch:
    """The rollouts of one iteration, which are compared with one another.

    Two batches are equal only if the file has not changed in between.
    """

    path: Path
    keys: tuple[tuple[str, str | None], ...]
    """Columns that come from the names of the file's folders."""
    changed: int
    """When the file was last written, in nanoseconds."""
    size: int
    iteration: int
    column: int | None
    """The value in the file's column "iteration"; None if it has no such column."""

    @property
    def part(self) -> Part:
        """The file."""
        return Part(self.path, dict(self.keys))


class Source(Protocol):
    """A run, or a file or folder of rollouts."""

    @property
    def path(self) -> Path:
        """The run's folder, or the file or folder of rollouts."""
        ...

    @property
    def rename(self) -> Mapping[str, str]:
        """New names of columns; see `read_rollouts`."""
        ...

    def batches(self) -> list[Batch]:
        """What is there now, in the order of iterations."""
        ...

    def estimator(self) -> Estimator:
        """The estimator that shows the advantages unless another one is chosen."""
        ...

    def reader(self) -> TokenReader:
        """How token ids are shown."""
        ...

    def task_name(self, task_id: str) -> str:
        """The name of a task, which other iterations and other sources have in common."""
        ...

    def about(self) -> dict[str, Any]:
        """What the page shows apart from rollouts, as JSON values."""
        ...

    def state(self) -> tuple[Any, ...]:
        """What changes when there is something new to see."""
        ...


@dataclass(frozen=True)
class RunSource:
    """A run, also while it trains."""

    path: Path
    rename: Mapping[str, str]

    def batches(self) -> list[Batch]:
        """The iterations whose rollouts the run has kept: all of them, or its samples."""
        files = {int(file.stem): file for name in ("samples", "rollouts") for file in self._files(name)}
        return [_batch(Part(files[number]), number) for number in sorted(files)]

    def estimator(self) -> Estimator:
        """The estimator that the run is trained with, and its entropy credit."""
        config = load_config(self.path / "config.json")
        return ENTROPY_CREDITS[config.entropy_credit](config.estimator)

    def reader(self) -> TokenReader:
        """The tokenizer of the run's model."""
        reference = RunLog(self.path).reference
        return token_reader(reference) if reference.exists() else AS_NUMBERS

    def task_name(self, task_id: str) -> str:
        """The suite's name of the task."""
        return task_of_group(task_id)

    def about(self) -> dict[str, Any]:
        """The run's settings, metrics and evaluations, and how far it is."""
        config = load_config(self.path / "config.json")
        return run_data(config, RunLog(self.path)) | {
            "kind": "run",
            "changed": max(path.stat().st_mtime for path in self._records()),
            "planned": config.iterations,
            "keeps": config.keep_rollouts,
            "sample_every": config.sample_every,
        }

    def state(self) -> tuple[Any, ...]:
        """The run's records and rollouts, by the times of their files."""
        return (*self.batches(), *(path.stat().st_mtime_ns for path in self._records()))

    def _records(self) -> list[Path]:
        paths = [self.path / name for name in ("config.json", "metrics.jsonl", "evaluations.jsonl")]
        return [path for path in paths if path.exists()]

    def _files(self, name: str) -> list[Path]:
        return sampled_files(self.path / name)


@dataclass(frozen=True)
class FileSource:
    """A file of rollouts, or a folder of them, each file with the rollouts of one iteration or more."""

    path: Path
    rename: Mapping[str, str]
    tokenizer: Path | None = None

    def batches(self) -> list[Batch]:
        """The iterations in the files: from the column of this name, or the number in the file's name."""
        parts = parts_of(self.path)
        found: list[Batch] = []
        for place, part in enumerate(parts):
            digits = re.findall(r"\d+", part.path.name.partition(".")[0])
            named = int(digits[-1]) if digits and len(parts) > 1 else place
            batch = _batch(part, named)
            for iteration in _iterations(batch, tuple(self.rename.items())):
                number = named if iteration is None else iteration
                found.append(_batch(part, number, iteration))
        return sorted(found, key=lambda batch: batch.iteration)

    def estimator(self) -> Estimator:
        """The published method, as a file does not tell with which one it was made."""
        return HGPO()

    def reader(self) -> TokenReader:
        """The given tokenizer, or numbers."""
        return AS_NUMBERS if self.tokenizer is None else token_reader(self.tokenizer)

    def task_name(self, task_id: str) -> str:
        """The task's id."""
        return task_id

    def about(self) -> dict[str, Any]:
        """The file's name."""
        return {"kind": "files", "name": self.path.name, "metrics": [], "evaluations": [], "settings": {}}

    def state(self) -> tuple[Any, ...]:
        """The batches."""
        return tuple(self.batches())


def open_source(path: Path, rename: Mapping[str, str], tokenizer: Path | None) -> Source:
    """The run or the rollouts at a path, checked to be readable.

    Args:
        path: a run's folder, or a file or a folder of rollouts.
        rename: for rollouts, new names of columns; see `read_rollouts`.
        tokenizer: for rollouts, the folder of the model whose tokens they have.

    Raises:
        SettingError: if there is neither a run nor rollouts.
    """
    if is_run(path):
        load_config(path / "config.json")
        return RunSource(path, {})
    source = FileSource(path, rename, tokenizer)
    source.batches()
    return source


def runs_in(path: Path) -> list[Path]:
    """The runs in a folder, such as that of `hgpo compare`; the path itself if it has none or is one."""
    if is_run(path) or not path.is_dir():
        return [path]
    for folder in (path, path / "runs"):
        if folder.is_dir() and (found := [run for run in sorted(folder.iterdir()) if is_run(run)]):
            return found
    return [path]


def _batch(part: Part, iteration: int, column: int | None = None) -> Batch:
    try:
        found = part.path.stat()
    except OSError as error:
        raise SettingError(f"{part.path} cannot be read: {error.strerror}") from None
    return Batch(part.path, tuple(part.keys.items()), found.st_mtime_ns, found.st_size, iteration, column)


@lru_cache(maxsize=100_000)
def _iterations(batch: Batch, rename: tuple[tuple[str, str], ...]) -> Sequence[int | None]:
    return iterations_of(batch.part, dict(rename))
