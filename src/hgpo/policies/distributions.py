"""Token distributions from a model's outputs: sampling from them, and scoring sampled tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

NUMBERS_AT_ONCE = 2**27
"""Largest number of float32 values that distributions take at a time; this is half a gigabyte."""


def log_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities, float32; for temperature 0, which takes the mode, those of temperature 1."""
    return torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)


def sample(distribution: Tensor, uniforms: Tensor, *, greedy: bool) -> Tensor:
    """The token of each row: the mode, or the first with a cumulative probability above the uniform.

    Args:
        distribution: log-probabilities, [rows, vocabulary].
        uniforms: in [0, 1), float64 [rows].
        greedy: whether to take the mode.
    """
    if greedy:
        return distribution.argmax(dim=-1)
    cumulative = distribution.double().exp().cumsum(dim=-1)
    # The uniforms are scaled by the last entry: rounding can leave it below 1, and below a uniform near 1.
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0].clamp(max=distribution.shape[1] - 1)


def logprobs_and_entropy(
    logits: Tensor, outputs: Tensor, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability of each token, and the entropy in nats of the distribution it was drawn from; float32.

    For a large vocabulary, distributions are computed in parts, and computed again for the gradient.

    Args:
        logits: the model's outputs, [outputs, vocabulary].
        outputs: index of each token's output, [tokens].
        targets: the tokens, [tokens].
        temperature: temperature of the softmax.
    """

    def score(logits: Tensor, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        distribution = log_softmax(logits, temperature)
        entropy = -(distribution.exp() * distribution).sum(-1)
        return distribution[outputs, targets], entropy[outputs]

    at_once = max(1, NUMBERS_AT_ONCE // logits.shape[1])
    if len(logits) <= at_once:
        return score(logits, outputs, targets)
    logprobs = torch.zeros(len(targets), device=logits.device)
    entropy = torch.zeros(len(targets), device=logits.device)
    for start in range(0, len(logits), at_once):
        tokens = torch.nonzero((outputs >= start) & (outputs < start + at_once))[:, 0]
        own = outputs[tokens] - start
        found = checkpoint(score, logits[start : start + at_once], own, targets[tokens], use_reentrant=False)
        logprobs = logprobs.index_copy(0, tokens, found[0])
        entropy = entropy.index_copy(0, tokens, found[1])
    return logprobs, entropy


def restricted_logprobs_and_entropy(
    logits: Tensor, outputs: Tensor, targets: Tensor, allowed: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The same for tokens that were drawn from some tokens only, renormalized (see `hgpo.policies.choices`).

    Args:
        logits: the model's outputs, [outputs, vocabulary].
        outputs: index of each token's output, [tokens].
        targets: the tokens, each one of those allowed, [tokens].
        allowed: the allowed tokens, filled up with −1, [tokens, most allowed].
        temperature: temperature of the softmax.
    """
    absent = allowed < 0
    chosen = logits[outputs[:, None], allowed.clamp(min=0)].float().masked_fill(absent, -torch.inf)
    # The filler's log-probability is −∞; 0 in its place adds nothing to a sum, and has a gradient.
    distribution = log_softmax(chosen, temperature).masked_fill(absent, 0.0)
    probabilities = distribution.exp().masked_fill(absent, 0.0)
    drawn = distribution.masked_fill(allowed != targets[:, None], 0.0).sum(-1)
    return drawn, -(probabilities * distribution).sum(-1)
