"""The moving average of the weights: its arithmetic, its use in evaluations, and unchanged training."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from merged_rows import policy
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from toy import ToySuite
from toy_runs import config, figures, finished, half_trained, run

from hgpo.cli import main
from hgpo.cli.players import ModelOptions, open_player
from hgpo.errors import SettingError
from hgpo.policies.transformers import TransformersPolicy
from hgpo.training.evaluation import evaluate_splits
from hgpo.training.open_run import open_run
from hgpo.training.weight_average import WeightAverage

AVERAGED = dict(weight_average_decay=0.75, checkpoint_every=1)


def test_the_average_takes_a_quarter_of_the_new_weights():
    # With d = 0.75 from weights w: after w + 4 it is w + 1, after w + 5 it is 0.75 (w + 1) + 0.25 (w + 5) = w + 2.
    model = policy()
    start = [p.detach().clone() for p in model.model.parameters()]
    average = WeightAverage(model, 0.75)
    for added in (4.0, 1.0):
        for parameter in model.model.parameters():
            parameter.data += added
        average.update()
    with average.in_place():
        for parameter, first in zip(model.model.parameters(), start, strict=True):
            torch.testing.assert_close(parameter.data, first + 2)
    for parameter, first in zip(model.model.parameters(), start, strict=True):
        torch.testing.assert_close(parameter.data, first + 5)


def test_the_weights_come_back_after_an_interruption():
    model = policy()
    average = WeightAverage(model, 0.5)
    for parameter in model.model.parameters():
        parameter.data += 1.0
    learned = [p.detach().clone() for p in model.model.parameters()]
    with pytest.raises(KeyboardInterrupt), average.in_place():
        raise KeyboardInterrupt
    pairs = zip(model.model.parameters(), learned, strict=True)
    assert all(torch.equal(parameter, before) for parameter, before in pairs)


def test_who_remembers_something_of_the_weights_can_tell_that_they_changed():
    # PyTorch counts the changes of a tensor in place, but not that its values are put elsewhere.
    model = policy()
    parameters = list(model.model.parameters())
    average, versions = WeightAverage(model, 0.5), [[p._version for p in parameters]]
    with average.in_place():
        versions.append([p._version for p in parameters])
    versions.append([p._version for p in parameters])
    for before, after in itertools.pairwise(versions):
        assert all(new > old for old, new in zip(before, after, strict=True))


def test_of_a_model_with_an_adapter_the_adapter_alone_is_averaged(tmp_path):
    plain = policy()
    layers = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    adapted = TransformersPolicy(get_peft_model(plain.model, layers), plain.tokenizer)
    WeightAverage(adapted, 0.5).save(tmp_path / "average.pt")
    saved = torch.load(tmp_path / "average.pt", weights_only=True)
    assert saved and all("lora" in name for name in saved)


def test_training_is_the_same_and_evaluations_play_with_the_average(tmp_path, monkeypatch):
    plain = half_trained(iterations=3, checkpoint_every=1, evaluate_every=1)
    played: list[torch.Tensor] = []

    def watched(context, agent):
        played.append(flat(agent.policy.model))
        return evaluate_splits(context, agent)

    monkeypatch.setattr("hgpo.training.trainer.evaluate_splits", watched)
    run(plain, tmp_path / "plain")
    weights = played.copy()
    played.clear()
    run(half_trained(iterations=3, evaluate_every=1, **AVERAGED), tmp_path / "averaged")
    assert figures(tmp_path / "averaged") == figures(tmp_path / "plain")
    assert checkpoint(tmp_path / "averaged").read_bytes() == checkpoint(tmp_path / "plain").read_bytes()
    # Without an average evaluations play with the weights themselves; the averages follow from these.
    expected = weights[0]
    assert torch.equal(played[0], expected)
    for averaged, new in zip(played[1:], weights[1:], strict=True):
        expected = 0.75 * expected + 0.25 * new
        torch.testing.assert_close(averaged, expected)
        assert not torch.equal(averaged, new)


def test_a_resumed_run_goes_on_with_its_average(tmp_path, monkeypatch, handlers):
    handlers({signal.SIGINT: signal.default_int_handler})
    settings = half_trained(iterations=3, evaluate_every=2, **AVERAGED)
    unbroken = finished(settings)
    calls = []

    def interrupted(context, agent):
        # In the evaluation after iteration 2, while the averaged weights are in place.
        calls.append(None)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return evaluate_splits(context, agent)

    monkeypatch.setattr("hgpo.training.trainer.evaluate_splits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path)
    run(settings, tmp_path)
    assert figures(tmp_path) == figures(unbroken)
    for name in ("model.safetensors", "average.pt"):
        assert checkpoint(tmp_path, name).read_bytes() == checkpoint(unbroken, name).read_bytes()


def test_who_evaluates_a_run_plays_with_its_average_and_says_so(tmp_path, capsys):
    folder = finished(half_trained(iterations=3, **AVERAGED))
    average = torch.load(checkpoint(folder, "average.pt"), weights_only=True)
    agents: list[Any] = [open_run(folder, evaluated=evaluated).agent for evaluated in (False, True)]
    learning, evaluated = (agent.policy.model for agent in agents)
    weights = load_file(checkpoint(folder))
    for name, parameter in evaluated.named_parameters():
        assert torch.equal(parameter, average[name])
    for name, parameter in learning.named_parameters():
        assert torch.equal(parameter, weights[name])
    with open_player(str(folder), ToySuite(), ModelOptions(), tmp_path, print) as player:
        played: Any = player.agent
    assert torch.equal(flat(played.policy.model), flat(evaluated))
    assert main(["evaluate", str(folder), "--tasks", "1"]) == 0
    assert "iteration 3, averaged weights" in capsys.readouterr().out.replace("\n", " ")
    assert main(["export", str(folder), str(tmp_path / "out")]) == 0
    assert "averaged weights" in capsys.readouterr().out
    exported = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(exported[name], average[name]) for name in exported)


def test_a_run_without_an_average_writes_none():
    folder = finished(half_trained(iterations=1, checkpoint_every=1))
    assert not (folder / "checkpoints" / "000001" / "average.pt").exists()


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_forgets_nothing_or_everything_is_refused(decay):
    with pytest.raises(SettingError, match="--weight-average-decay is"):
        config(weight_average_decay=decay)


def flat(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def checkpoint(folder: Path, name: str = "model.safetensors") -> Path:
    return folder / "checkpoints" / "000003" / name
