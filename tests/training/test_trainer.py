"""Whole runs on the toy game: the same twice, the same when interrupted, and better at the end."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_runs import config, figures, finished, half_trained, run

from hgpo.errors import SettingError
from hgpo.estimators import GRPO, HGPO, PPO
from hgpo.groups import has_peer, level_groups
from hgpo.returns import trajectory_returns
from hgpo.rollout_files import read_rollouts
from hgpo.rollouts.prompts import RESPONSE_FORMATS, Turn
from hgpo.rollouts.token_lengths import random_turns
from hgpo.runs.display import NoDisplay
from hgpo.runs.interrupts import terminate_like_interrupt
from hgpo.training.config import ReadingSettings, WarmStart, from_json, load_config, save_config, to_json
from hgpo.training.losses import PolicyLoss
from hgpo.training.open_run import open_run
from hgpo.training.reward_shaping import OverlongShaping
from hgpo.training.trainer import Trainer


def test_the_same_command_twice_gives_the_same_numbers(tmp_path):
    first = figures(finished(config()))
    run(config(), tmp_path / "second")
    run(config(seed=1, iterations=1), tmp_path / "other")
    assert len(first) == 4
    assert first == figures(tmp_path / "second")
    assert all(record["gradient_norm"] > 0 for record in first)
    assert first[0] != figures(tmp_path / "other")[0]


@pytest.mark.parametrize(("response", "tags"), [("text", False), ("think_action", True)])
def test_where_answers_have_no_tags_the_action_is_the_sequence(response, tags, tmp_path):
    # Several optimizer steps, so that ratios move away from 1.
    start = config(iterations=0, evaluation_tasks=1, response=response, max_prompt_tokens=300)
    ready = replace(
        start,
        model=str(finished(start) / "reference"),
        warm_start=WarmStart(tasks=0),
        iterations=1,
        num_minibatches=4,
    )
    for ratio in ("action", "sequence"):
        run(replace(ready, loss=PolicyLoss(ratio=ratio)), tmp_path / ratio)
    action, sequence = figures(tmp_path / "action"), figures(tmp_path / "sequence")
    assert sequence[0]["ratio_negative"] != 1
    assert (action != sequence) == tags


@pytest.mark.parametrize("estimator", [HGPO(), PPO()])
def test_the_numbers_are_the_same_for_any_number_of_threads(estimator, tmp_path):
    # With few tokens in a forward pass there are many of them in each optimizer step.
    short = WarmStart(tasks=6, epochs=10, batch_rows=8)
    settings = config(iterations=2, token_budget=200, estimator=estimator, warm_start=short)
    trainers = {
        threads: run(replace(settings, threads=threads), tmp_path / str(threads)) for threads in (1, 3)
    }
    assert [trainer.context.compute.threads for trainer in trainers.values()] == [1, 3]
    assert figures(tmp_path / "1") == figures(tmp_path / "3")
    one, three = (trainer.state.policy.model.parameters() for trainer in trainers.values())
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_evaluations_in_between_change_nothing(tmp_path):
    # They are at the temperature of training, so that the model is asked about the same prompts in the same way.
    settings = half_trained(evaluation_temperature=1.0, iterations=3)
    often = run(replace(settings, evaluate_every=1), tmp_path / "often")
    never = run(settings, tmp_path / "never")
    assert figures(tmp_path / "often") == figures(tmp_path / "never")
    one, other = (trainer.state.policy.model.parameters() for trainer in (often, never))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_model_whose_answers_are_never_valid_is_told_of_at_once(tmp_path):
    warnings: list[str] = []

    class Recorder(NoDisplay):
        def warn(self, message):
            warnings.append(message)

    # Its weights are drawn at random, and it is asked for tags.
    untrained = config(
        response="think_action", max_prompt_tokens=400, iterations=0, warm_start=WarmStart(tasks=0)
    )
    Trainer(untrained, tmp_path, Recorder()).run()
    (warning,) = warnings
    assert warning.startswith("WARNING: no answer of the agent was valid")
    assert len(warning.splitlines()) == 5


@pytest.mark.parametrize("response", ["number", "text", "think_action"])
def test_a_model_made_here_has_a_token_for_every_word_of_its_prompts(response, tmp_path):
    # Step 41 of an episode: in a thinking agent's prompt the numbers 40 … 42 stand beside the words.
    policy = Trainer(config(response=response, max_prompt_tokens=400), tmp_path).start.policy
    turn = Turn("", (("", ""),), "", (), step=41)
    (tokens,) = policy.encode([RESPONSE_FORMATS[response].prompt(turn)])
    assert policy.tokenizer.unk_token_id not in tokens


@pytest.mark.parametrize(
    "estimator",
    # With penalties the critic has something to learn from the first iteration on.
    [HGPO(), PPO(invalid_penalty=0.1, propagate_penalty=True)],
    ids=["hgpo", "ppo"],
)
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, estimator):
    run(half_trained(iterations=4, estimator=estimator), tmp_path / "unbroken")
    run(half_trained(iterations=2, estimator=estimator), tmp_path / "broken")
    run(half_trained(iterations=4, estimator=estimator), tmp_path / "broken")
    assert figures(tmp_path / "broken") == figures(tmp_path / "unbroken")
    for name in ("model.safetensors",):
        first, second = (
            tmp_path / which / "checkpoints" / "000004" / name for which in ("broken", "unbroken")
        )
        assert first.read_bytes() == second.read_bytes()


def test_the_games_by_which_token_lengths_are_estimated_are_played_once_per_run(tmp_path, monkeypatch):
    played = []

    def counted(suite, tasks, rng):
        played.append(len(tasks))
        return random_turns(suite, tasks, rng)

    monkeypatch.setattr("hgpo.training.agent.random_turns", counted)
    # The length of responses is left to the estimate; the second run continues the first.
    for iterations in (1, 2):
        run(config(iterations=iterations), tmp_path)
    assert played == [12, 12]


def test_rollouts_are_kept_as_they_were_learned_from(tmp_path):
    shaping = OverlongShaping(buffer=1, penalty=3.0)
    trainer = run(
        half_trained(iterations=2, keep_rollouts=True, estimator=PPO(whiten=False), overlong=shaping),
        tmp_path,
    )
    files = sorted((tmp_path / "rollouts").iterdir())
    assert [file.name for file in files] == ["000001.parquet", "000002.parquet"]
    for file, record in zip(files, figures(tmp_path), strict=True):
        rollouts = read_rollouts(file)
        steps = rollouts.steps
        assert len(steps) == record["environment_steps"]
        assert rollouts.state_keys.keys() == {"state_key", "observation", "commands"}
        # The advantages follow from the file: shaped rewards and the critic's values are in it.
        assert PPO(whiten=False)(steps).std() == pytest.approx(record["advantage_std"], rel=1e-12)
        assert set(np.unique(steps.reward)) <= {0.0, 10.0, -3.0, 7.0}
        assert steps.prompt_tokens is not None
        prompt = trainer.state.policy.tokenizer.decode(steps.prompt_tokens[0])
        assert prompt.startswith("task : bring the coin")


def test_dynamic_sampling_learns_from_groups_of_different_returns(tmp_path):
    run(half_trained(iterations=3, dynamic_sampling_rounds=9, keep_rollouts=True), tmp_path)
    records = figures(tmp_path)
    for file, record in zip(sorted((tmp_path / "rollouts").iterdir()), records, strict=True):
        steps = read_rollouts(file).steps
        returns: dict[str, set[float]] = {}
        for task, total in zip(steps.task_id, trajectory_returns(steps), strict=True):
            returns.setdefault(task, set()).add(float(total))
        assert all(len(found) > 1 for found in returns.values())
        assert len(returns) <= 3
        assert record["kept_fraction"] == len(set(steps.trajectory_id)) / (
            12 * record["dynamic_sampling_rounds"]
        )
    assert max(record["dynamic_sampling_rounds"] for record in records) > 1


@pytest.mark.parametrize("phase", ["_rollout", "_update"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_a_checkpoint_to_go_on_from(tmp_path, monkeypatch, handlers, phase, number):
    handlers({signal.SIGINT: signal.default_int_handler})
    settings = half_trained()
    unbroken = figures(finished(settings))
    original, calls = getattr(Trainer, phase), []

    def interrupted(self, *args):
        calls.append(phase)
        if len(calls) == 4:  # in iteration 4, between the checkpoints of 2 and 4
            signal.raise_signal(number)
        return original(self, *args)

    monkeypatch.setattr(Trainer, phase, interrupted)
    with pytest.raises(KeyboardInterrupt), terminate_like_interrupt():
        run(settings, tmp_path / "broken")
    # In a rollout nothing has happened yet; an update that has begun is finished first.
    done = 3 if phase == "_rollout" else 4
    assert (tmp_path / "broken" / "checkpoints" / f"{done:06d}" / "state.json").exists()
    run(settings, tmp_path / "broken")
    assert figures(tmp_path / "broken") == unbroken


def test_the_folder_holds_what_a_reader_looks_for(tmp_path):
    folder = finished(config())
    assert load_config(folder / "config.json") == config()
    record = figures(folder)[-1]
    names = {"iteration", "success_rate", "return_mean", "steps_mean", "valid_action_rate", "kl", "entropy"}
    assert names | {"peer_fraction_0", "peer_fraction_1", "peer_fraction_2"} <= record.keys()
    assert 0 <= record["peer_fraction_2"] <= record["peer_fraction_1"] <= record["peer_fraction_0"] <= 1
    evaluations = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert [(e["iteration"], e["temperature"]) for e in evaluations] == [
        (0, 0.0),
        (0, 0.4),
        (4, 0.0),
        (4, 0.4),
    ]
    # Of the three games of the iteration the first rollout each: task, commands and how it ended.
    sample = (folder / "samples" / "000004.txt").read_text()
    assert sample.count(": bring the coin to the purse\n") == 3
    assert sample.count("\n> ") >= 3
    assert sample.count("won after ") == 3


def test_peer_fractions_are_those_of_the_estimator(tmp_path):
    # K of the prompt is 2, that of the estimator 1; with its start token first steps have peers at level 1.
    estimator = HGPO(history_length=1, start_token=True)
    run(half_trained(estimator=estimator, iterations=1, keep_rollouts=True), tmp_path)
    shares = {
        name: value for name, value in figures(tmp_path)[-1].items() if name.startswith("peer_fraction_")
    }
    levels = level_groups(read_rollouts(tmp_path / "rollouts" / "000001.parquet").steps, 1, start_token=True)
    assert list(shares) == ["peer_fraction_0", "peer_fraction_1"]
    assert list(shares.values()) == has_peer(levels).mean(axis=1).tolist()


def test_the_learning_rate_rises_over_the_first_iterations(tmp_path):
    # Three iterations below the full rate: 1/4, 2/4, 3/4 of it, then all.
    run(half_trained(iterations=5, learning_rate=4e-4, learning_rate_warmup=3), tmp_path)
    rates = [record["learning_rate"] for record in figures(tmp_path)]
    assert rates == pytest.approx([1e-4, 2e-4, 3e-4, 4e-4, 4e-4])


def test_every_metric_is_explained(tmp_path):
    run(half_trained(iterations=1), tmp_path)
    page = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
    record = json.loads((tmp_path / "metrics.jsonl").read_text())
    missing = [name for name in record if f"`{name}`" not in page and not name.startswith("peer_fraction_")]
    assert not missing


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(HGPO(invalid_penalty=0.1, normalization="mean"), id="hgpo"),
        pytest.param(GRPO(), id="grpo", marks=pytest.mark.slow),
        pytest.param(PPO(), id="ppo", marks=pytest.mark.slow),
    ],
)
def test_reinforcement_learning_wins_more(tmp_path, estimator):
    # Over three seeds: a short warm start wins some of the games, reinforcement learning most of them.
    before, after = [], []
    for seed in range(3):
        settings = config(
            seed=seed,
            estimator=estimator,
            iterations=30,
            learning_rate=1e-3,
            learning_rate_warmup=2,
            tasks_per_iteration=6,
            group_size=8,
            # Nothing is measured, saved or shown along the way: that would take a sixth of the time.
            information_prompts=0,
            checkpoint_every=30,
            sample_every=0,
        )
        run(settings, tmp_path / str(seed))
        rates = [record["success_rate"] for record in figures(tmp_path / str(seed))]
        before.append(sum(rates[:3]) / 3)
        after.append(sum(rates[-5:]) / 5)
    assert sum(after) / 3 > sum(before) / 3 + 0.15, (before, after)


def test_settings_survive_their_file(tmp_path):
    settings = config(estimator=HGPO(history_length=3, alpha=2.0), max_response_tokens=7)
    assert from_json(json.loads(json.dumps(to_json(settings)))) == settings
    save_config(settings, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == settings


def test_a_run_of_an_older_version_is_loaded_and_resumed(tmp_path):
    expected = figures(finished(half_trained()))
    folder = tmp_path / "old"
    run(half_trained(iterations=2), folder)
    # Older versions called the prompt's history history_length, and did not log optimizer_steps_taken.
    settings = json.loads((folder / "config.json").read_text())
    settings["history_length"] = settings.pop("prompt_history")
    (folder / "config.json").write_text(json.dumps(settings | {"iterations": 4}))
    records = [{k: v for k, v in r.items() if k != "optimizer_steps_taken"} for r in figures(folder)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert load_config(folder / "config.json") == half_trained()
    assert open_run(folder).iteration == 2
    run(load_config(folder / "config.json"), folder)
    assert figures(folder) == [*records, *expected[2:]]
    assert open_run(folder).iteration == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no run in"), ("{", "is not JSON"), ('{"type": "HGPO", "colour": 1}', "not a configuration"), ('{"type": "GRPO"}', "no training configuration")],
)  # fmt: skip
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(SettingError, match=message):
        load_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_size": 1}, "--group-size is 1: expected 2 or more"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0: expected a number above 0"),
        ({"prompt_history": -1}, "--prompt-history is -1"),
        ({"model": "/nowhere"}, "--model /nowhere: no checkpoint there"),
        ({"warm_start": WarmStart(tasks=0)}, "--warm-start.tasks 0 needs --model"),
        ({"warm_start": WarmStart(epochs=0)}, "--warm-start.epochs is 0: expected 1 or more"),
        ({"reading": ReadingSettings(tasks=-1)}, "--reading.tasks is -1: expected 0 or more"),
        ({"reading": ReadingSettings(batch_rows=0)}, "--reading.batch-rows is 0: expected 1 or more"),
        (
            {"reading": ReadingSettings(learning_rate=0.0)},
            "--reading.learning-rate is 0.0: expected a number above 0",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        config(**changes)


def test_a_history_longer_than_the_prompt_is_refused(tmp_path):
    with pytest.raises(SettingError, match="--prompt-history 40 needs prompts of up to"):
        Trainer(replace(config(), prompt_history=40), tmp_path)


def test_a_state_key_that_the_games_lack_is_refused(tmp_path):
    estimator = HGPO(level_keys=("state_key", "full_state"))
    with pytest.raises(SettingError, match=r"--estimator.level-keys full_state: .* only state_key"):
        Trainer(replace(config(), estimator=estimator), tmp_path)
