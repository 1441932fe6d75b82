"""Ratio, clip and mask of the policy loss, by derivatives in closed form and by equivalences.

The policy has two tokens and one weight θ: π(1) = σ(θ), π(0) = 1 − σ(θ), wherever it is in a response. Of a
token y it has ∇ log π(y) = y − σ(θ).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hgpo.training.config import from_json, to_json
from hgpo.training.losses import LossSums, PolicyLoss

RATIOS: Any = ("token", "action", "sequence")
CLIPS: Any = ("ppo", "cispo", "sapo")
PAIRS = list(itertools.product(RATIOS, CLIPS))


def evaluated(loss, theta, response, positive=0.0, negative=0.0, old_theta=0.0, action=None):
    """Loss and derivative by θ of one response, in float64; the old policy has the weight `old_theta`."""
    weight = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([response])
    whole = torch.ones(tokens.shape, dtype=torch.bool)

    def logprobs(value):
        return torch.nn.functional.logsigmoid(torch.where(tokens == 1, value, -value))

    now = logprobs(weight)
    terms = loss(
        logprobs=now,
        old_logprobs=logprobs(torch.tensor(old_theta, dtype=torch.float64)),
        reference_logprobs=now.detach(),
        entropy=torch.zeros_like(now),
        positive=torch.tensor([positive]),
        negative=torch.tensor([negative]),
        positive_rows=torch.tensor([int(positive > 0)]),
        negative_rows=torch.tensor([int(negative > 0)]),
        mask=whole,
        action=whole if action is None else torch.tensor([action]),
    )
    terms.total.backward()
    assert weight.grad is not None
    return terms, weight.grad.item()


def of_advantage(advantage):
    return {"positive": max(advantage, 0.0), "negative": max(-advantage, 0.0)}


# σ(ln 3) = ¾ and σ(0) = ½, so that ρ is 1.5 of token 1 and 0.5 of token 0, with ∇ log π = ¼ and −¾.
# The response is 1 0 1; its last two tokens are the action.
THETA, RESPONSE, ACTION = math.log(3), [1, 0, 1], [False, True, True]
PARTS = {
    # ratio of each part, and the sum of its tokens' ∇ log π
    "token": [(1.5, 1 / 4), (0.5, -3 / 4), (1.5, 1 / 4)],
    "action": [(1.5, 1 / 4), (math.sqrt(0.5 * 1.5), -3 / 4 + 1 / 4)],
    "sequence": [((1.5 * 0.5 * 1.5) ** (1 / 3), 1 / 4 - 3 / 4 + 1 / 4)],
}
LOW, HIGH, DUAL, GATE = 0.2, 0.3, 1.4, {1: 1.0, -1: 2.0}


def weight_of(clip, ratio, sign):
    """What ∇ log π of a token is multiplied by, per unit of |A|: the derivative of the clip's function by log ρ."""
    if clip == "ppo":
        inside = ratio <= 1 + HIGH if sign > 0 else 1 - LOW <= ratio <= DUAL
        return ratio * inside
    if clip == "cispo":
        return min(max(ratio, 1 - LOW), 1 + HIGH)
    gate = 1 / (1 + math.exp(-GATE[sign] * (ratio - 1)))
    return 4 * gate * (1 - gate) * ratio


