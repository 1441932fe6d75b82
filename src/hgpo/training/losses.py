"""The policy loss: ratios, clip, mask, KL divergence from a reference policy, and entropy bonus."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

RatioName = Literal["token", "action", "sequence"]
"""Which tokens of a response share a probability ratio."""
ClipName = Literal["ppo", "cispo", "sapo"]
"""How the effect of a ratio far from 1 is limited."""
LossAverage = Literal["tokens", "rows", "constant"]
"""The denominator of an update's summed loss."""


@dataclass(frozen=True)
class PolicyLoss:
    """Surrogate loss, KL divergence from the reference (k3) and entropy, summed over response tokens.

    A row is a step: one prompt and one response. With ρ the probability ratio of a token, π / π_old, and A
    the advantage of its row:

        A > 0:  −A gain(ρ)
        A < 0:  |A| harm(ρ), or 0 if the row is masked
        both:   + β (π_ref/π − log(π_ref/π) − 1) − η H(π)

    `ratio` says which tokens share a ratio. gain and harm are those of `clip`; by default PPO's:
    gain(ρ) = min(ρ, 1 + ε_high), harm(ρ) = min(max(ρ, 1 − ε_low), c). A row with A = 0 is left out of the
    update, including its divergence and entropy. Sources: `hgpo.training.surrogates`; k3 as in GRPO,
    arXiv 2402.03300 (eq. 4).
    """

    ratio: RatioName = "token"
    """"token": each token has its own ratio (PPO, GRPO). "sequence": all tokens of a response share the
    geometric mean of their ratios (GSPO). "action": the tokens between the action tags share one ratio, and
    the other tokens of the response share another; without tags the whole response is the action (GAGPO)."""
    clip: ClipName = "ppo"
    """"ppo": a token whose ratio is beyond the bounds has no gradient. "cispo": the clipped ratio weights the
    gradient of each token. "sapo": a smooth gate without bounds."""
    clip_low: float = 0.2
    """ε_low of ppo and cispo: how far the ratio may fall below 1; with 1 there is no lower bound."""
    clip_high: float = 0.2
    """ε_high of ppo and cispo: how far the ratio may rise above 1."""
    dual_clip: float = 3.0
    """c of ppo: the ratio at which the loss of a row with negative advantage stops growing; above 1."""
    gate_positive: float = 1.0
    """τ of sapo for positive advantages: with larger τ the gradient falls off faster as the ratio leaves
    1."""
    gate_negative: float = 1.05
    """τ of sapo for negative advantages."""
    mask_below: float = 0.0
    """A row with negative advantage whose geometric mean ratio is below this is masked: only its KL and
    entropy terms count. 0 masks no row; 0.997 was published for agents."""
    kl_coefficient: float = 0.01
    """β: weight of the divergence from the reference policy."""
    entropy_coefficient: float = 0.0
    """η: weight of the entropy bonus; 0 in the published settings."""
    average: LossAverage = "tokens"
    """"tokens": the mean over all response tokens of the update, so that longer responses weigh more (DAPO's
    token-level loss). "rows": the mean over responses of each response's mean (GRPO as published).
    "constant": the sum over tokens, divided by responses times the longest allowed response (Dr. GRPO)."""

    def __post_init__(self) -> None:
        for name, known in (("ratio", RatioName), ("clip", ClipName), ("average", LossAverage)):
            value = getattr(self, name)
            if value not in get_args(known):
                raise ValueError(f"{name} is {value!r}: expected one of {', '.join(get_args(known))}")
        if not (0 < self.clip_low <= 1 and self.clip_high > 0 and self.dual_clip > 1):
            raise ValueError(
                f"clip_low {self.clip_low}, clip_high {self.clip_high}, dual_clip {self.dual_clip}: expected "
                "0 < clip_low <= 1, clip_high > 0 and dual_clip > 1"
            )
        if not (self.gate_positive > 0 and self.gate_negative > 0):
            raise ValueError(
                f"gate_positive {self.gate_positive}, gate_negative {self.gate_negative}: expected two "
                "numbers above 0"
            )
        if not 0 <= self.mask_below < 1:
            raise ValueError(f"mask_below is {self.mask_below}: expected a ratio of at least 0 and below 1")
        if self.kl_coefficient < 0 or self.entropy_coefficient < 0:
            raise ValueError("kl_coefficient and entropy_coefficient must be at least 0")

    def denominator(self, *, tokens: int, rows: int, max_response_tokens: int) -> float:
        """The number by which the summed loss of a whole update is divided.

        Args:
            tokens: number of response tokens in all rows.
            rows: number of rows.
            max_response_tokens: largest number of tokens in a response.
        """
        return {"tokens": tokens, "rows": rows, "constant": rows * max_response_tokens}[self.average]

    def __call__(
        self,
        logprobs: Tensor,
        old_logprobs: Tensor,
        reference_logprobs: Tensor,
        entropy: Tensor,
        positive: Tensor,
        negative: Tensor,
        positive_rows: Tensor,
        negative_rows: Tensor,
        mask: Tensor,
        action: Tensor,
    ) -> LossTerms:
        """The loss, and the sums from which its metrics are computed.

        Args:
            logprobs, old_logprobs, reference_logprobs: log-probability of each token, [pairs, tokens].
            entropy: entropy of the distribution that each token was drawn from, in nats, [pairs, tokens].
            positive, negative: Σ max(A, 0) and Σ max(−A, 0) over the rows of each pair, [pairs].
            positive_rows, negative_rows: how many rows of each pair have A > 0 and A < 0, [pairs].
            mask: True where there is a response token, [pairs, tokens].
            action: True where a response token belongs to the action, [pairs, tokens].
        """
        # Reading and printing settings must not need torch.
        import torch

        from hgpo.training.surrogates import CLIPS, mean_within, probability_ratio

        log_ratio = torch.where(mask, logprobs - old_logprobs, 0.0)
        ratio = probability_ratio(self.ratio, log_ratio, mask, action)
        surrogate = CLIPS[self.clip](self, ratio)
        masked = mean_within(log_ratio.detach(), mask).squeeze(1).exp() < self.mask_below
        policy = (negative * ~masked)[:, None] * surrogate.harm - positive[:, None] * surrogate.gain
        # Ratios beyond e^20 carry no information; the bound keeps the estimate finite.
        reference_log_ratio = torch.where(mask, reference_logprobs - logprobs, 0.0).clamp(-20, 20)
        divergence = reference_log_ratio.exp() - reference_log_ratio - 1
        positive_tokens, negative_tokens = positive_rows[:, None] * mask, negative_rows[:, None] * mask
        weight = positive_tokens + negative_tokens
        # With an average over rows, each token is weighted by 1 / (length of its response).
        share = mask / mask.sum(dim=1, keepdim=True) if self.average == "rows" else mask.float()
        kl, bonus = (divergence * weight * share).sum(), (entropy * weight * share).sum()
        return LossTerms(
            total=(policy * share).sum() + self.kl_coefficient * kl - self.entropy_coefficient * bonus,
            sums=LossSums(
                kl=(divergence * weight).sum(),
                entropy=(entropy * weight).sum(),
                moved=(log_ratio.abs() * weight).sum(),
                positive_tokens=positive_tokens.sum(),
                negative_tokens=negative_tokens.sum(),
                positive_ratios=(ratio * positive_tokens).sum(),
                negative_ratios=(ratio * negative_tokens).sum(),
                positive_clipped=(surrogate.gain_clipped * positive_tokens).sum(),
                negative_clipped=(surrogate.harm_clipped * negative_tokens).sum(),
                rows=(positive_rows + negative_rows).sum(),
                masked_rows=(masked * negative_rows).sum(),
            ),
        )


