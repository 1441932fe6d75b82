"""A dataset for SkyRL whose rows identify tasks of a suite."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hgpo.adapters.task_stream import TaskStream


class TaskDataset:
    """The tasks of a stream, in the form of SkyRL's `PromptDataset`."""

    def __init__(self, tasks: TaskStream) -> None:
        """Store the stream."""
        self.tasks = tasks

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row; the prompt is only shown in SkyRL's reports, because real prompts are made step by step."""
        reference = self.tasks[index]
        return {
            "prompt": [{"role": "user", "content": f"{reference.split} {index}"}],
            "env_class": None,
            "env_extras": {"task_reference": asdict(reference), "data_source": reference.split},
            "uid": str(index),
        }

    def collate_fn(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of a batch."""
        return rows
