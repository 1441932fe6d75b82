"""The plain forward pass of small Llama models: equal to transformers' outputs, computed only once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from merged_rows import policy as small_policy
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from hgpo.policies import lean_reader
from hgpo.policies.compute import Compute
from hgpo.policies.lean_reader import LeanReader
from hgpo.policies.llama import Llama, fits
from hgpo.policies.tree_reader import TreeReader

VOCABULARY = 12
ENDS = (2, 3)


def llama(heads=2, key_heads=2, size=4, layers=2, tied=True, seed=0, **others) -> LlamaForCausalLM:
    """A model of this shape, its weights large enough that every token says something else."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=heads * size, head_dim=size, intermediate_size=3 * size,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=key_heads,
        tie_word_embeddings=tied, initializer_range=0.3, max_position_embeddings=64, **others,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return model


def readers(model) -> tuple[Any, Any]:
    """The reader of small models, and that of all."""
    return LeanReader(Llama(model), ENDS), TreeReader(model, model, Compute(), ENDS, 0)


HEADS = st.sampled_from([(1, 1), (2, 2), (4, 4), (2, 1), (4, 2), (6, 2)])
SEQUENCES = st.lists(
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9).map(tuple), min_size=1, max_size=6
)


@settings(max_examples=40, deadline=None)
@given(HEADS, st.sampled_from([2, 4, 6]), st.integers(1, 3), st.booleans(), SEQUENCES, st.integers(0, 9))
def test_it_says_what_transformers_says(shape, size, layers, tied, sequences, seed):
    # Queries that share keys, a head of another size than width / heads would be, and either kind of head.
    heads, key_heads = shape
    model = llama(heads, key_heads, size, layers, tied, seed)
    plain = Llama(model)
    longest = max(map(len, sequences))
    tokens = torch.tensor([sequence + (0,) * (longest - len(sequence)) for sequence in sequences])
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    positions = torch.arange(longest)[None]
    with torch.no_grad():
        weights = plain.weights()
        everywhere, _ = plain.read(weights, tokens, positions)
        at_the_end, _ = plain.read(weights, tokens, positions, wanted=lengths[:, None] - 1)
        for row, sequence in enumerate(sequences):
            expected = model(torch.tensor([sequence])).logits[0]
            said = everywhere[row, : len(sequence)] @ weights.head.T
            torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(at_the_end[row] @ weights.head.T, expected[-1:], atol=1e-5, rtol=1e-5)


PROMPTS = [(5, 6, 7), (8, 9, 10, 11, 4, 5), (5, 6, 7), (6, 3), (5, 6, 7), (5,)]


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("budget", [16_384, 7])
def test_it_draws_what_the_other_way_of_reading_draws(temperature, budget):
    # One after another, so that later draws find some prompts and beginnings of answers known and others not.
    lean, trees = readers(llama(4, 2))
    rng = np.random.default_rng(0)
    for _ in range(4):
        prompts = [PROMPTS[i] for i in rng.permutation(len(PROMPTS))[:4]] * 3
        uniforms = rng.random((len(prompts), 5))
        found = lean.draw(prompts, uniforms, temperature, budget)
        expected = trees.draw(prompts, uniforms, temperature, 16_384)
        for one, other in zip(found, expected, strict=True):
            assert one.tokens.tolist() == other.tokens.tolist()
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


@pytest.mark.parametrize("budget", [16_384, 20])
def test_its_scores_and_their_gradient_are_those_of_the_other_way(budget):
    model = llama(4, 2, tied=False)
    rng = np.random.default_rng(1)
    prompts = [tuple(rng.integers(4, VOCABULARY, rng.integers(1, 8)).tolist()) for _ in range(9)]
    responses = [rng.integers(0, VOCABULARY, rng.integers(1, 5)) for _ in prompts]
    found = []
    for reader in readers(model):
        model.zero_grad()
        logprobs, entropies = {}, {}
        for packed in reader.packed_batches(prompts, responses, budget):
            scores = reader.score(packed, 0.8)
            assert (scores.logprobs[~scores.mask] == 0).all() and (scores.entropy[~scores.mask] == 0).all()
            (scores.logprobs.sum() + 2 * scores.entropy.sum()).backward()
            for row, member in enumerate(packed.members.tolist()):
                assert packed.responses[row] is responses[member]
                logprobs[member] = scores.logprobs[row][scores.mask[row]].detach()
                entropies[member] = scores.entropy[row][scores.mask[row]].detach()
        order = range(len(prompts))
        assert sorted(logprobs) == list(order)
        gradient = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
        found.append([*(torch.cat([part[i] for i in order]) for part in (logprobs, entropies)), gradient])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def read_rows(monkeypatch) -> list[int]:
    """How many rows each forward pass reads from here on."""
    rows = []
    read = Llama.read

    def counted(self, weights, tokens, *args, **settings):
        rows.append(len(tokens))
        return read(self, weights, tokens, *args, **settings)

    monkeypatch.setattr(Llama, "read", counted)
    return rows