@pytest.mark.parametrize("advantage", [2.0, -2.0])
@pytest.mark.parametrize(("ratio", "clip"), PAIRS)
def test_the_derivative_in_closed_form(ratio, clip, advantage):
    loss = PolicyLoss(
        ratio=ratio, clip=clip, clip_low=LOW, clip_high=HIGH, dual_clip=DUAL, gate_negative=GATE[-1]
    )
    _, derivative = evaluated(loss, THETA, RESPONSE, **of_advantage(advantage), action=ACTION)
    sign = 1 if advantage > 0 else -1
    expected = sum(-advantage * weight_of(clip, rho, sign) * slope for rho, slope in PARTS[ratio])
    assert derivative == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("ratio", "clip", "advantage", "expected"),
    [
        # Both tokens 1 are beyond 1.3; token 0 has −2 · 0.5 · (−¾).
        ("token", "ppo", 2.0, 0.75),
        # Tokens 1 are beyond c = 1.4, token 0 below 0.8: nothing is left.
        ("token", "ppo", -2.0, 0.0),
        # Weights 1.3, 0.8, 1.3: −2 (1.3/4 − 0.8 · ¾ + 1.3/4).
        ("token", "cispo", 2.0, -0.1),
        # One ratio, 1.125^⅓, for −2 (¼ − ¾ + ¼).
        ("sequence", "ppo", 2.0, 0.5 * 1.125 ** (1 / 3)),
    ],
)
def test_some_of_them_by_hand(ratio, clip, advantage, expected):
    loss = PolicyLoss(ratio=ratio, clip=clip, clip_low=LOW, clip_high=HIGH, dual_clip=DUAL)
    _, derivative = evaluated(loss, THETA, RESPONSE, **of_advantage(advantage), action=ACTION)
    assert derivative == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("clip", CLIPS)
@given(st.floats(-3, 3), st.sampled_from([0, 1]), st.sampled_from([1.5, -1.5]))
def test_of_a_response_of_one_token_all_ratios_are_the_same(clip, theta, token, advantage):
    found = [
        evaluated(PolicyLoss(ratio=ratio, clip=clip), theta, [token], **of_advantage(advantage))
        for ratio in RATIOS
    ]
    assert len({(terms.total.item(), derivative) for terms, derivative in found}) == 1


@given(
    st.sampled_from(PAIRS),
    st.floats(-3, 3),
    st.lists(st.sampled_from([0, 1]), min_size=1, max_size=6),
    st.sampled_from([2.0, -0.5]),
    st.data(),
)
def test_at_ratio_1_every_loss_has_the_plain_policy_gradient(pair, theta, response, advantage, data):
    # ρ = 1 is inside every range, and the gate's derivative there is 1: −A Σ_t ∇ log π(y_t).
    action = data.draw(st.lists(st.booleans(), min_size=len(response), max_size=len(response)))
    loss = PolicyLoss(ratio=pair[0], clip=pair[1])
    _, derivative = evaluated(
        loss, theta, response, **of_advantage(advantage), old_theta=theta, action=action
    )
    slope = sum(token - 1 / (1 + math.exp(-theta)) for token in response)
    assert derivative == pytest.approx(-advantage * slope, abs=1e-9)


@given(
    st.sampled_from(PAIRS),
    st.sampled_from([0.0, 0.9]),
    st.floats(-1, 1),
    st.lists(st.sampled_from([0, 1]), min_size=1, max_size=5),
    st.floats(0.1, 3),
    st.floats(0.1, 3),
)
def test_the_loss_is_linear_in_the_advantage_of_each_sign(pair, mask, theta, response, positive, negative):
    loss = PolicyLoss(ratio=pair[0], clip=pair[1], mask_below=mask)
    both, up, down = (
        evaluated(loss, theta, response, positive=p, negative=n)
        for p, n in ((positive, negative), (1.0, 0.0), (0.0, 1.0))
    )
    assert both[1] == pytest.approx(positive * up[1] + negative * down[1], abs=1e-6)
    total = positive * up[0].total.item() + negative * down[0].total.item()
    assert both[0].total.item() == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("clip", CLIPS)
def test_without_tags_the_action_is_the_sequence(clip):
    for advantage in (1.0, -1.0):
        action, sequence = (
            evaluated(PolicyLoss(ratio=ratio, clip=clip), THETA, RESPONSE, **of_advantage(advantage))
            for ratio in ("action", "sequence")
        )
        assert action[1] == sequence[1]


