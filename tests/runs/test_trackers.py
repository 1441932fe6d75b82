"""Trackers have the same values as the run's own files, each once, also after an interruption."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys

import pytest
from toy_runs import command

from hgpo.cli import main
from hgpo.errors import SettingError
from hgpo.runs.trackers import TRACKERS, Trackers, check_trackers, results_of
from hgpo.training.config import load_config

SMALL = "--tasks-per-iteration 2 --group-size 2 --evaluation-tasks 2".split()


class Notebook:
    """A tracker that keeps what it gets; `pages` outlives it as a tracker's files do."""

    def __init__(self, pages, fails_at=math.inf):
        self.pages, self.fails_at = pages, fails_at

    def log(self, values, iteration):
        if iteration >= self.fails_at:
            raise OSError("the paper is full")
        self.pages.append((iteration, dict(values)))

    def close(self):
        self.pages.append("closed")


def metrics(*iterations):
    return [{"iteration": iteration, "kl": iteration / 10} for iteration in iterations]


def send(trackers, metrics, evaluations):
    trackers.send(lambda: metrics, lambda: evaluations)


def evaluation(iteration):
    return {
        **{"iteration": iteration, "split": "unseen", "temperature": 0.0, "success": {"won": 1, "tasks": 2}},
        **{"success_rate": 0.5, "mean_steps": 9.0, "valid_action_rate": 0.25},
    }


RESULTS = {
    "unseen/greedy/success_rate": 0.5,
    "unseen/greedy/mean_steps": 9.0,
    "unseen/greedy/valid_action_rate": 0.25,
}


def test_every_record_is_sent_once_over_an_interruption(tmp_path, monkeypatch):
    pages, ids = [], []
    monkeypatch.setitem(TRACKERS, "notebook", lambda run: ids.append(run.id) or Notebook(pages))
    first = Trackers(["notebook"], tmp_path, {})
    send(first, [], [evaluation(0)])
    send(first, metrics(1), [evaluation(0)])
    send(first, metrics(1, 2), [evaluation(0)])
    # The run goes on after iteration 1: iteration 2 is done again, and is known; 3 and its evaluation are new.
    second = Trackers(["notebook"], tmp_path, {})
    send(second, metrics(1), [evaluation(0)])
    send(second, metrics(1, 2), [evaluation(0)])
    send(second, metrics(1, 2, 3), [evaluation(0), evaluation(3)])
    second.close()
    assert pages == [
        (0, RESULTS),
        (1, {"kl": 0.1}),
        (2, {"kl": 0.2}),
        (3, {"kl": 0.3}),
        (3, RESULTS),
        "closed",
    ]
    assert ids[0] == ids[1]


def test_sampled_results_have_a_name_of_their_own():
    sampled = {**evaluation(0), "temperature": 0.4}
    assert results_of(sampled) == {
        name.replace("greedy", "sampled"): value for name, value in RESULTS.items()
    }


def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(tmp_path, monkeypatch):
    pages, broken, said = [], [], []
    monkeypatch.setitem(TRACKERS, "notebook", lambda run: Notebook(pages))
    monkeypatch.setitem(TRACKERS, "broken", lambda run: Notebook(broken, fails_at=2))
    monkeypatch.setitem(TRACKERS, "absent", lambda run: 1 / 0)
    trackers = Trackers(["absent", "broken", "notebook"], tmp_path, {}, said.append)
    for last in (1, 2, 3):
        send(trackers, metrics(*range(1, last + 1)), [])
    trackers.close()
    assert [iteration for iteration, _ in pages[:-1]] == [1, 2, 3]
    assert broken == [(1, {"kl": 0.1})]
    assert said == [
        "absent failed and is left out: ZeroDivisionError: division by zero",
        "broken failed and is left out: OSError: the paper is full",
    ]


def test_an_unknown_or_missing_tracker_is_named_with_the_cure(monkeypatch):
    with pytest.raises(SettingError, match="'mlflow': expected one of tensorboard, wandb, trackio"):
        check_trackers(["mlflow"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        SettingError, match=r"--track wandb needs the package wandb: pip install 'hgpo\[trackers\]'"
    ):
        check_trackers(["wandb"])


def test_the_command_feeds_the_trackers_what_it_logs(tmp_path):
    for package in ("tensorboard", "wandb", "trackio"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'hgpo[trackers]'")
    folder, database = tmp_path / "run", tmp_path / "database"
    words = command(
        *SMALL, "--iterations", "2", "--out", str(folder), "--track", "tensorboard", "wandb", "trackio"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    subprocess.run(
        [sys.executable, "-m", "hgpo", *words],
        env={**environment, "TRACKIO_DIR": str(database), "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
    )
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    results = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    prompts = {record["iteration"]: record["prompt_tokens_mean"] for record in records}
    unseen = {
        r["iteration"]: r["mean_steps"] for r in results if (r["split"], r["temperature"]) == ("held_out", 0)
    }
    assert list(prompts) == [1, 2] and min(prompts.values()) > 0
    assert list(unseen) == [0, 2]
    name = "held_out/greedy/mean_steps"
    assert tensorboard_curve(folder, "prompt_tokens_mean") == pytest.approx(prompts)
    assert tensorboard_curve(folder, name) == pytest.approx(unseen)
    assert wandb_curve(folder, "prompt_tokens_mean") == pytest.approx(prompts)
    assert wandb_curve(folder, name) == pytest.approx(unseen)
    assert trackio_curve(database, "prompt_tokens_mean") == pytest.approx(prompts)
    assert trackio_curve(database, name) == pytest.approx(unseen)


def tensorboard_curve(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def wandb_curve(folder, name):
    """A transaction log in LevelDB's format: blocks of 32 KiB; chunks of checksum, length, type (whole, first, middle, last)."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, place, message, points = path.read_bytes(), 7, b"", {}
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        message += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = Record.FromString(message)
            items = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            message = b""
            if name in items:
                points[items["_step"]] = items[name]
    return points


def trackio_curve(database, name):
    with sqlite3.connect(database / "hgpo.db") as connection:
        rows = connection.execute("select step, metrics from metrics order by step").fetchall()
    values = [(step, json.loads(metrics)) for step, metrics in rows]
    return {step: metrics[name] for step, metrics in values if name in metrics}


def test_the_settings_of_a_tracked_run_come_back(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'hgpo[trackers]'")
    folder = tmp_path / "run"
    assert main(command(*SMALL, "--iterations", "0", "--out", str(folder), "--track", "tensorboard")) == 0
    assert load_config(folder / "config.json").track == ("tensorboard",)
    assert main(["train", "--resume", str(folder)]) == 0
