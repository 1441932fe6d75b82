"""Sends what a run logs to experiment trackers: TensorBoard, Weights & Biases, Trackio.

The run's own files remain the complete record. If a tracker fails, the run continues without it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal, Protocol

from typing_extensions import override

from hgpo.errors import SettingError, how_to_install
from hgpo.files import atomic_write, reason

Record = Mapping[str, Any]
TrackerName = Literal["tensorboard", "wandb", "trackio"]


class Tracker(Protocol):
    """A run in an experiment tracker."""

    def log(self, values: Mapping[str, float], iteration: int) -> None:
        """Log an iteration's values by name; iterations never decrease from call to call."""
        ...

    def close(self) -> None:
        """End logging for this process; a resumed run opens the tracker again."""
        ...


@dataclass(frozen=True)
class TrackedRun:
    """The information about a run that a tracker receives."""

    folder: Path
    """The run's folder."""
    id: str
    """Identifies the run; it stays the same when the run is resumed."""
    settings: dict[str, Any]
    """The run's settings as JSON values."""

    @property
    def name(self) -> str:
        """The displayed name; the id's first digits distinguish folders of the same name."""
        return f"{self.folder.name}-{self.id[:6]}"


class TensorBoard(Tracker):
    """Event files in the run's folder: `tensorboard --logdir RUN`."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        before = set(threading.enumerate())
        self._writer = SummaryWriter(str(run.folder / "tensorboard"))
        self._threads = set(threading.enumerate()) - before
        with self._told_once():
            self._writer.add_text("settings", f"```\n{json.dumps(run.settings, indent=2)}\n```", 0)
            self._writer.flush()

    @override
    def log(self, values: Mapping[str, float], iteration: int) -> None:
        with self._told_once():
            for name, value in values.items():
                self._writer.add_scalar(name, value, iteration)
            self._writer.flush()

    @override
    def close(self) -> None:
        with self._told_once():
            self._writer.close()

    @contextmanager
    def _told_once(self) -> Iterator[None]:
        """Errors in the writer's thread are raised here; the thread's own traceback is not printed."""
        hook, threading.excepthook = threading.excepthook, lambda _: None
        try:
            yield
        except Exception:
            for thread in self._threads:
                thread.join(timeout=1)
            raise
        finally:
            threading.excepthook = hook


class WeightsAndBiases(Tracker):
    """A run of the project "hgpo", kept in the run's folder until `wandb sync RUN/wandb/offline-run-*`.

    WANDB_MODE=online sends it at once; WANDB_PROJECT names another project.
    """

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "hgpo"),
            id=run.id,
            name=run.name,
            dir=str(run.folder),
            config=run.settings,
            mode=None if "WANDB_MODE" in os.environ else "offline",
            resume="allow",
            settings=wandb.Settings(silent=True),
        )

    @override
    def log(self, values: Mapping[str, float], iteration: int) -> None:
        self._run.log(dict(values), step=iteration)

    @override
    def close(self) -> None:
        self._run.finish()


class Trackio(Tracker):
    """A run of the project "hgpo" in Trackio's local database: `trackio show --project hgpo`.

    TRACKIO_DIR sets the folder of the database.
    """

    def __init__(self, run: TrackedRun) -> None:
        with redirect_stdout(StringIO()):
            import trackio

            self._run = trackio.init(
                project="hgpo",
                name=run.name,
                config=run.settings,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    @override
    def log(self, values: Mapping[str, float], iteration: int) -> None:
        self._run.log(dict(values), step=iteration)

    @override
    def close(self) -> None:
        with redirect_stdout(StringIO()):
            self._run.finish()


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}
"""Trackers by name. The name is also that of the package that the tracker needs."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise a SettingError if a tracker is unknown or its package is missing."""
    for name in names:
        if name not in TRACKERS:
            raise SettingError(f"--track is {name!r}: expected one of {', '.join(TRACKERS)}")
        if importlib.util.find_spec(name) is None:
            raise SettingError(f"--track {name} needs the package {name}: {how_to_install(name)}")


