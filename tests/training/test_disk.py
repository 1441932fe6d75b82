"""Full disks and folders in the way: a failed write is reported in one line, and nothing else is lost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_runs import config as toy_config
from toy_runs import figures, run

from hgpo.cli import main
from hgpo.errors import RunError, SettingError
from hgpo.files import atomic_write, exclusive_lock, whole_file
from hgpo.policies.transformers import TransformersPolicy
from hgpo.runs.display import NoDisplay
from hgpo.runs.folder import RecordFile, RunLog
from hgpo.runs.trackers import TRACKERS, Trackers
from hgpo.training.config import TrainConfig, WarmStart
from hgpo.training.trainer import Trainer


def config(**changes) -> TrainConfig:
    """Runs whose files matter and not what they learn."""
    return toy_config(**{"warm_start": WarmStart(tasks=6, epochs=1, batch_rows=8), **changes})


def full() -> OSError:
    # As a write raises it: it knows no name.
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Listening(NoDisplay):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def run_and_listen(settings, folder: Path) -> list[str]:
    display = Listening()
    Trainer(settings, folder, display).run()
    return display.said


def fails(monkeypatch, owner: Any, name: str, at: Callable[[int], bool]) -> list[int]:
    """Lets the calls of a method fail of which `at` says so by their number, counted from 1."""
    original, calls = getattr(owner, name), []

    def failing(self, *args, **options):
        calls.append(len(calls) + 1)
        if at(len(calls)):
            raise full()
        return original(self, *args, **options)

    monkeypatch.setattr(owner, name, failing)
    return calls


def evaluations(folder: Path) -> list[tuple[int, float, list[bool]]]:
    records = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    return [(record["iteration"], record["temperature"], record["tasks_won"]) for record in records]


class HalfWritten:
    """A file that takes half of a text, and then the disk is full."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "a")  # noqa: SIM115

    def __enter__(self) -> HalfWritten:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, text: str) -> None:
        self.file.write(text[: len(text) // 2])
        self.file.flush()
        raise full()


def test_records_are_written_whole_and_those_that_are_not_are_kept(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    file = RecordFile(path)
    first, second, third = ({"iteration": number} for number in (1, 2, 3))
    file.add([first])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: HalfWritten(self))
        for record in (second, third):
            with pytest.raises(OSError, match="No space left"):
                file.add([record])
    assert path.read_text() == '{"iteration": 1}\n'
    assert file.read() == [first, second, third]
    file.add([])
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n'
    assert file.read() == RecordFile(path).read() == [first, second, third]


def test_going_back_needs_no_room_where_there_is_nothing_to_drop(tmp_path, monkeypatch):
    file = RecordFile(tmp_path / "metrics.jsonl")
    file.add([{"iteration": 1}, {"iteration": 2}])
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: pytest.fail("written"))
        file.go_back(2)
    # A line that a killed process has left half is dropped, too.
    with (tmp_path / "metrics.jsonl").open("a") as half:
        half.write('{"iterat')
    file.go_back(2)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"iteration": 1}\n{"iteration": 2}\n'


def test_what_a_run_can_do_without_does_not_end_it(tmp_path, monkeypatch):
    settings = config(sample_every=1, keep_rollouts=True)
    run(settings, tmp_path / "unbroken")
    fails(monkeypatch, RunLog, "sample", lambda call: call in (2, 3))
    fails(monkeypatch, RunLog, "rollouts", lambda call: call in (1, 3))
    said = run_and_listen(settings, tmp_path / "full")
    told = [line for line in said if "cannot be written" in line]
    end = "cannot be written (No space left on device): it is left out, and the run continues"
    assert told == [f"rollouts/ {end}", f"samples/ {end}"]
    assert figures(tmp_path / "full") == figures(tmp_path / "unbroken")
    assert sorted(path.name for path in (tmp_path / "full" / "samples").glob("*.txt")) == [
        "000001.txt",
        "000004.txt",
    ]


