"""The policy's samples and scores, and that neither depends on the other rows of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hgpo.errors import SettingError
from hgpo.policies.distributions import sample
from hgpo.policies.loading import load_policy
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy, word_tokenizer
from hgpo.policies.transformers import TransformersPolicy

TEXTS = ["put the mug, in a sink. go to table 1 2 3 #4 answer: task saw did now"]


def test_a_chat_template_frames_the_prompt():
    plain = create_policy(
        ["a b user assistant : <"], TinyModel(16, 1, 1), max_tokens=20, max_commands=1, seed=0
    )
    words = plain.encode(["user : a b assistant :", "user : b assistant :"])
    plain.tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}assistant :{% endif %}"
    )
    assert plain.encode(["a b", "b"]) == words


def policy(seed: int = 0) -> TransformersPolicy:
    return create_policy(TEXTS, TinyModel(16, 2, 2), max_tokens=64, max_commands=6, seed=seed)


PROMPTS = [(5, 6, 7), (8, 9, 10, 11, 12, 13), (5, 6, 7), (14, 3), (5, 6, 7)]
UNIFORMS = np.random.default_rng(0).random((5, 4))


def test_words_marks_and_numbers_are_tokens_and_spaces_are_none():
    tokenizer = word_tokenizer(["Put the mug, now."], max_commands=2)
    ids = tokenizer.encode("put THE mug,now. #2 #3 fork")
    words = tokenizer.convert_ids_to_tokens(ids)
    assert words == ["put", "the", "mug", ",", "now", ".", "#2", "<unknown>", "<unknown>"]


def test_the_token_is_the_first_whose_cumulative_probability_exceeds_the_uniform():
    # p = 0.2, 0.5, 0.3: below 0.2 the first, below 0.7 the second, from there on the third.
    distribution = torch.tensor([[0.2, 0.5, 0.3]]).log().repeat(5, 1)
    chosen = sample(distribution, torch.tensor([0.0, 0.19, 0.21, 0.69, 0.999]).double(), greedy=False)
    assert chosen.tolist() == [0, 0, 1, 1, 2]
    assert sample(distribution, torch.zeros(5), greedy=True).tolist() == [1] * 5


def test_a_completion_does_not_depend_on_its_batch():
    # Alone, among others with padding, together with an equal prompt, in batches of at most 8 tokens: all the same.
    together = policy().generate(PROMPTS, UNIFORMS, 1.0)
    small = policy()
    small.token_budget = 8
    in_parts = small.generate(PROMPTS, UNIFORMS, 1.0)
    for row, prompt in enumerate(PROMPTS):
        alone = policy().generate([prompt], UNIFORMS[[row]], 1.0)[0]
        for other in (together[row], in_parts[row]):
            assert other.tokens.tolist() == alone.tokens.tolist()
            assert other.answer == alone.answer
            np.testing.assert_allclose(other.logprobs, alone.logprobs, atol=1e-5)
    # The three equal prompts were read once, but each row drew from its own uniforms.
    assert len({tuple(together[row].tokens.tolist()) for row in (0, 2, 4)}) > 1


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_of_what_was_sampled_are_what_was_said_of_it(temperature):
    model = policy()
    completions = model.generate(PROMPTS, UNIFORMS, temperature)
    (packed,) = model.packed_batches(PROMPTS, [completion.tokens for completion in completions])
    scores = model.score(packed, temperature)
    for row, member in enumerate(packed.members):
        completion = completions[member]
        scored = scores.logprobs[row][scores.mask[row]].detach().numpy()
        np.testing.assert_allclose(scored, completion.logprobs, atol=1e-5)
        assert (scores.logprobs[row][~scores.mask[row]] == 0).all()


def test_entropy_is_that_of_the_distribution():
    # With all weights 0 every token is equally likely: log p = −log V and H = log V.
    model = policy()
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.zero_()
    (packed,) = model.packed_batches([(5, 6)], [np.array([7, 8])])
    scores = model.score(packed, 1.0)
    expected = np.log(len(model.tokenizer))
    np.testing.assert_allclose(scores.entropy.detach().numpy(), [[expected, expected]], rtol=1e-5)
    np.testing.assert_allclose(scores.logprobs.detach().numpy(), [[-expected, -expected]], rtol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_others():
    def weights(seed):
        return torch.cat([p.flatten() for p in policy(seed).model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_saved_policy_comes_back_the_same(tmp_path):
    policy().save(tmp_path)
    loaded = load_policy(tmp_path)
    first, second = (p.generate(PROMPTS, UNIFORMS, 1.0) for p in (policy(), loaded))
    assert [c.answer.text for c in first] == [c.answer.text for c in second]
    assert loaded.encode(["put the mug"]) == policy().encode(["put the mug"])
    with pytest.raises(SettingError, match="no model"):
        load_policy(tmp_path / "nowhere")
