"""Tasks of a suite by position, for training stacks that read a dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hgpo.envs.base import TaskSuite, tasks_of
from hgpo.errors import SettingError
from hgpo.random_streams import TASKS, RandomStreams

STREAM = 1_000_000
"""The reported length of the training split, from which any number of tasks can be drawn."""


@dataclass(frozen=True)
class TaskReference:
    """A task, identified by its draw: it is small, and any process with the suite can repeat the draw."""

    split: str
    """The split's name in the suite."""
    count: int | None
    """Number of tasks in the draw; None for the whole of a held-out split."""
    seed: int
    """Seed of the draw."""
    number: int
    """Position of the task in the draw, counted from 0."""


class TaskStream:
    """The tasks of some splits of a suite, one split after the other.

    For the training split these are the tasks that `hgpo train` plays with the same seed, in the same order;
    the tasks of one iteration are drawn together. A held-out split has each of its tasks once.
    """

    def __init__(
        self, suite: TaskSuite, splits: Sequence[str], *, per_iteration: int, seed: int, limit: int | None
    ) -> None:
        """Determine the length of each split; only held-out tasks are loaded.

        Args:
            suite: the environment.
            splits: names of splits.
            per_iteration: number of training tasks that are drawn together.
            seed: seed of the training tasks.
            limit: largest number of tasks per split; None takes all.

        Raises:
            SettingError: if the suite has no such split, or a split has no tasks.
        """
        self.splits, self.per_iteration, self.seed = list(splits), per_iteration, seed
        for split in self.splits:
            if split not in suite.splits:
                raise SettingError(
                    f"data names the split {split!r}, but {suite.name} has {', '.join(suite.splits)}"
                )
        self.training = suite.splits[0]
        sizes = []
        for split in self.splits:
            # Drawing one training task shows that there are some; the others are drawn when they are played.
            tasks = tasks_of(suite, split, 1 if split == self.training else None)
            sizes.append(STREAM if split == self.training else len(tasks))
        self._ends = np.cumsum([size if limit is None else min(size, limit) for size in sizes]).tolist()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> TaskReference:
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = int(np.searchsorted(self._ends, index, side="right"))
        split, place = self.splits[which], index - (self._ends[which - 1] if which else 0)
        if split != self.training:
            return TaskReference(split, None, 0, place)
        iteration, number = divmod(place, self.per_iteration)
        return TaskReference(
            split, self.per_iteration, RandomStreams(self.seed).integer(TASKS, iteration), number
        )


def write_tasks(
    folder: str | Path, suite: TaskSuite, *, iterations: int, per_iteration: int, seed: int = 0
) -> list[Path]:
    """Write the tasks of a suite into files, for training stacks that read their tasks from files.

    Each line of FOLDER/SPLIT/tasks.jsonl is a `TaskReference`: those of the training split in the order of
    `hgpo train`, those of the other splits once.

    Args:
        folder: where to write; existing files are replaced.
        suite: the environment.
        iterations: number of iterations of training.
        per_iteration: number of training tasks per iteration.
        seed: seed of the training tasks.

    Returns:
        The files.
    """
    from hgpo.files import atomic_write

    written = []
    for split in suite.splits:
        limit = iterations * per_iteration if split == suite.splits[0] else None
        tasks = TaskStream(suite, [split], per_iteration=per_iteration, seed=seed, limit=limit)
        file = Path(folder) / split / "tasks.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(asdict(tasks[number])) for number in range(len(tasks))]
        atomic_write(file, "\n".join([*lines, ""]))
        written.append(file)
    return written
