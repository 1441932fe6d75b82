"""The command line: what is wrong is said in one line, with exit code 2 and before anything is made."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from typing import Any

import pytest
import torch

import hgpo
from hgpo.cli import main
from hgpo.cli.diagnose_run import estimator_of_run
from hgpo.cli.parse import first_stage
from hgpo.cli.train import DECIDING, TrainCommand
from hgpo.envs import ENVIRONMENTS, HouseholdSuite
from hgpo.estimators import HGPO, GiGPO
from hgpo.training.config import TrainConfig, save_config


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["trian"], "no command 'trian'"),
        (["train", "--learning-rat", "1"], "did you mean --learning-rate"),
        (
            ["train", "--group-size", "1"],
            "--group-size is 1: expected 2 or more (the rollouts of a task are compared with one another)",
        ),
        (
            ["train", "env:nowhere"],
            f"env:nowhere: choose from {', '.join(f'env:{name}' for name in [name.replace('_', '-') for name in ENVIRONMENTS])} or env:MODULE:CLASS (hgpo",
        ),
        (["train", "estimator:hppo"], "choose from estimator:hgpo, estimator:hbc, estimator:gigpo"),
        (
            ["train", "--alpha", "2"],
            "no option --alpha; did you mean --estimator.alpha or --lora.alpha? (hgpo train --help-all",
        ),
        (["train", "--no-merge_row"], "did you mean --no-merge-rows?"),
        (["train", "estimator:ppo", "--estimator.discont", "1"], "did you mean --estimator.discount?"),
        (["train", "estimator:grpo", "--estimator.alpha", "1"], "no option --estimator.alpha (hgpo train"),
        (["train", "--estimator.discount", "1", "estimator:gigpo"], "give estimator:gigpo first"),
        (["train", "--preset"], "--preset has no value"),
        (["train", "--response", "json"], "--response json: choose from number, text, think_action (hgpo"),
        (["export", "nowhere"], "missing: OUT (hgpo export --help lists all)"),
        (["verl", "preset", "alfworld-7b", "more"], "more is not expected"),
        (["presets", "alfworld-7b", "more"], "no preset 'more': choose from alfworld-1.5b"),
        (["env", "chek", "household"], "expected one of check, play, solve, replay (hgpo env --help"),
        (["lab", "oracle", "--policy", "random", "--task", "1"], "did you mean --tasks?"),
        (["train", "--seed", "one"], "--seed: invalid literal"),
        (["train", "--model", "nowhere"], "no checkpoint there"),
        (["train", "--prompt-history", "30"], "--max-prompt-tokens is 320"),
        (["train", "--resume", "nowhere"], "no run in nowhere"),
        (["train", "--resume", "nowhere", "--seed", "1"], "--resume takes the settings"),
        (["train", "--preset", "alfworld-2b"], "choose from alfworld-1.5b, alfworld-7b"),
        (["train", "--preset", "webshop-7b", "--seed", "1"], "webshop"),
        (["presets", "alfworld"], "no preset 'alfworld'"),
        (["export", "nowhere", "out"], "no run in nowhere"),
        (["evaluate", "nowhere"], "nowhere is neither a run nor a model"),
        (["evaluate"], "no player: name"),
        (["evaluate", "--policy", "expret"], "expert, random or endpoint"),
        (["evaluate", "--policy", "endpoint"], "needs --model"),
        (
            ["evaluate", "--policy", "endpoint", "--model", "m", "--key-variable", "NO_SUCH"],
            "variable NO_SUCH",
        ),
        (["evaluate", "--policy", "endpoint", "--model", "m", "--request", "[1]"], "expected a JSON object"),
        (["evaluate", "--policy", "expert", "--split", "train"], "choose from valid_seen, valid_unseen"),
        (["evaluate", "--policy", "expert", "--model", "m"], "--policy endpoint or a model's folder"),
        (["evaluate", "nowhere", "--tasks", "0"], "--tasks at least 1"),
        (["evaluate", "nowhere", "--published", "--tasks", "3"], "--published sets the temperature"),
        (["env", "check", "nowhere"], "nowhere"),
        (["diagnose", "nowhere"], "no file or folder nowhere"),
    ],
)
def test_wrong_use_ends_in_one_line_and_exit_code_2(args, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    out, error = capsys.readouterr()
    assert words in error
    assert error.startswith("hgpo: ") and error.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_first_stage_takes_no_options_value_for_another_option():
    line = ["--out", "env:webshop", "--device", "--preset=alfworld-7b", "--track", "wandb", "--seed", "3"]
    first, others = first_stage(TrainCommand, DECIDING, line)
    assert (first.preset, first.env) == ((), None)
    # --preset=… stands where the device's name should: the second stage refuses it.
    line = ["--seed", "3", "env:household", "--env.max-steps", "4", "--preset", "a", "--such"]
    first, others = first_stage(TrainCommand, DECIDING, line)
    assert (first.preset, first.env, others) == (("a",), HouseholdSuite(max_steps=4), ["--such"])


def test_diagnose_groups_as_the_run_does(tmp_path):
    given = HGPO(history_length=3, discount=0.9, similarity=0.8, start_token=True, alpha=2.0)
    save_config(TrainConfig(estimator=given), tmp_path / "config.json")
    assert estimator_of_run(tmp_path) == given
    # GiGPO has no levels: they are those that its prompt shows.
    save_config(TrainConfig(estimator=GiGPO(discount=0.9), prompt_history=1), tmp_path / "config.json")
    assert estimator_of_run(tmp_path) == HGPO(history_length=1, discount=0.9)


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["env", "--help"]])
def test_help_teaches(args, capsys):
    try:
        code = main(args)
    except SystemExit as stop:
        code = stop.code
    assert not code
    assert "usage" in capsys.readouterr().out.lower()


def test_the_help_of_training_is_one_screen_of_options_that_exist(capsys):
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) <= 32 and max(map(len, lines)) <= 100
    assert {f"env:{name}" for name in ENVIRONMENTS} >= set(re.findall(r"env:[a-z]+\b(?!:)", out))
    # Every option that it names is one of the command, and every default the command's own.
    assert main(["train", "--help-all"]) == 0
    everything = capsys.readouterr().out
    assert len(everything.splitlines()) > 100
    for option in re.findall(r"--[a-z][a-z.-]+", out):
        assert option in everything or option in ("--num", "--help-all", "--num_processes"), option
    assert "--group-size" in out and "[16]" in next(line for line in lines if "--group-size" in line)
    # The published runs have groups of 8.
    assert main(["train", "--preset", "alfworld-1.5b", "--help"]) == 0
    assert "[8]" in next(line for line in capsys.readouterr().out.splitlines() if "--group-size" in line)


def test_the_version_says_what_a_report_of_a_problem_needs(capsys):
    assert main(["--version"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"hgpo {hgpo.__version__}"
    assert out[1].startswith(f"Python {platform.python_version()} (")
    assert f"torch {torch.__version__}" in out


def test_an_environment_is_checked(capsys):
    assert main(["env", "check", "household"]) == 0
    assert "all 14 checks passed" in capsys.readouterr().out


def test_a_run_from_start_to_evaluation(tmp_path, capsys):
    folder = tmp_path / "run"
    small = [
        "--iterations",
        "1",
        "--tasks-per-iteration",
        "2",
        "--group-size",
        "2",
        "--evaluation-tasks",
        "3",
    ]
    warm = [
        "--reading.tasks",
        "9",
        "--warm-start.tasks",
        "4",
        "--warm-start.epochs",
        "1",
        "--tiny.hidden-size",
        "16",
    ]
    assert main(["train", "--out", str(folder), *small, *warm]) == 0
    out = capsys.readouterr().out
    assert str(folder) in out.replace("\n", "") and "valid_unseen" in out
    assert (folder / "learning_curve.png").stat().st_size > 1000
    rows = [
        "--policy",
        "expert",
        str(folder / "reference"),
        "--response",
        "text",
        "--max-response-tokens",
        "4",
    ]
    assert main(["evaluate", str(folder), *rows, "--tasks", "2", "--out", str(tmp_path / "evaluated")]) == 0
    assert "iteration 1" in capsys.readouterr().out
    results = json.loads((tmp_path / "evaluated/results.json").read_text())
    assert [(r["player"], r["split"]) for r in results] == [
        (player, panel)
        for player in ("run, iteration 1", "expert", "reference")
        for panel in ("valid_seen", "valid_unseen")
    ]
    assert [r["success"]["won"] for r in results if r["player"] == "expert"] == [2, 2]
    assert len({tuple(r["by_kind"]) for r in results if r["split"] == "valid_seen"}) == 1
    assert main(["diagnose", str(folder), "--tasks", "1"]) == 0
    out = capsys.readouterr().out
    # The run's own depth, discount, normalization and penalty, unless the command says otherwise.
    own: Any = TrainConfig().estimator
    assert "2 trajectories, 1 tasks" in out and f"\n{own}\n" in out
    assert main(["diagnose", str(folder), "--tasks", "1", "--history-length", "0", "--discount", "0.5"]) == 0
    expected = dataclasses.replace(own, history_length=0, discount=0.5)
    assert f"\n{expected}\n" in capsys.readouterr().out
    assert main(["train", "--out", str(folder)]) == 2
    assert "already holds a run" in capsys.readouterr().err
