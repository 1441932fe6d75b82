"""The entropy of responses in training: its numbers, and runs whose advantages follow from it."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from merged_rows import policy, table
from toy_runs import config, figures, finished, half_trained, run

from hgpo.distributed import SingleProcess
from hgpo.errors import SettingError
from hgpo.estimators import AEM, EMPG, HGPO, PPO
from hgpo.rollout_files import read_rollouts
from hgpo.training.response_entropy import response_entropies
from hgpo.training.sampling import sample_trajectories


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_it_is_the_mean_of_the_tokens_entropies(temperature):
    # −Σ p log p of the distribution before each token of the response, row after row, nothing merged.
    model, steps = policy(), table(np.random.default_rng(1))
    assert steps.prompt_tokens is not None and steps.response_tokens is not None
    expected = []
    for prompt, response in zip(steps.prompt_tokens, steps.response_tokens, strict=True):
        tokens = torch.tensor([[*prompt.tolist(), *response.tolist()]])
        with torch.no_grad():
            logits = model.model(tokens).logits[0, len(prompt) - 1 : -1].double() / temperature
        logprobs = torch.log_softmax(logits, dim=-1)
        expected.append(float(-(logprobs.exp() * logprobs).sum(-1).mean()))
    np.testing.assert_allclose(response_entropies(model, steps, temperature), expected, rtol=1e-5)


def test_every_distinct_pair_is_read_once(monkeypatch):
    model, steps = policy(), table(np.random.default_rng(1))
    read = []
    packed_batches = model.packed_batches

    def counted(prompts, responses, allowed):
        read.append(len(prompts))
        return packed_batches(prompts, responses, allowed)

    monkeypatch.setattr(model, "packed_batches", counted)
    response_entropies(model, steps, 1.0)
    assert steps.prompt_tokens is not None and steps.response_tokens is not None
    pairs = zip(steps.prompt_tokens, steps.response_tokens, strict=True)
    distinct = {(prompt.tobytes(), response.tobytes()) for prompt, response in pairs}
    assert read == [len(distinct)] and len(distinct) < len(steps)


def test_processes_share_the_work():
    class Half(SingleProcess):
        """One of two processes; the other's results come from a second call."""

        def __init__(self, rank, others):
            self.rank, self.size, self.others = rank, 2, others

        def gather(self, items):
            self.others.append(items)
            return list(self.others)

    model, steps = policy(), table(np.random.default_rng(1))
    model.token_budget = 12
    others: list = []
    with pytest.raises(KeyError):
        response_entropies(model, steps, 1.0, Half(0, others))
    found = response_entropies(model, steps, 1.0, Half(1, others))
    np.testing.assert_allclose(found, response_entropies(policy(), steps, 1.0), rtol=1e-5)


@pytest.mark.parametrize("credit", [AEM, EMPG])
@pytest.mark.parametrize("estimator", [HGPO(invalid_penalty=0.1), PPO()], ids=["hgpo", "ppo"])
def test_advantages_follow_from_the_kept_rollouts(credit, estimator, tmp_path):
    settings = half_trained(
        iterations=1, estimator=estimator, entropy_credit=credit.__name__.lower(), keep_rollouts=True
    )
    run(settings, tmp_path)
    steps = read_rollouts(tmp_path / "rollouts" / "000001.parquet").steps
    (record,) = figures(tmp_path)
    assert steps.entropy is not None and steps.entropy.min() >= 0
    assert record["response_entropy_mean"] == steps.entropy.mean()
    assert record["advantage_std"] == pytest.approx(credit(estimator)(steps).std(), rel=1e-12)
    assert record["advantage_std"] != pytest.approx(estimator(steps).std(), rel=1e-3)


def test_without_entropy_credit_nothing_is_measured(tmp_path):
    run(half_trained(iterations=1, keep_rollouts=True), tmp_path)
    assert "response_entropy_mean" not in figures(tmp_path)[0]
    assert read_rollouts(tmp_path / "rollouts" / "000001.parquet").steps.entropy is None


def test_a_resumed_run_equals_an_unbroken_one(tmp_path, monkeypatch, handlers):
    handlers({signal.SIGINT: signal.default_int_handler})
    settings = half_trained(iterations=3, entropy_credit="aem", checkpoint_every=1)
    unbroken = figures(finished(settings))
    calls = []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return sample_trajectories(*args)

    monkeypatch.setattr("hgpo.training.rollout_source.sample_trajectories", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path)
    run(settings, tmp_path)
    assert figures(tmp_path) == unbroken


def test_an_unknown_entropy_credit_is_refused():
    with pytest.raises(SettingError, match="--entropy-credit is 'half': expected one of none, aem, empg"):
        config(entropy_credit="half")
