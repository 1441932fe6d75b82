"""A dataset for verl whose rows identify tasks of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from hgpo.adapters.verl.settings import StepwiseSettings
from hgpo.envs.base import tasks_of
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


class TaskDataset(Dataset):
    """The tasks of some splits of `hgpo.env`.

    For the training split these are the tasks that `hgpo train` plays with the same seed, in the same order;
    the tasks of one iteration are drawn together. A held-out split has each of its tasks once.
    """

    def __init__(
        self,
        data_files: str | Sequence[str],
        tokenizer: Any,
        config: Any,
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        """Create the dataset from verl's arguments.

        Args:
            data_files: names of splits instead of files.
            tokenizer, processor: not used, because prompts are made while an episode is played.
            config: verl's section `data`, which contains a copy of `hgpo`.
            max_samples: largest number of tasks per split; −1 takes all.

        Raises:
            SettingError: if the suite has no such split, or a split has no tasks.
        """
        del tokenizer, processor
        self.settings = StepwiseSettings.of(config.get("hgpo"))
        self.batch = int(config.train_batch_size)
        suite = self.settings.suite()
        self.splits = [data_files] if isinstance(data_files, str) else list(data_files)
        for split in self.splits:
            if split not in suite.splits:
                raise SettingError(
                    f"data names the split {split!r}, but {self.settings.env['type']} has "
                    + ", ".join(suite.splits)
                )
        self.training = suite.splits[0]
        sizes = []
        for split in self.splits:
            # Drawing one training task shows that there are some; the others are drawn when they are played.
            tasks = tasks_of(suite, split, 1 if split == self.training else None)
            sizes.append(STREAM if split == self.training else len(tasks))
        self.sizes = [min(size, max_samples) if max_samples > 0 else size for size in sizes]

    def __len__(self) -> int:
        return sum(self.sizes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The values that verl passes to the agent loop, and the names for its reports."""
        reference = self._reference(index)
        return {
            "task_reference": asdict(reference),
            "index": index,
            "data_source": reference.split,
            # verl counts the prompts of a batch by this column; the real prompts are made step by step.
            "raw_prompt": [{"role": "user", "content": f"{reference.split} {index}"}],
            "reward_model": {"ground_truth": None},
        }

    def _reference(self, index: int) -> TaskReference:
        if not 0 <= index < len(self):
            raise IndexError(index)
        ends = np.cumsum(self.sizes)
        which = int(np.searchsorted(ends, index, side="right"))
        split, place = self.splits[which], index - int(ends[which] - self.sizes[which])
        if split != self.training:
            return TaskReference(split, None, 0, place)
        iteration, number = divmod(place, self.batch)
        return TaskReference(
            split, self.batch, RandomStreams(self.settings.seed).integer(TASKS, iteration), number
        )