def test_the_state_is_saved_when_something_cannot_be_written_for_the_first_time(tmp_path, monkeypatch):
    fails(monkeypatch, RunLog, "sample", lambda call: call >= 2)
    # Iteration 3 is never reached: the state after iteration 2 is there all the same.
    fails(monkeypatch, Trainer, "_rollout", lambda call: call == 3)
    with pytest.raises(OSError):
        run(config(sample_every=1, checkpoint_every=1000), tmp_path)
    assert (tmp_path / "checkpoints" / "000002" / "state.json").exists()


@pytest.mark.parametrize("kind", ["metrics", "evaluation"])
def test_metrics_and_results_are_written_as_soon_as_there_is_room(tmp_path, monkeypatch, kind):
    settings = config(evaluate_every=1, checkpoint_every=4)
    run(settings, tmp_path / "unbroken")
    files = {"metrics": "metrics.jsonl", "evaluation": "evaluations.jsonl"}
    original, calls = RecordFile.add, []

    def add(self, records):
        if self.path.name != files[kind] or not records:
            return original(self, records)
        calls.append(records)
        if len(calls) in (2, 3):
            with monkeypatch.context() as patch:
                patch.setattr(Path, "open", lambda self, mode: HalfWritten(self))
                return original(self, records)
        return original(self, records)

    monkeypatch.setattr(RecordFile, "add", add)
    said = run_and_listen(settings, tmp_path / "full")
    assert len([line for line in said if "cannot be written" in line]) == 1
    assert (
        f"{files[kind]} cannot be written (No space left on device): it is tried again with what comes next, "
        "and the run continues" in said
    )
    assert figures(tmp_path / "full") == figures(tmp_path / "unbroken")
    assert evaluations(tmp_path / "full") == evaluations(tmp_path / "unbroken")


