"""A dataset for verl whose rows identify tasks of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch.utils.data import Dataset

from hgpo.adapters.task_stream import TaskStream
from hgpo.adapters.verl.settings import StepwiseSettings


class TaskDataset(Dataset):
    """The tasks of some splits of `hgpo.env` (see `TaskStream`)."""

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
        settings = StepwiseSettings.of(config.get("hgpo"))
        self.tasks = TaskStream(
            settings.suite(),
            [data_files] if isinstance(data_files, str) else data_files,
            per_iteration=int(config.train_batch_size),
            seed=settings.seed,
            limit=max_samples if max_samples > 0 else None,
        )

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The values that verl passes to the agent loop, and the names for its reports."""
        reference = self.tasks[index]
        return {
            "task_reference": asdict(reference),
            "index": index,
            "data_source": reference.split,
            # verl counts the prompts of a batch by this column; the real prompts are made step by step.
            "raw_prompt": [{"role": "user", "content": f"{reference.split} {index}"}],
            "reward_model": {"ground_truth": None},
        }
