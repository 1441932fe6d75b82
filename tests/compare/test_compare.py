"""The comparison: its arithmetic by hand, and a small one through the real command."""

from __future__ import annotations

import io
import json
import math
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from started import started

from hgpo.analysis.intervals import Interval, bootstrap
from hgpo.cli import main
from hgpo.compare.plan import ABLATIONS, LOSSES, VARIANTS, Plan, estimator_of, load_plan
from hgpo.compare.summary import MethodSummary, steps_to, summarize
from hgpo.compare.tables import markdown, summary_tables
from hgpo.errors import RunError, SettingError
from hgpo.estimators import ESTIMATORS, HGPO
from hgpo.runs.folder import RunLog
from hgpo.training.config import TrainConfig, load_config
from hgpo.training.losses import PolicyLoss
from hgpo.training.trainer import Trainer


def test_steps_to_a_goal_are_counted_to_the_end_of_the_window():
    # Nine iterations at 0, then 1 for ever: a mean of ten is 0.5 with five ones, after 9 + 5 iterations.
    metrics = [{"environment_steps": 100, "success_rate": float(i >= 9)} for i in range(30)]
    assert steps_to(metrics, 0.5) == 1400
    assert steps_to(metrics, 0.8) == 1700
    # The first nine iterations make no window, however good they are.
    assert steps_to([{"environment_steps": 7, "success_rate": 1.0}] * 9, 0.5) == math.inf
    assert steps_to([{"environment_steps": 7, "success_rate": 1.0}] * 10, 0.5) == 70


def test_the_bootstrap_of_equal_values_has_no_width():
    interval = bootstrap(np.full((3, 20), 0.25))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.25, 0.25, 0.25))


def test_the_bootstraps_width_is_that_of_the_sample_mean():
    # One seed and 400 games won with probability a half: the standard error is 0.5 / √400 = 0.025.
    values = np.repeat([[0.0, 1.0]], 200, axis=0).reshape(1, 400)
    interval = bootstrap(values)
    assert interval.mean == 0.5
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)


def test_seeds_that_differ_widen_the_interval():
    # Four seeds win all games or none: games say nothing, the four seeds all. √(0.25 / 4) = 0.25.
    values = np.repeat([[0.0], [1.0], [0.0], [1.0]], 500, axis=1)
    interval = bootstrap(values)
    assert (interval.low, interval.high) == pytest.approx((0.0, 1.0))