@pytest.mark.parametrize("ratio", RATIOS)
def test_where_nothing_is_clipped_cispo_has_ppos_gradient(ratio):
    # ∇ ρ = ρ ∇ log ρ, and CISPO's weight of ∇ log ρ is ρ as well.
    for advantage in (1.0, -1.0):
        ppo, cispo = (
            evaluated(PolicyLoss(ratio=ratio, clip=clip, clip_low=0.9, clip_high=0.9), THETA, RESPONSE,
                      **of_advantage(advantage), action=ACTION)
            for clip in ("ppo", "cispo")
        )  # fmt: skip
        assert cispo[1] == pytest.approx(ppo[1], abs=1e-12)


def test_a_gate_of_temperature_0_is_no_gate():
    # (4 / τ) σ(τ (ρ − 1)) = 2 / τ + (ρ − 1) + O(τ²).
    gated = PolicyLoss(clip="sapo", gate_positive=1e-4, gate_negative=1e-4)
    free = PolicyLoss(clip_low=0.9, clip_high=0.9)
    for advantage in (1.0, -1.0):
        one, other = (evaluated(loss, THETA, RESPONSE, **of_advantage(advantage)) for loss in (gated, free))
        assert one[1] == pytest.approx(other[1], abs=1e-7)


@pytest.mark.parametrize(("ratio", "clip"), PAIRS)
def test_the_mask_takes_rows_of_negative_advantage_and_low_ratio_alone(ratio, clip):
    # Response 0 0 1: ρ = (0.5 · 0.5 · 1.5)^⅓ = 0.375^⅓ = 0.7211. Response 1 0 1 has 1.125^⅓ > 1.
    low, high = [0, 0, 1], [1, 0, 1]
    for threshold, masked in ((0.72, False), (0.722, True)):
        loss = PolicyLoss(ratio=ratio, clip=clip, mask_below=threshold, clip_low=0.9)
        terms, derivative = evaluated(loss, THETA, low, negative=1.0, action=ACTION)
        assert (derivative == 0) == masked and terms.sums.masked_rows.item() == masked
        plain = PolicyLoss(ratio=ratio, clip=clip, clip_low=0.9)
        for response, signs in ((low, {"positive": 1.0}), (high, {"negative": 1.0})):
            kept, derivative = evaluated(loss, THETA, response, **signs, action=ACTION)
            assert derivative == evaluated(plain, THETA, response, **signs, action=ACTION)[1] != 0
            assert kept.sums.masked_rows.item() == 0


def test_a_masked_row_keeps_its_divergence_and_entropy():
    # ρ = ½ is masked; k3 with π_ref / π = 2 is 2 − ln 2 − 1; β = 0.1, η = 0.5, H = 0.7.
    ones = torch.ones(1, 1, dtype=torch.bool)
    terms = PolicyLoss(mask_below=0.9, kl_coefficient=0.1, entropy_coefficient=0.5)(
        logprobs=torch.tensor([[math.log(0.5)]]),
        old_logprobs=torch.zeros(1, 1),
        reference_logprobs=torch.zeros(1, 1),
        entropy=torch.tensor([[0.7]]),
        positive=torch.zeros(1),
        negative=torch.ones(1),
        positive_rows=torch.zeros(1),
        negative_rows=torch.ones(1),
        mask=ones,
        action=ones,
    )
    assert terms.total.item() == pytest.approx(0.1 * (1 - math.log(2)) - 0.5 * 0.7)


