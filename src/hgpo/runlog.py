"""What a run leaves behind: metrics, evaluations and sample transcripts, as files that anything can read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from hgpo.episodes import Trajectory
from hgpo.evaluate import PanelResult
from hgpo.files import only_process, write_whole
from hgpo.rollout_files import write_rollouts
from hgpo.steps import StepTable

LOGPROB_STEP = 2**-10
"""Kept rollouts have log-probabilities in steps of this many nats, which moves a ratio by 0.05 % at most."""


class RunLog:
    """The files of one run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.reference = folder / "reference"
        self._metrics = folder / "metrics.jsonl"
        self._evaluations = folder / "evaluations.jsonl"

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes from training in the folder; see `only_process`."""
        return only_process(self.folder, "training")

    def go_back(self, iteration: int) -> None:
        """Forget what came after `iteration` iterations, as it is about to be done again."""
        for path in (self._metrics, self._evaluations):
            if path.exists():
                kept = [record for record in _records(path) if record["iteration"] <= iteration]
                write_whole(path, "".join(json.dumps(record) + "\n" for record in kept))

    def metrics(self, record: Mapping[str, float]) -> None:
        """Add one iteration's metrics."""
        with self._metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def evaluation(self, iteration: int, results: Sequence[PanelResult], seconds: float) -> None:
        """Add the results of the panels after `iteration` iterations, which took so long each."""
        with self._evaluations.open("a") as file:
            for result in results:
                file.write(json.dumps({**result.record(iteration), "seconds": seconds}) + "\n")

    def rollouts(
        self, name: str, iteration: int, trajectories: Sequence[Trajectory], steps: StepTable
    ) -> None:
        """Write an iteration's steps as NAME/NUMBER.parquet; admissible commands are a further key.

        Args:
            name: the folder's name.
            iteration: counted from 1, as in the metrics.
            trajectories: whose steps, in order, are the table's rows.
            steps: the table that advantages were computed from.
        """
        lived = [step for trajectory in trajectories for step in trajectory.steps]
        keys = {"commands": [step.commands for step in lived]}
        path = self.folder / name / f"{iteration:06d}.parquet"
        write_rollouts(path, steps, keys, logprob_step=LOGPROB_STEP)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The metrics of all iterations so far."""
        return _records(self._metrics)

    def read_evaluations(self) -> list[dict[str, Any]]:
        """All evaluations so far, in the order of iterations."""
        return _records(self._evaluations)

    def sample(self, iteration: int, trajectories: Sequence[Trajectory]) -> None:
        """Write some episodes as plain text."""
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        text = "\n\n".join(transcript(trajectory) for trajectory in trajectories)
        write_whole(folder / f"{iteration:06d}.txt", text + "\n")


class SilentLog(RunLog):
    """The folder of a run that another process writes."""

    def alone(self) -> AbstractContextManager[None]:
        """Nothing: the process that writes keeps others away."""
        return nullcontext()

    def go_back(self, iteration: int) -> None:
        """Nothing."""

    def metrics(self, record: Mapping[str, float]) -> None:
        """Nothing."""

    def evaluation(self, iteration: int, results: Sequence[PanelResult], seconds: float) -> None:
        """Nothing."""

    def rollouts(
        self, name: str, iteration: int, trajectories: Sequence[Trajectory], steps: StepTable
    ) -> None:
        """Nothing."""

    def sample(self, iteration: int, trajectories: Sequence[Trajectory]) -> None:
        """Nothing."""


def transcript(trajectory: Trajectory) -> str:
    """One episode as a person reads it."""
    lines = [f"# {trajectory.task.id}: {trajectory.task.instruction}", trajectory.steps[0].observation]
    observations = [step.observation for step in trajectory.steps[1:]] + [trajectory.final_observation]
    for step, observation in zip(trajectory.steps, observations, strict=True):
        mark = "" if step.action.valid else f"   (not valid: {step.action.invalid})"
        lines += [f"> {step.action.command}{mark}", observation]
    lines.append(f"[{'won' if trajectory.won else 'not won'} after {len(trajectory.steps)} steps]")
    return "\n".join(lines)


def _records(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines; a last line that was cut off in writing is not one."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