def test_nothing_is_read_twice_while_the_weights_stay_the_same(monkeypatch):
    # Greedy: an answer of up to 3 tokens takes the prompt and at most 2 further reads. Whoever asks again, alone
    # or among others, is answered without reading.
    model = llama()
    lean, _ = readers(model)
    rows = read_rows(monkeypatch)
    lean.draw([PROMPTS[0]] * 5, np.zeros((5, 3)), 0.0, 16_384)
    assert set(rows) == {1} and len(rows) <= 3
    rows.clear()
    lean.draw([PROMPTS[0]] * 2, np.zeros((2, 3)), 0.0, 16_384)
    assert rows == []
    # Another temperature is another distribution; so are other weights; and what was forgotten is unknown.
    for change in (
        lambda: lean.draw([PROMPTS[0]], np.zeros((1, 1)), 1.0, 16_384),
        lambda: torch.optim.SGD(model.parameters(), lr=0.1).step(),
        lean.forget,
    ):
        lean.draw([PROMPTS[0]], np.zeros((1, 1)), 0.0, 16_384)
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        change()
        rows.clear()
        lean.draw([PROMPTS[0]], np.zeros((1, 1)), 0.0, 16_384)
        assert rows == [1]


def test_an_answer_is_by_the_weights_of_its_time():
    model = llama()
    lean, trees = readers(model)
    for _ in range(3):
        uniforms = np.random.default_rng(2).random((6, 4))
        found, expected = (reader.draw(PROMPTS, uniforms, 1.0, 16_384) for reader in (lean, trees))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
        for weight in model.parameters():
            weight.grad = torch.randn_like(weight)
        torch.optim.AdamW(model.parameters(), lr=0.1).step()


def test_memory_is_bounded(monkeypatch):
    # Room for nothing: every call begins with an empty memory, and draws the same.
    lean, trees = readers(llama())
    monkeypatch.setattr(lean_reader, "MOST_REMEMBERED", 1)
    rows = read_rows(monkeypatch)
    uniforms = np.random.default_rng(3).random((6, 4))
    expected = [drawn.tokens.tolist() for drawn in trees.draw(PROMPTS, uniforms, 1.0, 16_384)]
    for _ in range(2):
        rows.clear()
        assert [drawn.tokens.tolist() for drawn in lean.draw(PROMPTS, uniforms, 1.0, 16_384)] == expected
        assert sum(rows) >= len(set(PROMPTS))


def test_only_models_of_this_shape_are_read_this_way(monkeypatch):
    assert fits(llama(), Compute())
    assert isinstance(small_policy().reader, LeanReader)
    assert not fits(llama(), Compute(device=torch.device("meta")))
    assert not fits(llama(), Compute(precision=torch.bfloat16))
    assert not fits(llama(), Compute(recompute=True))
    assert not fits(llama().bfloat16(), Compute())
    assert not fits(llama(hidden_act="gelu"), Compute())
    assert not fits(llama(attention_bias=True), Compute())
    assert not fits(llama(mlp_bias=True), Compute())
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    assert not fits(llama(rope_parameters=scaled), Compute())
    windowed = MistralConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, sliding_window=3,
    )  # fmt: skip
    assert not fits(MistralForCausalLM(windowed), Compute())
    monkeypatch.setattr("hgpo.policies.llama.MOST_WEIGHTS", 100)
    assert not fits(llama(), Compute())
