"""Rollouts that are sampled during the update before theirs, with the weights that it began with."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow.parquet
import pytest
import torch
from toy_runs import config, figures, half_trained, run

from hgpo.distributed import SingleProcess
from hgpo.errors import RunError, SettingError
from hgpo.policies.engines import WeightCopy
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy
from hgpo.training.rollout_source import THREAD
from hgpo.training.trainer import Trainer


class Watched(Trainer):
    """Keeps the weights before each iteration, and what was sampled for it."""

    def _iterate(self):
        self.seen = getattr(self, "seen", [])
        self.seen.append([weight.detach().clone() for weight in self.state.policy.model.parameters()])
        super()._iterate()


def kept(folder, iteration):
    return pyarrow.parquet.read_table(folder / "rollouts" / f"{iteration:06d}.parquet").to_pydict()


def test_rollouts_have_the_weights_of_one_update_before(tmp_path):
    # Iteration 1 is sampled by weights 0, 2 by 0 as well, 3 by 1, 4 by 2. So the log-probabilities of its responses
    # under those weights are what the sampler said, and under no others.
    trainer = Watched(
        half_trained(overlap=1, keep_rollouts=True, learning_rate=1e-2, learning_rate_warmup=0), tmp_path
    )
    trainer.run()
    policy = trainer.state.policy
    for iteration, version in ((1, 0), (2, 0), (3, 1), (4, 2)):
        rows = kept(tmp_path, iteration)
        assert set(rows["policy_version"]) == {version}
        prompts = [tuple(tokens) for tokens in rows["prompt_tokens"]]
        responses = [np.array(tokens) for tokens in rows["response_tokens"]]
        agreeing = []
        for number, weights in enumerate(trainer.seen):
            with torch.no_grad():
                for own, value in zip(policy.model.parameters(), weights, strict=True):
                    own.copy_(value)
                off = 0.0
                for packed in policy.packed_batches(prompts, responses):
                    scores = policy.score(packed, 1.0)
                    for row, member in enumerate(packed.members.tolist()):
                        said = torch.tensor(rows["response_logprobs"][member])
                        found = scores.logprobs[row][scores.mask[row]]
                        off = max(off, float((said - found).abs().max()))
            # Files have the log-probabilities to three digits.
            if off < 1e-2:
                agreeing.append(number)
        assert agreeing == [version]


def test_a_run_that_was_stopped_continues_exactly(tmp_path):
    settings = half_trained(overlap=1, checkpoint_every=1, evaluate_every=2, iterations=5)
    whole = run(settings, tmp_path / "whole")

    class Stopped(Trainer):
        def _iterate(self):
            if self.iteration == 3:
                raise KeyboardInterrupt
            super()._iterate()

    with pytest.raises(KeyboardInterrupt):
        Stopped(settings, tmp_path / "parts").run()
    assert THREAD not in [thread.name for thread in threading.enumerate()]
    run(settings, tmp_path / "parts")
    assert figures(tmp_path / "parts") == figures(tmp_path / "whole")
    again = Trainer(settings, tmp_path / "parts").start.policy.model.state_dict()
    for name, weight in whole.state.policy.model.state_dict().items():
        assert torch.equal(weight, again[name]), name


def test_the_first_two_updates_have_the_rollouts_of_the_starting_policy(tmp_path):
    # The first iteration is as without overlap. The second is not, or nothing would be ahead.
    run(half_trained(), tmp_path / "in turn")
    run(half_trained(overlap=1), tmp_path / "ahead")
    in_turn, ahead = figures(tmp_path / "in turn"), figures(tmp_path / "ahead")
    assert in_turn[0] == ahead[0]
    assert in_turn[1] != ahead[1]


def test_the_ratio_is_that_of_the_weights_that_sampled(tmp_path):
    # One optimizer step per iteration: on policy the ratio is 1 and nothing is clipped. One update behind, with
    # a large step, ratios leave 1 ± 0.2 from the second update's rollouts on.
    settings = dict(num_minibatches=1, learning_rate=3e-2, learning_rate_warmup=0)
    run(half_trained(**settings), tmp_path / "in turn")
    run(half_trained(**settings, overlap=1), tmp_path / "ahead")
    assert all(record["clip_fraction"] == 0 for record in figures(tmp_path / "in turn"))
    ahead = [record["clip_fraction"] for record in figures(tmp_path / "ahead")]
    assert ahead[0] == 0 and max(ahead[1:]) > 0


def test_an_environment_that_fails_in_the_thread_ends_the_run(tmp_path, monkeypatch):
    from toy import ToyEnvironment

    steps = []

    def step(self, command):
        steps.append(command)
        if threading.current_thread() is not threading.main_thread() and len(steps) > 400:
            raise OSError("no room")
        return original(self, command)

    original = ToyEnvironment.step
    monkeypatch.setattr(ToyEnvironment, "step", step)
    with pytest.raises(RunError, match="every trajectory failed in iteration"):
        run(half_trained(overlap=1, iterations=50, max_response_tokens=8), tmp_path)


def test_a_copy_of_the_weights_follows_only_when_it_is_told():
    policy = create_policy(["a b c d"], TinyModel(16, 1, 1), max_tokens=20, max_commands=1, seed=0)
    engine = WeightCopy(policy)
    prompts, uniforms = [(3, 4)], np.full((1, 3), 0.4)
    before = engine.generate(prompts, uniforms, 1.0)[0].logprobs.tolist()
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.5)
    assert engine.generate(prompts, uniforms, 1.0)[0].logprobs.tolist() == before
    engine.synchronize()
    after = engine.generate(prompts, uniforms, 1.0)[0].logprobs.tolist()
    assert after == policy.generate(prompts, uniforms, 1.0)[0].logprobs.tolist() != before


def test_several_processes_are_refused(tmp_path):
    class Two(SingleProcess):
        size = 2

    with pytest.raises(SettingError, match="--overlap 1 needs a single process, and 2 train together"):
        Trainer(half_trained(overlap=1), tmp_path, processes=Two())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(overlap=2), "--overlap is 2: expected 0 or 1"),
        (dict(overlap=1, old_logprobs="recomputed"), "--overlap 1 needs --old-logprobs sampler"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, words):
    with pytest.raises(SettingError, match=words):
        config(**changes)
