"""Names of the previous release: accepted, reported once, and listed in the docs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hgpo.cli import main
from hgpo.runs.folder import RunLog
from hgpo.runs.old_names import (
    METRICS,
    OPTIONS,
    current_evaluation,
    current_metrics,
    current_options,
    current_settings,
    current_verl_settings,
)
from hgpo.training.config import TrainConfig, WarmStart, load_config, save_config
from hgpo.training.schedules import Decay


def test_an_old_option_is_the_new_one_with_a_line_of_its_own():
    words, lines = current_options("train", ["--passes", "2", "--thin_out_below=0", "--seed", "1"])
    assert words == ["--ppo-epochs", "2", "--subsample-below=0", "--seed", "1"]
    assert len(lines) == 2 and lines[0] == "--passes is deprecated: the option's name is --ppo-epochs"


@pytest.mark.parametrize("old", ["--history-length", "--history_length"])
def test_options_of_the_estimator_and_of_other_commands_keep_theirs(old):
    words = [old, "4", f"{old}=3", "--estimator.history-length", "1"]
    current = ["--prompt-history", "4", "--prompt-history=3", "--estimator.history-length", "1"]
    assert current_options("train", words)[0] == current
    # HGPO's depth is called so where the estimator's options have no prefix.
    assert current_options("advantages", words) == (words, [])


def test_every_old_option_of_training_is_taken_and_told_of(capsys):
    # Each new name is an option of a command; what comes after --ppo-epochs 0 is never reached.
    assert main(["train", "--passes", "0"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[0].startswith("hgpo: --passes is deprecated")
    assert error[1].startswith("hgpo: --ppo-epochs is 0: expected 1 or more")
    assert main(["train", "--help-all"]) == 0
    known = capsys.readouterr().out
    for command in (["evaluate", "--help"], ["env", "check", "--help"]):
        main(command)
        known += capsys.readouterr().out
    assert [new for names in OPTIONS.values() for new in names.values() if new not in known] == []


def test_a_run_with_old_settings_is_read(tmp_path):
    settings = TrainConfig(ppo_epochs=3, evaluation_tasks=7, warm_start=WarmStart(tasks=9))
    save_config(settings, tmp_path / "new.json")
    old = json.loads((tmp_path / "new.json").read_text())
    for values, new, name in (
        (old, "ppo_epochs", "passes"),
        (old, "evaluation_tasks", "evaluation_games"),
        (old["warm_start"], "tasks", "games"),
    ):
        values[name] = values.pop(new)
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert load_config(tmp_path / "config.json") == settings
    # "games" is the warm start's alone.
    assert current_settings("TrainConfig", {"games": 1}) == {"games": 1}


def test_a_run_that_is_older_than_a_setting_goes_on_as_it_did(tmp_path):
    # It read nothing, had no merges and constant coefficients, whatever is the default.
    save_config(TrainConfig(), tmp_path / "new.json")
    old = json.loads((tmp_path / "new.json").read_text())
    for values, name in (
        *((old, name) for name in ("reading", "learning_rate_decay", "entropy_decay")),
        (old["tiny"], "merges"),
    ):
        del values[name]
    (tmp_path / "config.json").write_text(json.dumps(old))
    read = load_config(tmp_path / "config.json")
    assert read.reading.tasks == 0 and read.tiny.merges == 0
    assert read.learning_rate_decay == read.entropy_decay == Decay()


def test_an_old_setting_of_verls_counts_where_it_is_set():
    assert current_verl_settings({"seed": 1, "history_length": 4, "prompt_history": 2}) == (
        {"seed": 1, "prompt_history": 4},
        ["hgpo.history_length is deprecated: set hgpo.prompt_history"],
    )
    unset = {"history_length": None, "prompt_history": 2}
    assert current_verl_settings(unset) == ({"prompt_history": 2}, [])


def test_metrics_by_old_names_are_read_by_new_ones(tmp_path):
    old = {"iteration": 1, "valid_share": 0.5, "peer_share_0": 0.9, "peer_share_12": 0.1, "kl": 0.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n")
    (record,) = RunLog(tmp_path).read_metrics()
    assert record == {
        "iteration": 1,
        "valid_action_rate": 0.5,
        "peer_fraction_0": 0.9,
        "peer_fraction_12": 0.1,
        "kl": 0.0,
    }
    assert current_metrics(record) == record


def test_evaluations_by_old_names_are_read_by_new_ones(tmp_path):
    old = {
        "iteration": 1,
        "success": {"won": 1, "games": 2},
        "by_kind": {"clean": {"won": 1, "games": 1}, "heat": {"won": 0, "games": 1}},
        "games_won": [True, False],
        "games": "household",
        "lost": {"timeout": 1},
    }
    (tmp_path / "evaluations.jsonl").write_text(json.dumps(old) + "\n")
    (record,) = RunLog(tmp_path).read_evaluations()
    assert record == {
        "iteration": 1,
        "success": {"won": 1, "tasks": 2},
        "by_kind": {"clean": {"won": 1, "tasks": 1}, "heat": {"won": 0, "tasks": 1}},
        "tasks_won": [True, False],
        "suite": "household",
        "failed": {"timeout": 1},
    }
    assert current_evaluation(record) == record


@pytest.mark.parametrize("names", [METRICS, *OPTIONS.values()])
def test_both_names_are_in_the_docs(names):
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    missing = [f"{old} {new}" for old, new in names.items() if f"| `{old}` | `{new}` |" not in page]
    assert not missing