@pytest.mark.parametrize(
    ("ratio", "clip", "positive", "negative"),
    [
        # Tokens of ratio 1.5, 0.5, 1.5 for an update by PPO: two beyond 1.3; one below 0.8, two beyond c = 1.4.
        ("token", "ppo", 2, 3),
        ("token", "cispo", 3, 3),
        ("token", "sapo", 0, 0),
        # 1.125^⅓ = 1.04 for all three; 1.5 for one and √0.75 = 0.87 for the two of the action.
        ("sequence", "ppo", 0, 0),
        ("action", "ppo", 1, 1),
    ],
)
def test_clipped_tokens_are_counted_by_the_sign_of_the_advantage(ratio, clip, positive, negative):
    loss = PolicyLoss(ratio=ratio, clip=clip, clip_low=LOW, clip_high=HIGH, dual_clip=DUAL)
    terms, _ = evaluated(loss, THETA, RESPONSE, positive=1.0, negative=2.0, action=ACTION)
    means = terms.sums.means()
    assert means["clip_fraction_positive"] == pytest.approx(positive / 3)
    assert means["clip_fraction_negative"] == pytest.approx(negative / 3)
    assert means["clip_fraction"] == pytest.approx((positive + negative) / 6)
    mean_ratio = {"token": 3.5 / 3, "sequence": 1.125 ** (1 / 3), "action": (1.5 + 2 * math.sqrt(0.75)) / 3}
    assert means["ratio_positive"] == means["ratio_negative"] == pytest.approx(mean_ratio[ratio])


def test_ratios_are_told_apart_by_the_sign_of_the_advantage():
    up, down = (evaluated(PolicyLoss(), THETA, [token], **signs)[0].sums.means()
                for token, signs in ((1, {"positive": 1.0}), (0, {"negative": 1.0})))  # fmt: skip
    assert (up["ratio_positive"], up["ratio_negative"]) == (pytest.approx(1.5), 1.0)
    assert (down["ratio_positive"], down["ratio_negative"]) == (1.0, pytest.approx(0.5))


@pytest.mark.parametrize(("ratio", "clip"), PAIRS)
@pytest.mark.parametrize("log_ratio", [-200.0, 200.0])
def test_a_ratio_out_of_all_bounds_keeps_loss_and_gradient_finite(ratio, clip, log_ratio):
    logprobs = torch.full((1, 2), log_ratio, requires_grad=True)
    zeros, ones = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    terms = PolicyLoss(ratio=ratio, clip=clip)(
        *(logprobs, zeros, zeros, zeros, torch.ones(1), torch.ones(1), torch.ones(1), torch.ones(1)),
        *(ones, ones),
    )
    terms.total.backward()
    assert logprobs.grad is not None
    assert terms.total.isfinite() and logprobs.grad.isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ratio": "row"}, "ratio is 'row': expected one of token, action, sequence"),
        ({"clip": "none"}, "clip is 'none': expected one of ppo, cispo, sapo"),
        ({"average": "mean"}, "average is 'mean': expected one of tokens, rows, constant"),
        ({"clip_low": 0.0}, "0 < clip_low <= 1"),
        ({"dual_clip": 1.0}, "dual_clip > 1"),
        ({"gate_positive": 0.0}, "expected two numbers above 0"),
        ({"mask_below": 1.0}, "at least 0 and below 1"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        PolicyLoss(**wrong)


def test_the_loss_of_a_saved_run_without_these_settings_is_what_it_was():
    saved = {
        "type": "PolicyLoss", "clip_low": 0.1, "clip_high": 0.28, "dual_clip": 2.0, "kl_coefficient": 0.02,
        "entropy_coefficient": 0.03, "average": "rows",
    }  # fmt: skip
    loss = from_json(saved)
    assert loss == PolicyLoss("token", "ppo", 0.1, 0.28, 2.0, mask_below=0.0, kl_coefficient=0.02,
                              entropy_coefficient=0.03, average="rows")  # fmt: skip
    assert from_json(to_json(loss)) == loss


def test_sums_add_up_as_vectors():
    loss = PolicyLoss(mask_below=0.9)
    parts = [evaluated(loss, THETA, [token], negative=1.0)[0].sums for token in (0, 1, 1)]
    together = LossSums.of(torch.stack([part.vector() for part in parts]).sum(dim=0))
    # Token 0 has ratio ½ and is masked, the two tokens 1 have 1.5.
    assert together.means()["masked_fraction"] == pytest.approx(1 / 3)
    assert together.means()["ratio_negative"] == pytest.approx(3.5 / 3)
    assert together.logprob_mismatch == pytest.approx((math.log(2) + 2 * math.log(1.5)) / 3)
    assert np.isfinite(list(together.means().values())).all()
