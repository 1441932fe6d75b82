"""Responses that are restricted to a list: what is drawn, its probability, and its gradient."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from test_lean_reader import ENDS, VOCABULARY, llama, readers
from toy_runs import command, figures

from hgpo.agents.language import LanguageAgent
from hgpo.cli import main
from hgpo.errors import SettingError
from hgpo.policies.choices import continuations, restricted
from hgpo.policies.distributions import restricted_logprobs_and_entropy
from hgpo.rollouts.prompts import CommandNumber, CommandText, choices
from hgpo.training.config import TrainConfig

LISTS = [
    ((5, 6, 2), (5, 7, 2), (8, 2)),
    ((9, 2),),
    # One response begins as another one ends.
    ((5, 2), (5, 5, 2), (5, 5, 5, 3)),
]


def test_the_allowed_tokens_share_what_the_others_lose():
    # Of (.5, .3, .2) the first and the last are allowed: .5 / .7 and .2 / .7.
    distribution = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]).log()
    found = restricted(distribution, [np.array([0, 2]), np.array([1])]).exp()
    torch.testing.assert_close(found, torch.tensor([[5 / 7, 0, 2 / 7], [0, 1, 0]]))


def test_a_beginning_allows_what_continues_it():
    found = continuations(LISTS[2])
    assert {begun: tokens.tolist() for begun, tokens in found.items()} == {
        (): [5], (5,): [2, 5], (5, 5): [2, 5], (5, 5, 5): [3],
    }  # fmt: skip


def test_the_gradient_is_that_of_the_restricted_distribution():
    # d log π_A(y) / d logit_a = [a = y] − π_A(a) for allowed a, and 0 for all others. The entropy of halves is log 2.
    logits = torch.tensor([[1.0, 5.0, 1.0, 2.0]], requires_grad=True)
    drawn, entropy = restricted_logprobs_and_entropy(
        logits, torch.tensor([0]), torch.tensor([2]), torch.tensor([[0, 2, -1]]), 1.0
    )
    drawn.sum().backward(retain_graph=True)
    torch.testing.assert_close(drawn, torch.tensor([math.log(0.5)]))
    torch.testing.assert_close(entropy, torch.tensor([math.log(2)]))
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.5, 0.0, 0.5, 0.0]]))
    # The entropy of two equal probabilities is as large as it can be.
    logits.grad = None
    entropy.sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 4))


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("budget", [16_384, 7])
def test_what_is_drawn_is_listed_and_as_likely_as_it_should_be(temperature, budget):
    model = llama(4, 2)
    rng = np.random.default_rng(0)
    prompts = [(5, 6, 7), (8, 9, 10, 11, 4, 5), (5, 6, 7)] * 6
    listed = [LISTS[i] for i in rng.integers(0, 3, len(prompts))]
    uniforms = rng.random((len(prompts), 4))
    drawn = [reader.draw(prompts, uniforms, temperature, budget, listed) for reader in readers(model)]
    assert len({tuple(each.tokens.tolist()) for each in drawn[0]}) >= 3
    for one, other, prompt, responses in zip(*drawn, prompts, listed, strict=True):
        tokens = tuple(one.tokens.tolist())
        assert tokens in responses and tokens == tuple(other.tokens.tolist())
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
        for place, token in enumerate(tokens):
            # The model's own probabilities of what continues a listed response, and their sum.
            logits = model(torch.tensor([prompt + tokens[:place]])).logits[0, -1].detach()
            probabilities = torch.softmax(logits / (temperature or 1.0), 0)
            going_on = {each[place] for each in responses if each[:place] == tokens[:place]}
            assert one.allowed is not None and set(one.allowed[place].tolist()) == going_on
            share = probabilities[token] / sum(probabilities[each] for each in going_on)
            assert one.logprobs[place] == pytest.approx(float(share.log()), abs=1e-5)


def test_a_response_is_scored_as_it_was_drawn():
    rng = np.random.default_rng(1)
    prompts = [(5, 6, 7), (8, 9, 10, 11, 4, 5), (6, 3)] * 4
    listed = [LISTS[i] for i in rng.integers(0, 3, len(prompts))]
    for reader in readers(llama(4, 2)):
        drawn = reader.draw(prompts, rng.random((len(prompts), 4)), 0.8, 16_384, listed)
        allowed = [each.allowed for each in drawn]
        for packed in reader.packed_batches(prompts, [each.tokens for each in drawn], 20, allowed):
            scores = reader.score(packed, 0.8)
            for row, member in enumerate(packed.members.tolist()):
                found = scores.logprobs[row][scores.mask[row]].detach().numpy()
                np.testing.assert_allclose(found, drawn[member].logprobs, atol=1e-5)
                # Where one token is allowed, nothing is left to chance.
                alone = [len(tokens) == 1 for tokens in drawn[member].allowed]
                assert (scores.entropy[row][scores.mask[row]][torch.tensor(alone)] == 0).all()


def test_a_list_of_all_tokens_restricts_nothing():
    model, uniforms = llama(4, 2), np.random.default_rng(2).random((8, 1))
    everything = tuple((token,) for token in range(VOCABULARY))
    for reader in readers(model):
        free = reader.draw([(5, 6, 7)] * 8, uniforms, 1.0, 16_384)
        listed = reader.draw([(5, 6, 7)] * 8, uniforms, 1.0, 16_384, [everything] * 8)
        for one, other in zip(free, listed, strict=True):
            assert one.tokens.tolist() == other.tokens.tolist()
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-6)
    assert set(ENDS) < set(range(VOCABULARY))


def test_answers_name_the_listed_commands():
    commands = ("take mug", "look")
    assert choices(CommandText(), commands) == commands
    assert choices(CommandNumber(), commands) == ("#1", "#2")
    with pytest.raises(SettingError, match="leave out --constrain-answers"):
        choices(CommandText(), ("look", "search <words>"))


SMALL = "--iterations 2 --tasks-per-iteration 2 --group-size 4 --evaluation-tasks 2 --learning-rate 1e-3"


def test_a_constrained_run_never_acts_out_of_the_list(tmp_path, capsys):
    for name, options in (("free", []), ("constrained", ["--constrain-answers"])):
        assert main(command(*SMALL.split(), *options, "--out", str(tmp_path / name))) == 0
    free, constrained = figures(tmp_path / "free"), figures(tmp_path / "constrained")
    assert [record["valid_action_rate"] for record in constrained] == [1.0, 1.0]
    assert min(record["valid_action_rate"] for record in free) < 1
    # The update scores what was drawn by the same restricted distribution.
    assert all(record["logprob_mismatch"] < 1e-5 for record in constrained)
    assert any(record["gradient_norm"] > 0 for record in constrained)
    results = [
        json.loads(line) for line in (tmp_path / "constrained" / "evaluations.jsonl").read_text().splitlines()
    ]
    assert {result["valid_action_rate"] for result in results} == {1.0}
    # A run that was trained with free answers can be evaluated with constrained ones.
    capsys.readouterr()
    evaluate = ["evaluate", str(tmp_path / "free"), "--tasks", "3", "--out"]
    assert main([*evaluate, str(tmp_path / "a"), "--constrain-answers"]) == 0
    assert "constrained" in capsys.readouterr().out
    (result,) = json.loads((tmp_path / "a" / "results.json").read_text())
    assert result["valid_action_rate"] == 1.0


def test_what_cannot_be_constrained_is_told(tmp_path, capsys):
    with pytest.raises(SettingError, match="needs --response text or number"):
        TrainConfig(constrain_answers=True, response="think_action")
    with pytest.raises(SettingError, match="needs --engine transformers"):
        TrainConfig(constrain_answers=True, engine="vllm")
    with pytest.raises(SettingError, match="object cannot restrict its answers"):
        LanguageAgent(object(), CommandText(), 0, 100, 8, constrained=True)  # pyright: ignore[reportArgumentType]
    # Before anything is learned.
    assert main(["train", "--constrain-answers", "--out", str(tmp_path / "run"), "env:crafting"]) == 2
    told = capsys.readouterr()
    assert "leave out --constrain-answers" in told.err and "warm start" not in told.out + told.err
    endpoint = "--policy endpoint --model x --base-url http://localhost:1"
    assert main(["evaluate", *endpoint.split(), "--constrain-answers"]) == 2
    assert "not a server's" in capsys.readouterr().err
