"""Responses that join others while these are being written are the responses that they would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from merged_rows import reading_trees
from transformers import AutoModelForCausalLM

from hgpo.policies.settings import TinyModel
from hgpo.policies.streams import AnsweredTogether, Request
from hgpo.policies.tiny import create_policy
from hgpo.policies.transformers import TransformersPolicy

TEXTS = ["put the mug, in a sink. go to table 1 2 3 #4 answer: task saw did now"]
MOST = 6


def lean(token_budget: int = 16_384) -> TransformersPolicy:
    made = create_policy(TEXTS, TinyModel(16, 2, 2), max_tokens=64, max_commands=1, seed=0)
    made.token_budget = token_budget
    # Every third token or so ends a response, so that the lengths differ.
    made.model.lm_head.weight.data[list(made.chat.ends)] *= 3
    return made


def trees(token_budget: int = 16_384) -> TransformersPolicy:
    return reading_trees(lean(token_budget))


def not_shared(token_budget: int, folder: Path) -> TransformersPolicy:
    lean(token_budget).save(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return reading_trees(TransformersPolicy(model, lean().tokenizer))


def never_ending(policy: Any) -> None:
    """Only the largest length ends a response."""
    policy.reader._ends = []


def decoding_of(stream: Any) -> Any:
    return stream._decoding


def streamed(policy, arrivals, temperature, choices=None):
    """The completions of prompts that arrive at these steps, in the prompts' order; arrivals: (step, prompt)."""
    uniforms = np.random.default_rng(0).random((len(arrivals), MOST))
    ended, member_of = {}, {}
    with policy.stream(temperature) as stream:
        step = 0
        while len(ended) < len(arrivals):
            joining = [number for number, (at, _) in enumerate(arrivals) if at == step]
            listed = [None if choices is None else choices[number] for number in joining]
            requests = [
                Request(arrivals[number][1], uniforms[number], of)
                for number, of in zip(joining, listed, strict=True)
            ]
            member_of |= zip(stream.add(requests), joining, strict=True)
            for number, completion in stream.advance():
                assert member_of[number] not in ended
                ended[member_of[number]] = completion
            step += 1
            assert step < 200
        assert stream.advance() == []
    return [ended[number] for number in range(len(arrivals))], uniforms


ARRIVALS = st.lists(
    st.tuples(st.integers(0, 8), st.lists(st.integers(3, 5), min_size=1, max_size=6).map(tuple)),
    min_size=1,
    max_size=10,
)


@settings(max_examples=30, deadline=None)
@given(ARRIVALS, st.sampled_from([4, 16_384]), st.sampled_from([0.0, 1.0]))
def test_a_response_does_not_depend_on_when_others_join_and_end(arrivals, token_budget, temperature):
    # One prompt at a time, without stream, is the reference. Rows leave and join at any step, prompts are equal,
    # share beginnings or not, and a budget of 4 tokens lets most of them wait for room.
    for policy in (trees(token_budget), lean(token_budget)):
        completions, uniforms = streamed(policy, arrivals, temperature)
        for (_, prompt), row, completion in zip(arrivals, uniforms, completions, strict=True):
            [alone] = policy.generate([prompt], row[None], temperature)
            assert completion.tokens.tolist() == alone.tokens.tolist()
            np.testing.assert_allclose(completion.logprobs, alone.logprobs, atol=1e-5)
            assert completion.answer == alone.answer


def test_a_model_that_cannot_share_rows_answers_what_has_arrived(tmp_path):
    arrivals = [(0, (3, 4, 5)), (0, (3, 4)), (1, (5,)), (3, (3, 4, 5))]
    completions, uniforms = streamed(not_shared(16_384, tmp_path), arrivals, 1.0)
    for (_, prompt), row, completion in zip(arrivals, uniforms, completions, strict=True):
        [alone] = lean().generate([prompt], row[None], 1.0)
        assert completion.tokens.tolist() == alone.tokens.tolist()


@pytest.mark.parametrize("made", [trees, lean])
def test_restricted_responses_stay_within_their_own_lists(made):
    policy = made()
    lists = [("go to table", "go to sink"), ("put mug",), ("answer 1", "answer 2 3", "now")]
    arrivals = [(0, (3, 4)), (1, (4, 5)), (2, (3, 4))]
    completions, uniforms = streamed(policy, arrivals, 1.0, lists)
    for (_, prompt), row, listed, completion in zip(arrivals, uniforms, lists, completions, strict=True):
        assert completion.answer.text in listed
        [alone] = policy.generate_among([prompt], row[None], 1.0, [listed])
        assert completion.tokens.tolist() == alone.tokens.tolist()
        for allowed, expected in zip(completion.allowed, alone.allowed, strict=True):
            assert allowed.tolist() == expected.tolist()


def test_a_response_that_joins_does_not_wait_for_those_before_it():
    # The long one takes 6 tokens. The short one, of one token, comes after 2 of them and ends 1 later.
    policy = trees()
    never_ending(policy)
    ended = []
    with policy.stream(0.0) as stream:
        [long] = stream.add([Request((3, 4, 5), np.zeros(6))])
        for step in range(1, 7):
            if step == 3:
                stream.add([Request((5, 4), np.zeros(1))])
            ended += [(step, number) for number, _ in stream.advance()]
    assert ended == [(3, long + 1), (6, long)]


def test_few_prompts_wait_until_they_are_worth_a_call():
    # 16 responses are being written. One more prompt is less than an eighth of them and waits; two are not.
    policy = trees()
    never_ending(policy)
    with policy.stream(0.0) as stream:
        stream.add([Request((3 + number % 3, 4, number % 7 + 3), np.zeros(5)) for number in range(16)])
        stream.advance()
        late = stream.add([Request((5, 4), np.zeros(1))])
        assert stream.advance() == []
        late += stream.add([Request((4, 4), np.zeros(1))])
        assert sorted(number for number, _ in stream.advance()) == late


def test_what_no_response_attends_to_leaves_the_cache():
    # Four prompts without a common beginning are four rows of 3 tokens. Three responses end after the first
    # token. The fourth goes on alone: its row of 3, and then one more token per step.
    policy = trees()
    never_ending(policy)
    prompts = [(3, 7, 8), (4, 7, 8), (5, 7, 8), (6, 7, 8)]
    with policy.reader.stream(0.0, 16_384) as stream:
        stream.add(
            [Request(prompt, np.zeros(most)) for prompt, most in zip(prompts, [1, 1, 1, 4], strict=True)]
        )
        sizes = []
        for _ in range(3):
            stream.advance()
            sizes.append(decoding_of(stream).cached_tokens)
    assert sizes == [4, 5, 6]


def test_a_call_answers_all_that_were_added_since_the_last():
    asked = []

    def squares(items):
        asked.append(list(items))
        return [item**2 for item in items]

    stream = AnsweredTogether(squares)
    assert stream.add([2, 3]) == [0, 1]
    assert stream.add([4]) == [2]
    assert stream.advance() == [(0, 4), (1, 9), (2, 16)]
    assert stream.advance() == []
    assert stream.add([5]) == [3]
    assert stream.advance() == [(3, 25)]
    assert asked == [[2, 3, 4], [5]]


def test_streams_need_no_gradient():
    policy = trees()
    with torch.enable_grad(), policy.reader.stream(1.0, 16_384) as stream:
        stream.add([Request((3, 4), np.full(3, 0.5))])
        while not (ended := stream.advance()):
            pass
        assert not decoding_of(stream)._logits.requires_grad
    assert len(ended) == 1