class Trackers:
    """The trackers of one run. Each record is sent once, even if the run is interrupted and resumed."""

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        settings: dict[str, Any],
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Open the trackers.

        Args:
            names: see `TRACKERS`.
            folder: the run's folder; its file tracked.json records what has been sent.
            settings: the run's settings as JSON values.
            warn: called with a message when a tracker fails.
        """
        self._warn = warn
        self._note = folder / "tracked.json"
        note = self._read_note()
        self._id: str = note.get("id") or uuid.uuid4().hex
        # The last iteration with metrics sent, and the last iteration with an evaluation sent.
        self._sent: dict[str, tuple[int, int]] = {name: (0, -1) for name in names}
        self._sent.update({name: tuple(last) for name, last in note.get("sent", {}).items()})
        self._open: dict[str, Tracker] = {}
        self._unnoted = False
        run = TrackedRun(folder, self._id, settings)
        for name in names:
            self._try(name, lambda name=name: self._open.update({name: TRACKERS[name](run)}))

    def _read_note(self) -> dict[str, Any]:
        if not self._note.exists():
            return {}
        try:
            return dict(json.loads(self._note.read_text()))
        except (OSError, ValueError, TypeError) as error:
            self._warn(
                f"{self._note.name} cannot be read ({reason(error)}): all records are sent as new ones"
            )
            return {}

    def send(
        self,
        read_metrics: Callable[[], Sequence[Record]],
        read_evaluations: Callable[[], Sequence[Record]],
    ) -> None:
        """Send the records that were not sent before; nothing is read if no tracker is open.

        Args:
            read_metrics: returns the metrics of all iterations, in order; see `RunLog.read_metrics`.
            read_evaluations: returns all evaluations, in order; see `RunLog.read_evaluations`.
        """
        if not self._open:
            return
        metrics, evaluations = read_metrics(), read_evaluations()
        for name, tracker in list(self._open.items()):
            last_metrics, last_evaluation = self._sent[name]
            news = [
                *((r["iteration"], numbers_of(r)) for r in metrics if r["iteration"] > last_metrics),
                *((r["iteration"], results_of(r)) for r in evaluations if r["iteration"] > last_evaluation),
            ]
            if not all(
                self._try(name, lambda t=tracker, v=values, i=iteration: t.log(v, i))
                for iteration, values in sorted(news, key=lambda item: item[0])
            ):
                continue
            self._sent[name] = (
                max([last_metrics, *(r["iteration"] for r in metrics)]),
                max([last_evaluation, *(r["iteration"] for r in evaluations)]),
            )
        try:
            atomic_write(self._note, json.dumps({"id": self._id, "sent": self._sent}))
        except OSError as error:
            if not self._unnoted:
                self._warn(
                    f"{self._note.name} cannot be written ({reason(error)}): if the run is resumed, "
                    "records may be sent twice"
                )
            self._unnoted = True

    def close(self) -> None:
        """Close all trackers."""
        for name, tracker in list(self._open.items()):
            self._try(name, tracker.close)

    def _try(self, name: str, call: Callable[[], None]) -> bool:
        """Whether the call succeeded; a tracker that fails is not used again."""
        try:
            call()
        except Exception as error:
            self._open.pop(name, None)
            self._warn(f"{name} failed and is left out: {type(error).__name__}: {error}")
            return False
        return True


def numbers_of(record: Record) -> dict[str, float]:
    """The values of an iteration's metrics, under the names explained in docs/metrics.md."""
    return {name: value for name, value in record.items() if name != "iteration"}


def results_of(record: Record) -> dict[str, float]:
    """The values of an evaluation, under names that begin with the split and the decoding method."""
    decoding = "greedy" if record["temperature"] == 0 else "sampled"
    names = ("success_rate", "mean_steps", "valid_action_rate")
    return {f"{record['split']}/{decoding}/{name}": record[name] for name in names}
