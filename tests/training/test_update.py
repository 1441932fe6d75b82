"""The update: the loss in closed form, and that merging and splitting rows changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from byte_models import byte_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from merged_rows import policy, table

from hgpo import StepTable
from hgpo.policies.batching import split_by_length
from hgpo.policies.tokens import ChatTokenizer
from hgpo.rollouts.prompts import action_span
from hgpo.training.batch import merge_rows, mini_batches, subsample, with_actions
from hgpo.training.losses import PolicyLoss
from hgpo.training.update import update_policy


def terms(loss, ratio=1.0, advantage=1.0, reference_ratio=1.0, entropy=0.0, count=1):
    """The loss of one pair with one token; reference_ratio is π_ref / π."""
    return loss(
        logprobs=torch.tensor([[math.log(ratio)]]),
        old_logprobs=torch.zeros(1, 1),
        reference_logprobs=torch.tensor([[math.log(ratio) + math.log(reference_ratio)]]),
        entropy=torch.tensor([[entropy]]),
        positive=torch.tensor([max(advantage, 0.0)]),
        negative=torch.tensor([max(-advantage, 0.0)]),
        positive_rows=torch.tensor([count * (advantage > 0)]),
        negative_rows=torch.tensor([count * (advantage < 0)]),
        mask=torch.ones(1, 1, dtype=torch.bool),
        action=torch.ones(1, 1, dtype=torch.bool),
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.1, 2.0, -2.2),  # inside the range: −A ρ
        (1.5, 2.0, -2.4),  # −A (1 + 0.2)
        (0.5, 2.0, -1.0),  # below 1 a positive advantage is never clipped
        (0.9, -2.0, 1.8),  # |A| ρ
        (0.5, -2.0, 1.6),  # |A| (1 − 0.2)
        (2.0, -2.0, 4.0),  # above 1 a negative advantage is clipped at 3 only
        (9.0, -2.0, 6.0),  # |A| · 3
    ],
)
def test_the_clip(ratio, advantage, expected):
    assert terms(PolicyLoss(kl_coefficient=0), ratio, advantage).total.item() == pytest.approx(
        expected, rel=1e-5
    )


def test_divergence_and_entropy_count_every_row_of_the_pair():
    # k3 with π_ref / π = 2: 2 − ln 2 − 1 = 0.306853; three rows; β = 0.1, η = 0.5, H = 0.7; A = 1, ρ = 1.
    result = terms(
        PolicyLoss(kl_coefficient=0.1, entropy_coefficient=0.5), reference_ratio=2.0, entropy=0.7, count=3
    )
    k3 = 2 - math.log(2) - 1
    assert result.total.item() == pytest.approx(-1 + 0.1 * 3 * k3 - 0.5 * 3 * 0.7, rel=1e-5)
    sums = result.sums
    assert (sums.kl.item(), sums.entropy.item()) == (pytest.approx(3 * k3), pytest.approx(3 * 0.7))
    assert (sums.positive_tokens.item(), sums.negative_tokens.item(), sums.rows.item()) == (3, 0, 3)


def gradient(model):
    return torch.cat([p.grad.flatten() for p in model.model.parameters()])


def ratio_of(loss, log_ratio):
    """The ratios of one response; of three or more tokens the second and the last are the action."""
    if loss.ratio == "sequence":
        return log_ratio.mean().exp().expand(len(log_ratio))
    if loss.ratio == "action" and len(log_ratio) > 2:
        action = torch.tensor(action_of(log_ratio))
        return torch.where(action, log_ratio[action].mean(), log_ratio[~action].mean()).exp()
    return (log_ratio.mean() if loss.ratio == "action" else log_ratio).exp().expand(len(log_ratio))


def action_of(response):
    """Where a response of a test has its action."""
    if len(response) < 3:
        return np.ones(len(response), dtype=bool)
    return np.isin(np.arange(len(response)), [1, len(response) - 1])


def objective_of(loss, ratio, logprobs, advantage):
    """The surrogate of each token by the words of the papers, one row at a time."""
    if loss.clip == "cispo":
        return ratio.detach().clamp(1 - loss.clip_low, 1 + loss.clip_high) * advantage * logprobs
    if loss.clip == "sapo":
        tau = loss.gate_positive if advantage > 0 else loss.gate_negative
        return 4 / tau / (1 + torch.exp(-tau * (ratio - 1))) * advantage
    objective = torch.minimum(
        ratio * advantage, ratio.clamp(1 - loss.clip_low, 1 + loss.clip_high) * advantage
    )
    return objective if advantage > 0 else torch.maximum(objective, torch.tensor(loss.dual_clip * advantage))


def plain_gradient(steps, advantages, loss, reference):
    """Row after row, nothing merged; rows without advantage add nothing. A response has 4 tokens at most."""
    model = policy()
    tokens = sum(len(response) for response in steps.response_tokens)
    for row in np.flatnonzero(advantages):
        response = steps.response_tokens[row]
        (packed,) = model.packed_batches([tuple(steps.prompt_tokens[row].tolist())], [response])
        scores = model.score(packed, 1.0)
        with torch.no_grad():
            there = reference.score(packed, 1.0).logprobs[0]
        logprobs, advantage = scores.logprobs[0], float(advantages[row])
        log_ratio = logprobs - torch.tensor(steps.response_logprobs[row]).float()
        objective = objective_of(loss, ratio_of(loss, log_ratio), logprobs, advantage)
        if advantage < 0 and log_ratio.mean().exp() < loss.mask_below:
            objective = 0 * objective
        k3 = (there - logprobs).exp() - (there - logprobs) - 1
        total = -objective + loss.kl_coefficient * k3 - loss.entropy_coefficient * scores.entropy[0]
        share = {
            "tokens": 1 / tokens,
            "rows": 1 / len(response) / len(steps),
            "constant": 1 / (len(steps) * 4),
        }[loss.average]
        (total.sum() * share).backward()
    return gradient(model)


@pytest.mark.parametrize(
    ("token_budget", "settings"),
    [
        *(
            (budget, {"average": average})
            for budget in (10_000, 12)
            for average in ("tokens", "rows", "constant")
        ),
        *(
            (10_000, {"ratio": ratio, "clip": clip, "average": "rows", "mask_below": 0.98})
            for ratio in ("token", "action", "sequence")
            for clip in ("ppo", "cispo", "sapo")
        ),
    ],
)
def test_the_merged_update_is_the_plain_one(token_budget, settings):
    rng = np.random.default_rng(1)
    steps = table(rng)
    advantages = rng.normal(size=len(steps)) * (rng.random(len(steps)) < 0.7)
    loss = PolicyLoss(kl_coefficient=0.3, entropy_coefficient=0.2, **settings)
    reference = policy(7)
    expected = plain_gradient(steps, advantages, loss, reference)
    model = policy()
    model.token_budget = token_budget
    # Without momentum and with learning rate 1, a step of gradient descent is the gradient itself.
    before = torch.cat([p.detach().flatten().clone() for p in model.model.parameters()])
    optimizer = torch.optim.SGD(model.model.parameters(), lr=1.0)
    batch = merge_rows(steps, advantages)
    assert ((batch.positive > 0) & (batch.negative > 0)).any() and len(batch) < np.count_nonzero(advantages)
    metrics = update_policy(
        *(model, reference, optimizer, loss, replace(batch, action=tuple(map(action_of, batch.responses)))),
        ppo_epochs=1, num_minibatches=1, temperature=1.0, max_response_tokens=4, max_gradient_norm=1e9, rng=np.random.default_rng(0),
    )  # fmt: skip
    after = torch.cat([p.detach().flatten() for p in model.model.parameters()])
    torch.testing.assert_close(before - after, expected, atol=2e-5, rtol=1e-3)
    assert (metrics.masked_fraction > 0) == (loss.mask_below > 0)


def test_a_divergence_without_weight_needs_no_reference():
    rng = np.random.default_rng(3)
    steps = table(rng)
    batch = merge_rows(steps, rng.normal(size=len(steps)))
    loss = PolicyLoss(kl_coefficient=0.0, entropy_coefficient=0.2)
    with_reference, without = policy(), policy()
    found = [
        update_policy(
            *(model, reference, torch.optim.SGD(model.model.parameters(), lr=1.0), loss, batch),
            ppo_epochs=1, num_minibatches=2, temperature=1.0, max_response_tokens=4, max_gradient_norm=1e9, rng=np.random.default_rng(0),
        )
        for model, reference in ((with_reference, policy(7)), (without, None))
    ]  # fmt: skip
    pairs = zip(with_reference.model.parameters(), without.model.parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)
    assert found[0].kl is not None and found[0].kl > 0
    assert found[1] == replace(found[0], kl=None)


def test_rows_merge_by_prompt_and_response_with_their_signs_apart():
    steps = StepTable(
        task_id=["t"] * 5, trajectory_id=list(range(5)), step_index=[0] * 5, state_key=["s"] * 5, reward=[0.0] * 5,
        prompt_tokens=[(1, 2), (1, 2), (1, 2), (1,), (1, 2)],
        response_tokens=[(3,), (3,), (4,), (2, 3), (3,)],
        response_logprobs=[(-1.0,), (-1.0,), (-1.0,), (-1.0, -1.0), (-1.0,)],
    )  # fmt: skip
    batch = merge_rows(steps, np.array([1.0, -0.5, 0.0, 2.0, 0.25]))
    # (1 2 → 3): +1 and +0.25 on one side, 0.5 on the other. (1 2 → 4) has no advantage. (1 → 2 3) is another
    # pair though its tokens in a row are those of (1 2 → 3). Six response tokens in all.
    assert batch.prompts == ((1, 2), (1,))
    assert [response.tolist() for response in batch.responses] == [[3], [2, 3]]
    assert (batch.positive.tolist(), batch.negative.tolist()) == ([1.25, 2.0], [0.5, 0.0])
    assert (batch.positive_rows.tolist(), batch.negative_rows.tolist()) == ([2, 1], [1, 0])
    assert (batch.count.tolist(), batch.total_tokens) == ([3, 1], 6)


@pytest.mark.parametrize(
    ("written", "action"),
    [
        ("<think>é <action>a</action></think> <action>go to bin</action>", "go to bin"),
        ("<action>é take é</action> .", "é take é"),
        ("<action>\n go to bin </action>", "go to bin"),
        ("go to bin", "go to bin<end>"),
        ("<think>hm</think> <action>go", "<think>hm</think> <action>go<end>"),
        ("<action></action>", ""),
    ],
)
def test_an_action_is_what_is_between_the_tags_or_else_all(written, action):
    # One token per byte, and two for é; the end token belongs to responses without tags.
    tokenizer = byte_tokenizer("<end>", eos_token="<end>")
    chat = ChatTokenizer(tokenizer, [tokenizer.eos_token_id])
    response = [*tokenizer.encode(written), tokenizer.eos_token_id]
    steps = StepTable(
        task_id=["t"] * 2, trajectory_id=[0, 1], step_index=[0] * 2, state_key=["s"] * 2, reward=[0.0] * 2,
        prompt_tokens=[(1,), (2,)], response_tokens=[response] * 2, response_logprobs=[[-1.0] * len(response)] * 2,
    )  # fmt: skip
    batch = with_actions(merge_rows(steps, np.array([1.0, -1.0])), chat)
    for marked in batch.action:
        assert tokenizer.decode(np.array(response)[marked]) == action


@given(
    st.text("<action/é go", max_size=12),
    st.text("go té", min_size=1, max_size=6).filter(str.strip),
    st.text("</ é", max_size=5),
)
def test_tokens_of_several_letters_belong_to_the_action_if_one_of_their_letters_does(before, words, after):
    # Letters and some pairs of letters are tokens here, so that a token may lie across the edge of the action.
    written = f"{before}<action>{words}</action>{after}"
    tokenizer = byte_tokenizer(">g", "> ", "o<", "go", "t<", "n>", " t")
    tokens = tokenizer.encode(written)
    span = action_span(written)
    assert span is not None and written[span] == words.strip()
    places = np.flatnonzero(ChatTokenizer(tokenizer, []).tokens_of(tokens, span))
    first, last = places[0], places[-1]
    assert len(places) == last - first + 1
    lengths = [len(tokenizer.decode(tokens[:count])) for count in range(len(tokens) + 1)]
    assert lengths[first] <= span.start < lengths[first + 1]
    assert lengths[last] <= span.stop <= lengths[last + 1]
    assert words.strip() in tokenizer.decode(tokens[first : last + 1])


@given(st.lists(st.integers(1, 20), max_size=30), st.integers(1, 60), st.integers(0, 40))
def test_batches_cover_all_rows_within_the_budget(lengths, budget, call_tokens):
    lengths = sorted(lengths)
    parts = list(split_by_length(lengths, budget, call_tokens))
    assert [row for part in parts for row in part] == list(range(len(lengths)))
    for part in parts:
        size, read = len(part) * lengths[part.stop - 1], sum(lengths[row] for row in part)
        assert len(part) == 1 or size <= budget
        assert size - read <= call_tokens


def test_a_batch_ends_where_padding_costs_more_than_a_call():
    # With 3 and 4 the padding is 1 token, with 5, too, 1 + 2 = 3; the row of 9 would add 3 · 4 = 12.
    assert list(split_by_length([3, 4, 5, 9], 1000, 14)) == [range(3), range(3, 4)]
    assert list(split_by_length([3, 4, 5, 9], 1000, 15)) == [range(4)]


def test_mini_batches_deal_every_pair_once():
    rng = np.random.default_rng(2)
    steps = table(rng)
    batch = merge_rows(steps, rng.normal(size=len(steps)))
    parts = mini_batches(batch, 3, np.random.default_rng(0))
    assert sum(map(len, parts)) == len(batch)
    assert sum(part.positive.sum() for part in parts) == pytest.approx(batch.positive.sum())
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("token_budget", [9, 10_000])
def test_micro_batches_cover_every_pair_within_the_budget(token_budget):
    rng = np.random.default_rng(2)
    steps = table(rng)
    batch = merge_rows(steps, rng.normal(size=len(steps)))
    model = policy()
    model.token_budget = token_budget
    parts = list(model.packed_batches(batch.prompts, batch.responses))
    assert sorted(i for packed in parts for i in packed.members) == list(range(len(batch)))
    for packed in parts:
        assert packed.padded <= token_budget or len(packed.members) == 1
    assert (len(parts) == 1) == (token_budget > 1000)


def test_thinning_keeps_the_mean_of_every_advantage():
    # Below 0.5 an advantage becomes ±0.5 with probability |A| / 0.5. Of 20,000 draws the mean's standard
    # error is at most 0.5 · ½ / √20,000 = 0.0018 (p = ½); the margin is five of them.
    advantages = np.array([0.1, -0.25, 0.0, 0.5, -2.0])
    rng = np.random.default_rng(0)
    draws = np.array([subsample(advantages, 0.5, rng) for _ in range(20_000)])
    assert set(np.unique(draws[:, :3])) == {-0.5, 0.0, 0.5}
    assert (draws[:, 3:] == advantages[3:]).all()
    assert draws.mean(axis=0) == pytest.approx(advantages, abs=0.009)


def test_no_thinning_leaves_all_as_it_was():
    advantages = np.array([0.1, -0.25, 0.0])
    assert subsample(advantages, 0.0, np.random.default_rng(0)).tolist() == advantages.tolist()