@pytest.mark.parametrize(
    ("methods", "seeds", "words"),
    [(("best",), 1, "no method 'best'"), ((), 1, "no method to compare"), (("hgpo", "hgpo"), 1, "each method once"), (("hgpo",), 0, "--seeds is 0")],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(methods, seeds, words):
    with pytest.raises(SettingError, match=words):
        Plan(methods, seeds, TrainConfig())


@pytest.mark.parametrize(
    ("losses", "words"), [(("best",), "no loss 'best'"), (("own", "own"), "name each loss once")]
)
def test_losses_that_cannot_be_compared_are_refused(losses, words):
    with pytest.raises(SettingError, match=words):
        Plan(("hgpo",), 1, TrainConfig(), losses)


def test_a_loss_changes_nothing_but_the_loss():
    # A clip of 0.25 in the settings stays where a loss does not say otherwise; so do KL and entropy always.
    settings = TrainConfig(loss=PolicyLoss(clip_low=0.25, kl_coefficient=0.02, entropy_coefficient=0.03))
    plan = Plan(("hgpo", "grpo"), 1, settings, tuple(LOSSES))
    assert plan.arms[:2] == ("hgpo+own", "hgpo+clip-higher") and len(plan.arms) == 2 * len(LOSSES)
    made = {name: plan.config(f"grpo+{name}", 0) for name in LOSSES}
    assert made["own"] == Plan(("grpo",), 1, settings).config("grpo", 0)
    for config in made.values():
        assert replace(config, loss=settings.loss, old_logprobs="sampler") == made["own"]
        assert (config.loss.kl_coefficient, config.loss.entropy_coefficient) == (0.02, 0.03)
    told = {
        name: (c.loss.ratio, c.loss.clip_low, c.loss.clip_high, c.loss.mask_below) for name, c in made.items()
    }
    assert told["clip-higher"] == ("token", 0.25, 0.28, 0.0)
    assert told["sequence"] == ("sequence", 0.25, 0.2, 0.0)
    assert told["masked"] == ("token", 0.25, 0.2, 0.997)
    assert told["gspo"] == ("sequence", 3e-4, 4e-4, 0.0)
    assert (made["cispo"].loss.clip, made["sapo"].loss.clip) == ("cispo", "sapo")


def test_the_help_names_every_loss_and_variant(capsys):
    assert main(["compare", "--help"]) == 0
    words = capsys.readouterr().out.replace(",", " ").replace(";", " ").replace(".", " ").split()
    assert {*LOSSES, *VARIANTS} <= set(words)


def test_a_loss_is_compared_with_the_first_one_of_the_same_method(tmp_path):
    # Two games. Wins of hgpo: own 1, gspo 2; of grpo: own 2, gspo 0. So gspo gains 1/2 with one and loses 1 with the other.
    plan = Plan(("hgpo", "grpo"), 1, TrainConfig(iterations=1), ("own", "gspo"))
    wins = {"hgpo+own": [1, 0], "hgpo+gspo": [1, 1], "grpo+own": [1, 1], "grpo+gspo": [0, 0]}
    for arm, won in wins.items():
        run = tmp_path / "runs" / f"{arm}-seed0"
        run.mkdir(parents=True)
        (run / "finished").touch()
        (run / "metrics.jsonl").write_text('{"iteration": 1, "environment_steps": 8, "success_rate": 0}\n')
        records = [
            {"iteration": 1, "split": split, "temperature": 0.0, "tasks_won": won}
            for split in plan.settings.env.splits[1:]
        ]
        (run / "evaluations.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    found = [s for s in summarize(plan, tmp_path) if s.split == "valid_seen"]
    assert [s.method for s in found] == list(wins)
    gained = [None if s.difference is None else s.difference.mean for s in found]
    assert gained == [None, 0.5, None, -1.0]
    # 1 where a run with the loss is above one without, 0 where it is below.
    assert [None if s.improvement is None else s.improvement.mean for s in found] == [None, 1.0, None, 0.0]
    assert "less own's" in markdown(found, plan.reference, "two games")


def test_a_long_name_is_shown_whole_in_a_narrow_terminal():
    # Cut off at the column's width, two arms of one class would look alike.
    arm = "folder/my_ideas.py:MyEstimator+sapo"
    sure = Interval(1.0, 1.0, 1.0)
    row = MethodSummary(arm, "held_out", sure, sure, 1.0, sure, (math.inf, math.inf), 1.0, 1.0)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(summary_tables([row], [0], "own", "toy"))
    column = [
        line.split("│")[1].strip() for line in console.export_text().splitlines() if line.startswith("│")
    ]
    assert "".join(column) == arm


def test_the_ablations_change_one_setting_each():
    base = vars(estimator_of("hgpo"))
    for estimator in ABLATIONS.values():
        assert isinstance(estimator, HGPO)
        assert sum(base[name] != value for name, value in vars(estimator).items()) == 1


def test_methods_are_as_deep_as_the_prompt_shows_but_for_those_named_by_their_depth():
    plan = Plan(("hgpo",), 1, TrainConfig(prompt_history=3))
    depths = {
        name: getattr(plan.config(name, 0).estimator, "history_length", None)
        for name in (*ESTIMATORS, *VARIANTS)
    }
    assert (depths["hgpo-k0"], depths["hgpo-k1"], depths["hgpo-k4"]) == (0, 1, 4)
    assert {depths[name] for name in ("hgpo", "hgpo-alpha2", "hgpo-size")} == {3}
    assert depths["grpo"] is None


def test_a_plan_comes_back_from_its_file(tmp_path):
    for losses in ((), ("own", "sapo")):
        plan = Plan(("grpo", "hgpo-k4"), 3, TrainConfig(iterations=7), losses)
        plan.save(tmp_path / "plan.json")
        assert load_plan(tmp_path / "plan.json") == plan
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(SettingError, match="not the plan of a comparison"):
        load_plan(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        # Two iterations of 800 rows in mini-batches of 10 took 80 steps each, and in a third seven of 80
        # were skipped: 80 + 80 + 73.
        ((80, 80, 73), 233),
        # Runs of older versions do not log it; 3 × ⌈800 / 10⌉ is what their settings ask for.
        (None, 240),
    ],
)
def test_optimizer_steps_are_those_that_were_taken(tmp_path, taken, expected):
    settings = TrainConfig(iterations=3, mini_batch_rows=10, num_minibatches=2)
    plan = Plan(("hgpo",), 1, settings)
    run = tmp_path / "runs" / "hgpo-seed0"
    run.mkdir(parents=True)
    (run / "finished").touch()
    records = [
        {"iteration": number, "environment_steps": 800, "success_rate": 0.0}
        | ({} if taken is None else {"optimizer_steps_taken": taken[number - 1]})
        for number in (1, 2, 3)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    evaluations = [
        {"iteration": 3, "split": split, "temperature": 0.0, "tasks_won": [True, False]}
        for split in settings.env.splits[1:]
    ]
    (run / "evaluations.jsonl").write_text("".join(json.dumps(record) + "\n" for record in evaluations))
    assert {summary.optimizer_steps for summary in summarize(plan, tmp_path)} == {expected}


def figures(folder) -> list[dict]:
    return [
        {name: value for name, value in record.items() if not name.startswith("seconds")}
        for record in RunLog(folder).read_metrics()
    ]


def outcomes(folder) -> list[list[bool]]:
    return [record["tasks_won"] for record in RunLog(folder).read_evaluations()]


SMALL = "--iterations 2 --reading.tasks 0 --subsample-below 0 --warm-start.tasks 20 --warm-start.epochs 2 --tasks-per-iteration 2 --group-size 4 --evaluation-tasks 6"


def test_a_comparison_from_start_to_table(tmp_path, capsys):
    folder = tmp_path / "c"
    line = ["compare", "--estimators", "gigpo", "ppo", "--seeds", "1", "--out", str(folder), "--jobs", "2"]
    assert main([*line, "--", *SMALL.split()]) == 0
    shown = capsys.readouterr().out
    assert "valid_seen, greedy" in shown and "valid_unseen, greedy" in shown and "− ppo" in shown
    results = json.loads((folder / "results.json").read_text())
    assert [(r["method"], r["split"]) for r in results] == [
        *(("gigpo", "valid_seen"), ("ppo", "valid_seen")),
        *(("gigpo", "valid_unseen"), ("ppo", "valid_unseen")),
    ]
    taken = {
        method: sum(r["optimizer_steps_taken"] for r in figures(folder / "runs" / f"{method}-seed0"))
        for method in ("gigpo", "ppo")
    }
    assert [r["optimizer_steps"] for r in results[:2]] == list(taken.values())
    # Two iterations of four mini-batches; a critic's advantages are never all 0.
    assert taken["ppo"] == 8
    for name in ("curves.png", "success.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")

    # The warm start that the methods share changes nothing: a run by itself gives the same numbers.
    for method in ("gigpo", "ppo"):
        run = folder / "runs" / f"{method}-seed0"
        alone = tmp_path / f"alone-{method}"
        Trainer(load_config(run / "config.json"), alone).run()
        assert figures(run) == figures(alone)
        assert outcomes(run) == outcomes(alone)

    # What is finished can be told without running anything.
    (folder / "results.json").unlink()
    assert main(["compare", "--resume", str(folder), "--report-only"]) == 0
    assert json.loads((folder / "results.json").read_text()) == results

    # A run that was cut short goes on; one that is finished is left alone, also if its numbers alone are kept.
    expected = figures(folder / "runs" / "gigpo-seed0")
    (folder / "runs" / "gigpo-seed0" / "finished").unlink()
    for name in ("checkpoints", "reference", "samples"):
        shutil.rmtree(folder / "runs" / "ppo-seed0" / name)
    untouched = (folder / "runs" / "ppo-seed0" / "metrics.jsonl").stat().st_mtime_ns
    assert main(["compare", "--resume", str(folder)]) == 0
    assert figures(folder / "runs" / "gigpo-seed0") == expected
    assert (folder / "runs" / "ppo-seed0" / "metrics.jsonl").stat().st_mtime_ns == untouched


def test_results_of_an_older_version_are_reported_on(tmp_path, capsys):
    # They do not say which games were played, and have no checkpoints.
    published = Path(__file__).parents[2] / "docs" / "results" / "household"
    shutil.copytree(published, tmp_path / "copy")
    assert main(["compare", "--resume", str(tmp_path / "copy"), "--report-only"]) == 0
    assert "Tasks: household. Seeds" in " ".join(capsys.readouterr().out.split())


def long_comparison(folder: Path, said: Path) -> BaseProcess:
    """One that goes on for minutes, when its first run has measured its first iteration."""
    settings = ["--estimators", "grpo", "gigpo", "hgpo", "--seeds", "1", "--jobs", "1", "--out", str(folder)]
    small = SMALL.replace("--iterations 2", "--iterations 5000").split()
    process = started(["compare", *settings, "--", *small], said)
    metrics = folder / "runs" / "grpo-seed0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    return process


def test_runs_end_when_the_comparison_is_killed(tmp_path):
    process = long_comparison(tmp_path / "comparison", tmp_path / "said")
    process.kill()
    process.join()
    # The run's folder is free within the iteration: an orphan would keep it, and go on in it.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(RunError), RunLog(tmp_path / "comparison" / "runs" / "grpo-seed0").alone():
            return
        time.sleep(0.1)
    raise AssertionError("a run is still going on")


def test_a_signal_to_the_comparison_alone_stops_its_runs_and_begins_none(tmp_path):
    folder, said = tmp_path / "comparison", tmp_path / "said"
    process = long_comparison(folder, said)
    try:
        process.terminate()
        process.join(120)
    finally:
        process.kill()
    assert process.exitcode == 130
    assert "stopped; continue with: hgpo compare --resume" in said.read_text()
    done = figures(folder / "runs" / "grpo-seed0")
    # The state is that of the last iteration that was measured, and the other methods are where they began.
    assert (folder / "runs" / "grpo-seed0" / "checkpoints" / f"{len(done):06d}" / "state.json").exists()
    assert 1 <= len(done) < 5000
    for method in ("gigpo", "hgpo"):
        assert not (folder / "runs" / f"{method}-seed0" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--estimators", "best"], "no method 'best'"),
        (["--losses", "best"], "no loss 'best'"),
        (["--env", "moon"], "--env moon: choose from household, alfworld"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--report-only"], "give its folder with --resume"),
        (["--resume", "nowhere"], "no comparison in nowhere"),
        (["--resume", "nowhere", "--seeds", "3"], "--resume uses the plan"),
        (["--", "--out", "x"], "give --out or --resume of the comparison"),
        (["--", "--iterationz", "3"], "did you mean --iterations"),
    ],
)
def test_wrong_use_ends_in_one_line(args, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *args]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("hgpo: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