def test_no_checkpoint_is_ahead_of_the_metrics(tmp_path, monkeypatch):
    run(config(), tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        original = RecordFile.add

        def add(self, records):
            if self.path.name == "metrics.jsonl" and (self.read() or records):
                with monkeypatch.context() as inner:
                    inner.setattr(Path, "open", lambda self, mode: HalfWritten(self))
                    return original(self, records)
            return original(self, records)

        patch.setattr(RecordFile, "add", add)
        with pytest.raises(
            RunError,
            match=r"the checkpoint after iteration 2 could not be written \(No space left on device\); the "
            r"previous checkpoint is complete: .* continue with hgpo train --resume ",
        ):
            run(config(), tmp_path / "full")
    assert [path.name for path in (tmp_path / "full" / "checkpoints").iterdir()] == ["000000"]
    run(config(), tmp_path / "full")
    assert figures(tmp_path / "full") == figures(tmp_path / "unbroken")


def test_a_reference_that_cannot_be_written_is_one_line_and_leaves_nothing_half(tmp_path, monkeypatch):
    original = TransformersPolicy.save

    def save(self, folder):
        original(self, folder)
        raise RuntimeError("I/O error: No space left on device (os error 28)\n and more")

    with monkeypatch.context() as patch:
        patch.setattr(TransformersPolicy, "save", save)
        with pytest.raises(
            RunError, match=r"reference policy could not be written .*No space.*--resume"
        ) as error:
            run(config(), tmp_path / "full")
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == [".lock", "config.json"]
    run(config(), tmp_path / "full")
    run(config(), tmp_path / "unbroken")
    assert figures(tmp_path / "full") == figures(tmp_path / "unbroken")


@pytest.mark.parametrize("name", ["checkpoints", "reference", "metrics.jsonl", "evaluations.jsonl"])
def test_what_is_no_runs_is_not_replaced(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("kept")
    with pytest.raises(
        SettingError, match=f"{name} would be replaced, but no run wrote it: give another --out"
    ):
        run(config(), tmp_path)
    assert (tmp_path / name / "mine.txt").read_text() == "kept"


def test_a_folder_in_the_place_of_a_page_or_picture_does_not_fail_a_run(tmp_path, capsys):
    small = (
        "--threads 1 --iterations 1 --reading.tasks 0 --warm-start.tasks 2 --warm-start.epochs 1 --tasks-per-iteration 2 "
        "--group-size 2 --evaluation-tasks 2 --tiny.hidden-size 16"
    )
    for name in ("report.html", "learning_curve.png"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / "samples").write_text("a file")
    assert main(["train", *small.split(), "--out", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for name in ("report.html", "learning_curve.png"):
        assert f"{name} could not be written (Is a directory) and is left out" in said
    assert "samples/ cannot be written (File exists): it is left out, and the run continues" in said
    assert f"run: {tmp_path / 'run'} (metrics.jsonl, checkpoints)" in said
    assert main(["report", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == f"hgpo: {tmp_path / 'run' / 'report.html'}: Is a directory\n"


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--reading.tasks", "0", "--warm-start.tasks", "2"],
        ["evaluate", "--policy", "random"],
        ["compare", "--estimators", "grpo"],
        ["lab", "theory"],
        ["lab", "bias-variance"],
        ["lab", "oracle", "--policy", "random"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("below", [False, True])
def test_an_output_that_can_be_no_folder_is_told_at_once(tmp_path, capsys, command, below):
    (tmp_path / "file").write_text("kept")
    out = tmp_path / "file" / "out" if below else tmp_path / "file"
    assert main([*command, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("hgpo: ") and error.count("\n") == 1 and str(out) in error
    assert ("Not a directory" if below else "File exists") in error
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_that_cannot_be_made_is_no_lock(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match="file is not a folder that can be written to: File exists"),
        exclusive_lock(tmp_path / "file", "training"),
    ):
        pass
    # What goes wrong within is not taken for it.
    with pytest.raises(FileNotFoundError), exclusive_lock(tmp_path / "folder", "training"):
        (tmp_path / "nowhere").read_text()


def test_errors_name_the_file_and_not_the_one_it_was_first_written_as(tmp_path):
    path = tmp_path / "results.json"
    atomic_write(path, "old")
    with pytest.raises(OSError) as error, whole_file(path) as unfinished:
        unfinished.write_text("half")
        raise full()
    assert error.value.filename == str(path)
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"] and path.read_text() == "old"


class Paper:
    """A tracker that is full from an iteration on."""

    def __init__(self, pages: list[int], full_at: int) -> None:
        self.pages, self.full_at = pages, full_at

    def log(self, values, iteration: int) -> None:
        if iteration >= self.full_at:
            raise full()
        self.pages.append(iteration)

    def close(self) -> None:
        pass


def test_a_tracker_that_is_full_is_told_once_and_gets_the_rest_later(tmp_path, monkeypatch):
    pages: list[int] = []
    records = [{"iteration": number, "kl": 0.0} for number in (1, 2, 3, 4, 5)]
    said: list[str] = []
    monkeypatch.setitem(TRACKERS, "paper", lambda run: Paper(pages, 3))
    trackers = Trackers(["paper"], tmp_path, {}, said.append)
    trackers.send(lambda: records[:2], list)
    trackers.send(lambda: records, list)
    trackers.send(lambda: records, list)
    trackers.close()
    assert said == ["paper failed and is left out: OSError: [Errno 28] No space left on device"]
    monkeypatch.setitem(TRACKERS, "paper", lambda run: Paper(pages, 99))
    Trackers(["paper"], tmp_path, {}, said.append).send(lambda: records, list)
    assert pages == [1, 2, 3, 4, 5] and len(said) == 1


def test_the_note_of_what_was_sent_may_be_unreadable_or_unwritable(tmp_path, monkeypatch):
    (tmp_path / "tracked.json").mkdir()
    said: list[str] = []
    monkeypatch.setitem(TRACKERS, "paper", lambda run: Paper([], 99))
    trackers = Trackers(["paper"], tmp_path, {}, said.append)
    for _ in range(2):
        trackers.send(lambda: [{"iteration": 1}], list)
    assert [line.partition(" (")[0] for line in said] == [
        "tracked.json cannot be read",
        "tracked.json cannot be written",
    ]