@dataclass(frozen=True)
class LossTerms:
    """The loss of a batch, before the division by the update's denominator, and the sums for its metrics."""

    total: Tensor
    """The quantity that is minimised."""
    sums: LossSums
    """The sums from which the update's metrics are computed."""


@dataclass(frozen=True)
class LossSums:
    """Sums over the rows of a batch, and over the response tokens of these rows."""

    kl: Tensor
    """The k3 estimate of KL(π ‖ π_ref)."""
    entropy: Tensor
    """Entropy in nats."""
    moved: Tensor
    """Absolute differences between the log-probabilities and the old ones."""
    positive_tokens: Tensor
    """Number of tokens in rows with positive advantage."""
    negative_tokens: Tensor
    """Number of tokens in rows with negative advantage."""
    positive_ratios: Tensor
    """Ratios of the tokens of rows with positive advantage."""
    negative_ratios: Tensor
    """Ratios of the tokens of rows with negative advantage."""
    positive_clipped: Tensor
    """Number of tokens in rows with positive advantage where the clip changes the gradient."""
    negative_clipped: Tensor
    """Number of tokens in rows with negative advantage where the clip changes the gradient."""
    rows: Tensor
    """Number of rows."""
    masked_rows: Tensor
    """Number of rows that are masked."""

    def vector(self) -> Tensor:
        """The sums in the order of the fields, without gradients, as a float64 vector on the CPU."""
        import torch

        return torch.stack([getattr(self, each.name) for each in fields(self)]).detach().double().cpu()

    @classmethod
    def of(cls, vector: Tensor) -> LossSums:
        """The sums in a vector made by `vector`."""
        return cls(*vector)

    def means(self) -> dict[str, float]:
        """The metrics by name, means over tokens or rows; without tokens, ratios are 1 and the others 0."""
        tokens = self.positive_tokens + self.negative_tokens
        clipped = self.positive_clipped + self.negative_clipped
        return {
            "kl": _mean(self.kl, tokens),
            "entropy": _mean(self.entropy, tokens),
            "clip_fraction": _mean(clipped, tokens),
            "clip_fraction_positive": _mean(self.positive_clipped, self.positive_tokens),
            "clip_fraction_negative": _mean(self.negative_clipped, self.negative_tokens),
            "ratio_positive": _mean(self.positive_ratios, self.positive_tokens, of_none=1.0),
            "ratio_negative": _mean(self.negative_ratios, self.negative_tokens, of_none=1.0),
            "masked_fraction": _mean(self.masked_rows, self.rows),
        }

    @property
    def logprob_mismatch(self) -> float:
        """Mean absolute difference between the log-probabilities and the old ones."""
        return _mean(self.moved, self.positive_tokens + self.negative_tokens)


def _mean(total: Tensor, count: Tensor, of_none: float = 0.0) -> float:
    return (total / count).item() if count > 0 else of_none
