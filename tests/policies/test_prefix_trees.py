"""Prefix trees: their content, and that the model's outputs for a branch equal those of the branch alone."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from merged_rows import reading_trees
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig
from typing_extensions import override

from hgpo.policies.compute import Compute
from hgpo.policies.prefix_trees import as_rows, grow_trees
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy, word_tokenizer
from hgpo.policies.transformers import TransformersPolicy
from hgpo.policies.tree_reader import TreeReader

TEXTS = ["a b c d e f g h i j"]


def grown(sequences, wanted=None, *, attention_scale=math.inf, most_nodes=1000):
    wanted = wanted or [1] * len(sequences)
    return grow_trees(sequences, wanted, attention_scale=attention_scale, most_nodes=most_nodes)


def test_what_sequences_share_is_one_path():
    # 1 2 ┬ 3 ┬ 4      Of 3 + 4 + 3 tokens the tree holds 1, 2, 3, 4 and 5. The ends 3, 4 and 5 are wanted, so
    #     └ 5          they come last, in the order of the sequences: 1 2 | 3 4 5.
    (tree,) = grown([(1, 2, 3), (1, 2, 3, 4), (1, 2, 5)])
    assert (tree.tokens.tolist(), tree.depths.tolist(), tree.wanted) == ([1, 2, 3, 4, 5], [0, 1, 2, 3, 2], 3)
    assert tree.members == (0, 1, 2)
    assert [outputs.tolist() for outputs in tree.outputs] == [[2], [3], [4]]
    assert tree.attention_mask.astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


SEQUENCES = st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=8).map(tuple), min_size=1, max_size=12)


@given(SEQUENCES)
def test_a_tree_holds_every_prefix_once(sequences):
    # Attention for nothing: all that begin with the same token are one tree, whose nodes are their prefixes.
    trees = grown(sequences)
    prefixes = {sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)}
    assert sum(map(len, trees)) == len(prefixes)
    assert len(trees) == len({sequence[0] for sequence in sequences})
    for tree in trees:
        for member, outputs in zip(tree.members, tree.outputs, strict=True):
            # What the end of a sequence sees, by depth, is the sequence.
            seen = np.flatnonzero(tree.attention_mask[outputs[-1]])
            path = seen[np.argsort(tree.depths[seen])]
            assert tuple(tree.tokens[path]) == sequences[member]
            assert tree.depths[path].tolist() == list(range(len(path)))


@given(SEQUENCES, st.integers(1, 12), st.floats(0.5, 100))
def test_every_sequence_is_in_one_tree_within_the_budget(sequences, most_nodes, attention_scale):
    trees = grown(sequences, attention_scale=attention_scale, most_nodes=most_nodes)
    assert sorted(member for tree in trees for member in tree.members) == list(range(len(sequences)))
    assert all(len(tree) <= most_nodes or len(set(sequences[i] for i in tree.members)) == 1 for tree in trees)
    assert [len(tree) for tree in trees] == sorted(map(len, trees))


def test_sequences_share_a_row_only_if_it_is_cheaper():
    # Two sequences of 10 tokens at c = 10. Alone, each costs 10 (1 + 10 / 10) = 20. In one row that shares 5 of
    # them they cost 15 · 2.5 = 37.5 < 40, and sharing 4 of them 16 · 2.6 = 41.6 > 40; at c = 100 it is 18.6.
    def sequences(shared):
        return [(*range(shared), *[20 + branch] * (10 - shared)) for branch in range(2)]

    assert len(grown(sequences(5), attention_scale=10)) == 1
    assert len(grown(sequences(4), attention_scale=10)) == 2
    assert len(grown(sequences(4), attention_scale=100)) == 1


def test_padding_is_on_the_left_and_sees_itself_alone():
    rows = as_rows(grown([(7, 8, 9), (1,)]), padding=0)
    assert rows.tokens.tolist() == [[0, 0, 1], [7, 8, 9]]
    assert rows.attention_mask[0, 0].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert rows.attention_mask[1, 0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def policy(token_budget=16_384):
    made = create_policy(TEXTS, TinyModel(16, 2, 2), max_tokens=64, max_commands=1, seed=0)
    made.token_budget = token_budget
    return reading_trees(made)


PAIRS = st.lists(
    st.tuples(
        st.lists(st.integers(3, 5), min_size=1, max_size=6).map(tuple),
        st.lists(st.integers(3, 6), min_size=1, max_size=4).map(np.array),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=30, deadline=None)
@given(PAIRS, st.sampled_from([4, 20, 16_384]))
def test_the_model_says_of_a_branch_what_it_says_of_it_alone(pairs, token_budget):
    reader = policy(token_budget)
    seen = []
    for packed in reader.packed_batches([prompt for prompt, _ in pairs], [response for _, response in pairs]):
        scores = reader.score(packed, 1.0)
        for row, member in enumerate(packed.members):
            seen.append(member)
            prompt, response = pairs[member]
            logits = reader.model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
            expected = torch.log_softmax(logits, -1)
            chosen = expected[torch.arange(len(response)), torch.from_numpy(response)]
            entropy = -(expected.exp() * expected).sum(-1)
            torch.testing.assert_close(scores.logprobs[row][scores.mask[row]], chosen, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(scores.entropy[row][scores.mask[row]], entropy, atol=1e-5, rtol=1e-5)
    assert sorted(seen) == list(range(len(pairs)))


def eager(tmp_path):
    policy().save(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    return reading_trees(TransformersPolicy(model, policy().tokenizer))


def windowed(tmp_path):
    torch.manual_seed(0)
    tokenizer = word_tokenizer(TEXTS, 1)
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, sliding_window=3, initializer_range=0.5,
    )  # fmt: skip
    return TransformersPolicy(AutoModelForCausalLM.from_config(config), tokenizer)


@pytest.mark.parametrize("made", [eager, windowed])
def test_a_model_that_does_not_follow_a_tree_reads_each_sequence_for_itself(made, tmp_path):
    # One prompt of 6 tokens twice, so that two branches leave it, and one that shares a beginning with it.
    reader = made(tmp_path)
    prompts = [(3, 4, 5, 6, 7, 8), (3, 4, 5, 6, 7, 8), (3, 4, 9)]
    uniforms = np.random.default_rng(0).random((3, 4))
    completions = reader.generate(prompts, uniforms, 1.0)
    assert completions[0].tokens.tolist() != completions[1].tokens.tolist()
    for prompt, completion in zip(prompts, completions, strict=True):
        tokens = torch.from_numpy(completion.tokens)
        logits = reader.model(torch.tensor([[*prompt, *completion.tokens]])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits.detach(), -1)[torch.arange(len(tokens)), tokens]
        np.testing.assert_allclose(completion.logprobs, expected, atol=1e-5)


def test_only_full_attention_that_takes_a_mask_shares_rows(tmp_path):
    for made, shares in ((policy(), True), (eager(tmp_path), False), (windowed(tmp_path), False)):
        assert isinstance(made.reader, TreeReader) and made.reader.shares == shares


def test_attention_costs_as_much_as_the_weights_at_the_scale():
    # One layer of width h: 4 h² for attention and 9 h² for the three matrices to 3 h, and some norms; each
    # token attended to takes 2 h. So c is about 13 h² / 2 h = 6.5 h.
    config = LlamaConfig(
        vocab_size=10, hidden_size=64, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4
    )
    model = LlamaForCausalLM(config)
    reader = TreeReader(model, model, Compute(), (), 0)
    assert reader.attention_scale == pytest.approx(6.5 * 64, rel=0.01)


class ComputeOfAGpu(Compute):
    """The CPU, given as much at a time as a GPU is."""

    @property
    @override
    def call_tokens(self) -> int:
        return Compute(torch.device("meta")).call_tokens

    @property
    @override
    def cache_bytes(self) -> int:
        return Compute(torch.device("meta")).cache_bytes


def test_a_gpu_continues_more_prompts_together_and_they_say_the_same():
    # Prompts of 4, 6 and 8 tokens without a common beginning, and answers of 3 tokens, in passes of at most 12
    # tokens. A CPU takes 4 and 6 together, padded to 6, then 8, and calls the model 1 + 2 times for each of the
    # two. A GPU reads in the same two passes and continues all three together: 2 + 2 calls.
    prompts, uniforms = [(3, 4, 3, 4), (4, 5, 4, 5, 4, 5), (5, 3, 5, 3, 5, 3, 5, 3)], np.full((3, 3), 0.3)
    said, calls = [], []
    for compute in (Compute(), ComputeOfAGpu()):
        made = policy(token_budget=12)
        made.reader = TreeReader(made.model, made.model, compute, ends=(), padding=0)
        with patch.object(made.model, "forward", wraps=made.model.forward) as forward:
            said.append(made.generate(prompts, uniforms, 1.0))
        calls.append(forward.call_count)
    assert calls == [6, 4]
    for one, other in zip(*said, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_a_gpu_pads_more_rather_than_calling_again():
    # Prompts of 1, 15, 30, 45 and 60 tokens without a common beginning, each with an answer of one token. Padded
    # to the next length, rows cost 14, 14 + 2 · 15 = 44, 44 + 3 · 15 = 89 and 89 + 4 · 15 = 149 tokens: more than
    # the 100 that another call costs on a CPU, less than the 3,000 on a GPU.
    prompts = [(3 + place,) * length for place, length in enumerate((1, 15, 30, 45, 60))]
    answers = [np.array([3])] * len(prompts)
    passes = []
    for compute in (Compute(), ComputeOfAGpu()):
        made = policy()
        reader = TreeReader(made.model, made.model, compute, ends=(), padding=0)
        passes.append([part.read for part in reader.packed_batches(prompts, answers, 16_384)])
    assert passes == [[1 + 15 + 30 + 45, 60], [1 + 15 + 30 + 45 + 60]]
