"""Probability ratios and how they enter the policy loss: tables with the functions for each setting.

The loss of a token is linear in its row's advantage A for each sign, so that rows with the same prompt and
response add up exactly:

    A > 0:  −A gain(ρ)          A < 0:  |A| harm(ρ)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor

from hgpo.training.losses import ClipName, RatioName

if TYPE_CHECKING:
    from hgpo.training.losses import PolicyLoss

LARGEST_LOG_RATIO = 20.0
"""Limit of the log-ratio, so that the ratio stays finite; beyond e^20 it carries no information."""

RATIOS: dict[RatioName, Callable[[Tensor, Tensor], tuple[Tensor, ...]]] = {
    "token": lambda mask, action: (),
    "action": lambda mask, action: (mask & action, mask & ~action),
    "sequence": lambda mask, action: (mask,),
}
"""For each setting, the parts of a response whose tokens share a ratio, from the token mask and the mask of
the action's tokens."""


def mean_within(log_ratio: Tensor, part: Tensor) -> Tensor:
    """The mean over one part of each response, [pairs, 1]; 0 for a response without that part."""
    return (log_ratio * part).sum(dim=1, keepdim=True) / part.sum(dim=1, keepdim=True).clamp(min=1)


def probability_ratio(name: RatioName, log_ratio: Tensor, mask: Tensor, action: Tensor) -> Tensor:
    """The ratio ρ of each token, [pairs, tokens]: the geometric mean of the ratios in the token's part.

        ρ = exp((1/n) Σ_{t in part} log π(t) − log π_old(t)),  n: tokens of the part

    Each of the n tokens has this ratio, whose derivative with respect to one token's log π is ρ / n. The sum
    of these derivatives over the part's n tokens is therefore ρ, as if each token had its own ratio.

    Args:
        name: which tokens share their ratio.
        log_ratio: log π − log π_old, 0 where there is no token, [pairs, tokens].
        mask: True where there is a token, [pairs, tokens].
        action: True where a token belongs to the action, [pairs, tokens].
    """
    for part in RATIOS[name](mask, action):
        log_ratio = torch.where(part, mean_within(log_ratio, part), log_ratio)
    return log_ratio.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()


@dataclass(frozen=True)
class Surrogate:
    """What a token adds to the objective per unit of advantage, each [pairs, tokens]."""

    gain: Tensor
    """The term for a positive advantage."""
    harm: Tensor
    """The term for a negative advantage, which is subtracted."""
    gain_clipped: Tensor
    """Where the clip changes the gain's gradient."""
    harm_clipped: Tensor
    """Where the clip changes the harm's gradient."""


def ppo_clip(loss: PolicyLoss, ratio: Tensor) -> Surrogate:
    """PPO's clip with separate bounds (clip-higher) and the dual clip; beyond a bound there is no gradient.

        gain = min(ρ, 1 + ε_high)          harm = min(max(ρ, 1 − ε_low), c)

    Sources: arXiv 1707.06347 (eq. 7), 2503.14476 (clip-higher), 1912.09729 (eq. 5, dual clip).
    """
    lowest, highest = 1 - loss.clip_low, 1 + loss.clip_high
    return Surrogate(
        gain=ratio.clamp(max=highest),
        harm=ratio.clamp(min=lowest, max=loss.dual_clip),
        gain_clipped=ratio > highest,
        harm_clipped=(ratio < lowest) | (ratio > loss.dual_clip),
    )


def clipped_weight(loss: PolicyLoss, ratio: Tensor) -> Surrogate:
    """CISPO: the clipped ratio weights the gradient of log π, and every token keeps its gradient.

        gain = harm = sg(w) ρ / sg(ρ),  w = clip(ρ, 1 − ε_low, 1 + ε_high),  sg: stop-gradient

    As ∇ρ / ρ = ∇ log π, the gradient is that of sg(w) log π. Source: arXiv 2506.13585 (eq. 4 and 5).
    """
    constant = ratio.detach()
    weight = constant.clamp(1 - loss.clip_low, 1 + loss.clip_high)
    weighted, clipped = weight * (ratio / constant), weight != constant
    return Surrogate(weighted, weighted, clipped, clipped)


def soft_gate(loss: PolicyLoss, ratio: Tensor) -> Surrogate:
    """SAPO: a sigmoid of the ratio with derivative 1 at ρ = 1, which falls smoothly on both sides.

        gain = (4 / τ_positive) σ(τ_positive (ρ − 1)),  harm the same with τ_negative

    Nothing is clipped. Source: arXiv 2511.20347 (eq. 6).
    """
    never = torch.zeros_like(ratio, dtype=torch.bool)
    gain, harm = (
        torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature
        for temperature in (loss.gate_positive, loss.gate_negative)
    )
    return Surrogate(gain, harm, never, never)


CLIPS: dict[ClipName, Callable[[PolicyLoss, Tensor], Surrogate]] = {
    "ppo": ppo_clip,
    "cispo": clipped_weight,
    "sapo": soft_gate,
}
"""The surrogate for each value of `PolicyLoss.clip`."""

assert set(RATIOS) == set(get_args(RatioName)) and set(CLIPS) == set(get_args(ClipName))
