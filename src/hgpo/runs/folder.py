"""The files of a run: metrics, evaluations and sample transcripts, in formats that any tool can read.

A run's folder holds, each with the module that writes it:

    config.json         the settings (hgpo.training.config)
    metrics.jsonl       one line per iteration (here)
    evaluations.jsonl   one line per evaluation of a split (here)
    samples/            transcripts of a few episodes (here)
    rollouts/           all rows of each iteration, with --keep-rollouts (here)
    reference/          the policy before reinforcement learning (hgpo.training.checkpoint)
    checkpoints/        everything that is needed to continue (hgpo.training.checkpoint)
    report.html         the run as one page (hgpo.report.page)
    learning_curve.png  success by iteration (hgpo.report.curves)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from typing_extensions import override

from hgpo.errors import SettingError
from hgpo.files import atomic_write, exclusive_lock
from hgpo.rollout_files import write_rollouts
from hgpo.rollouts.episodes import Trajectory
from hgpo.rollouts.evaluate import SplitResult
from hgpo.runs.old_names import current_evaluation, current_metrics
from hgpo.steps import StepTable

LOGPROB_STEP = 2**-10
"""Log-probabilities in stored rollouts are rounded to multiples of this, in nats; a ratio changes by at most
0.05 %."""


class RunLog:
    """The files of one run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.json"
        self.checkpoints = folder / "checkpoints"
        self.reference = folder / "reference"
        self._metrics = RecordFile(folder / "metrics.jsonl")
        self._evaluations = RecordFile(folder / "evaluations.jsonl")

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes from training in the folder; see `exclusive_lock`."""
        return exclusive_lock(self.folder, "training")

    def require_own_folder(self) -> None:
        """Check that no file that the run would replace belongs to something else.

        Raises:
            SettingError: if one of these files was not written by a run.
        """
        if self.config.exists():
            return
        for path in (self.checkpoints, self.reference, self._metrics.path, self._evaluations.path):
            if path.exists():
                raise SettingError(f"{path} would be replaced, but no run wrote it: give another --out")

    def go_back(self, iteration: int) -> None:
        """Delete all records after iteration `iteration`, because what follows is about to be repeated."""
        for file in (self._metrics, self._evaluations):
            file.go_back(iteration)

    def metrics(self, record: Mapping[str, float]) -> None:
        """Append one iteration's metrics; see `RecordFile.add`."""
        self._metrics.add([dict(record)])

    def evaluation(self, iteration: int, results: Sequence[SplitResult], seconds: float) -> None:
        """Append the results of all splits after `iteration` iterations, and the mean `seconds` per split.

        See `RecordFile.add`.
        """
        self._evaluations.add([{**result.record(iteration), "seconds": seconds} for result in results])

    def write_what_is_left(self) -> None:
        """Write the metrics and results that could not be written before.

        Raises:
            OSError: They still cannot be written.
        """
        for file in (self._metrics, self._evaluations):
            file.add([])

    def rollouts(
        self, name: str, iteration: int, trajectories: Sequence[Trajectory], steps: StepTable
    ) -> None:
        """Write an iteration's steps to NAME/NUMBER.parquet.

        The admissible commands are one more key. What people want to know of a rollout, its task's type and
        instruction and whether it was won, stands in each of its rows.

        Args:
            name: the folder's name.
            iteration: counted from 1, as in the metrics.
            trajectories: episodes whose steps, in order, are the rows of the table.
            steps: the table from which the advantages were computed.
        """
        rows = [
            (trajectory, step)
            for trajectory in trajectories
            for sequence in trajectory.sequences
            for step in sequence.steps
        ]
        keys = {"commands": [step.before.info.admissible_commands for _, step in rows]}
        details = {
            "task_type": [trajectory.task.kind for trajectory, _ in rows],
            "instruction": [trajectory.task.instruction for trajectory, _ in rows],
            "won": [trajectory.won for trajectory, _ in rows],
        }
        path = self.folder / name / f"{iteration:06d}.parquet"
        write_rollouts(path, steps, keys, details=details, logprob_step=LOGPROB_STEP)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The metrics of all iterations so far."""
        return [current_metrics(record) for record in self._metrics.read()]

    def read_evaluations(self) -> list[dict[str, Any]]:
        """All evaluations so far, in the order of iterations."""
        return [current_evaluation(record) for record in self._evaluations.read()]

    def sample(self, iteration: int, trajectories: Sequence[Trajectory]) -> None:
        """Write some episodes as plain text."""
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        text = "\n\n".join(transcript(trajectory) for trajectory in trajectories)
        atomic_write(folder / f"{iteration:06d}.txt", text + "\n")


class RecordFile:
    """A file of JSON lines, in the order of iterations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unwritten: list[dict[str, Any]] = []

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Append records to the file, after those that could not be written in an earlier call.

        Raises:
            OSError: The records cannot be written. The file is unchanged, and the next call tries again.
        """
        self._unwritten += records
        text = "".join(json.dumps(record) + "\n" for record in self._unwritten)
        if not text:
            return
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a") as file:
                file.write(text)
        except OSError:
            # A partly written line would run into the records that follow it.
            with suppress(OSError):
                os.truncate(self.path, size)
            raise
        self._unwritten.clear()

    def read(self) -> list[dict[str, Any]]:
        """All records, including those that are not written yet."""
        return _records(self.path) + self._unwritten

    def go_back(self, iteration: int) -> None:
        """Delete the records after iteration `iteration`."""
        self._unwritten.clear()
        if self.path.exists():
            kept = [record for record in _records(self.path) if record["iteration"] <= iteration]
            text = "".join(json.dumps(record) + "\n" for record in kept)
            if text != self.path.read_text():
                atomic_write(self.path, text)


class SilentLog(RunLog):
    """The folder of a run in a process that must not write: another process checks, locks and writes it."""

    @override
    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    @override
    def require_own_folder(self) -> None:
        pass

    @override
    def go_back(self, iteration: int) -> None:
        pass

    @override
    def metrics(self, record: Mapping[str, float]) -> None:
        pass

    @override
    def write_what_is_left(self) -> None:
        pass

    @override
    def evaluation(self, iteration: int, results: Sequence[SplitResult], seconds: float) -> None:
        pass

    @override
    def rollouts(
        self, name: str, iteration: int, trajectories: Sequence[Trajectory], steps: StepTable
    ) -> None:
        pass

    @override
    def sample(self, iteration: int, trajectories: Sequence[Trajectory]) -> None:
        pass


def transcript(trajectory: Trajectory) -> str:
    """One episode as readable text."""
    lines = [f"# {trajectory.task.id}: {trajectory.task.instruction}"]
    lines += [step.before.observation for step in trajectory.steps[:1]]
    for step in trajectory.steps:
        action = step.decision.action
        mark = "" if action.valid else f"   (not valid: {action.invalid})"
        lines += [f"> {action.command}{mark}", step.after.observation]
    lines.append(f"[{'won' if trajectory.won else 'not won'} after {len(trajectory.steps)} steps]")
    return "\n".join(lines)


def _records(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, without a last line that was written only in part."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
