"""Runs that train an agent of one's own, and their command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gateway_words
import pytest
from toy_runs import figures, run

from hgpo.cli import main
from hgpo.cli.train import parse_train, settings_of
from hgpo.errors import SettingError
from hgpo.estimators import GiGPO
from hgpo.gateway import AgentSuite
from hgpo.training.config import TrainConfig, from_json, load_config, to_json
from hgpo.training.open_run import open_run

PLAY = "gateway_words:play"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(gateway_words.config(folder, iterations=12), folder)
    return folder


def test_an_agent_learns_from_its_reward(learned):
    records = figures(learned)
    assert all(record["failed_trajectories"] == 0 for record in records)
    # At first one of four words is right, by chance; the last three iterations have 48 episodes.
    assert records[0]["success_rate"] < 0.5
    assert sum(record["success_rate"] for record in records[-3:]) / 3 > 0.6
    # Two requests for each of the 16 episodes.
    assert {record["environment_steps"] for record in records} == {32}


def test_a_run_that_was_killed_goes_on_with_the_same_numbers(learned, tmp_path, monkeypatch):
    # The folder as it was after the checkpoint of iteration 11, with a line of metrics too many.
    folder = Path(shutil.copytree(learned, tmp_path / "run"))
    shutil.rmtree(folder / "checkpoints" / "000012")
    # The agent and its tasks are found in any working directory.
    monkeypatch.chdir(tmp_path)
    run(load_config(folder / "config.json"), folder)
    assert figures(folder) == figures(learned)
    weights = [each / "checkpoints" / "000012" / "model.safetensors" for each in (folder, learned)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_rollouts_may_be_sampled_during_the_update(tmp_path):
    run(gateway_words.config(tmp_path, iterations=3, overlap=1), tmp_path / "run")
    records = figures(tmp_path / "run")
    assert [record["failed_trajectories"] for record in records] == [0, 0, 0]


def test_a_finished_run_opens_with_its_agent(learned):
    opened = open_run(learned)
    assert opened.iteration == 12
    tasks = opened.config.env.tasks("held_out")
    found = opened.agent.play(tasks, group_size=1, temperature=0.0, seed=[1])  # pyright: ignore
    assert len(found) == 4 and all(trajectory.failure is None for trajectory in found)


def test_a_record_of_the_run_has_the_steps_as_the_agent_saw_them(learned):
    (sample, *_) = sorted((learned / "samples").glob("*.txt"))
    assert "\n> " in sample.read_text() and "say " in sample.read_text()


def test_the_settings_of_an_agent_are_kept_with_full_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gateway_words.write_tasks(tmp_path)
    suite = AgentSuite("agents.py:play", "tasks.jsonl", "", "agents.py:key")
    assert suite.play == f"{tmp_path}/agents.py:play" and suite.state_key == f"{tmp_path}/agents.py:key"
    assert suite.tasks_file == f"{tmp_path}/tasks.jsonl"
    assert from_json(json.loads(json.dumps(to_json(suite)))) == suite


def test_every_fifth_task_is_held_out_or_those_of_another_file(tmp_path):
    file = gateway_words.write_tasks(tmp_path)
    suite = AgentSuite(PLAY, str(file))
    train = suite.tasks("train", 32, seed=1)
    assert [task.id for task in suite.tasks("held_out")] == ["line 5", "line 10", "line 15", "line 20"]
    # Each of the 16 tasks once before any is repeated.
    ids = [task.id for task in train]
    assert sorted(ids[:16]) == sorted(ids[16:]) and len(set(ids)) == 16
    assert train != suite.tasks("train", 32, seed=2)
    assert train[0].game["word"] == train[0].kind
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "a", "instruction": "do it"}\n\n["b"]\n')
    found = AgentSuite(PLAY, str(file), str(other)).tasks("held_out")
    assert [(task.id, task.kind, task.instruction) for task in found] == [
        ("a", "task", "do it"),
        ("line 3", "task", '["b"]'),
    ]


def test_the_command_names_agent_tasks_and_estimator(tmp_path):
    file = gateway_words.write_tasks(tmp_path)
    words = f"agent:{PLAY} --tasks {file} --state-key gateway_words:last_word --model a/b estimator:gigpo"
    config = TrainConfig(**settings_of(parse_train(words.split())))
    assert config.env == AgentSuite(PLAY, str(file), "", "gateway_words:last_word")
    assert isinstance(config.estimator, GiGPO)
    assert config.gateway.host == "127.0.0.1"


def test_a_run_may_start_from_the_policy_of_another_with_its_settings(learned):
    words = f"--init {learned} --group-size 8"
    config = TrainConfig(**settings_of(parse_train(words.split())))
    theirs = gateway_words.config(learned)
    assert config.model == str(learned / "checkpoints" / "000012")
    assert (config.env, config.learning_rate) == (theirs.env, theirs.learning_rate)
    assert (config.group_size, config.iterations) == (8, TrainConfig.iterations)


@pytest.mark.parametrize(
    "words, message",
    [
        ("agent:gateway_words:play --model a/b", "needs --tasks"),
        ("agent:gateway_words:play --tasks TASKS", "give --model or --init"),
        ("--tasks TASKS", "--tasks needs an agent of your own"),
        ("agent:gateway_words:pla --tasks TASKS --model a/b", "has no attribute 'pla'; did you mean gateway_words:play?"),
        ("agent:gateway_words:NOT_A_FUNCTION --tasks TASKS --model a/b", "is a int: expected a function"),
        ("agent:nowhere:play --tasks TASKS --model a/b", "No module named 'nowhere'"),
        ("agent:gateway_words --tasks TASKS --model a/b", "expected MODULE:"),
        ("agent:gateway_words:play --tasks missing --model a/b", "cannot be read: No such file"),
        ("agent:gateway_words:play --tasks BAD --model a/b", "line 2: expected JSON"),
        ("agent:gateway_words:play --tasks EMPTY --model a/b", "has no tasks"),
        ("agent:gateway_words:play --tasks TASKS --model a/b env:sokoban", "env:sokoban has no effect"),
        ("agent:gateway_words:play --tasks TASKS --model a/b --response text", "--response has no effect"),
        ("agent:gateway_words:play --tasks TASKS --model a/b --warm-start.tasks 3", "--warm-start.tasks has no effect"),
        ("agent:gateway_words:play --tasks TASKS --model a/b --env-isolation process", "--env-isolation process has no"),
        ("agent:gateway_words:play --tasks TASKS --model a/b --rollout-batching continuous", "continuous has no effect"),
        ("agent:gateway_words:play --tasks TASKS --model a/b --gateway.port 70000", "--gateway.port is 70000"),
        ("agent:gateway_words:play --tasks TASKS --model a/b --init runs", "give no --model or --preset"),
        ("agent:gateway_words:play --tasks TASKS --init .", "no run in"),
    ],
)  # fmt: skip
def test_wrong_words_are_told_in_one_line(words: str, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = {"TASKS": str(gateway_words.write_tasks(tmp_path)), "BAD": "bad", "EMPTY": "empty"}
    (tmp_path / "bad").write_text('{"a": 1}\n{"a": \n')
    (tmp_path / "empty").write_text("\n")
    assert main(["train", *(files.get(word, word) for word in words.split())]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_an_agent_has_no_environment_for_others(tmp_path):
    suite = AgentSuite(PLAY, str(gateway_words.write_tasks(tmp_path)))
    with pytest.raises(SettingError, match="has its own environment"):
        suite.make()
