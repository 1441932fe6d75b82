"""Random rows for the policy loss, and our gradient on them, to be compared with that of other libraries."""

from __future__ import annotations

import torch

from hgpo.training.losses import PolicyLoss

ROWS, TOKENS = 12, 6


def random_rows(seed: int, spread: float) -> dict[str, torch.Tensor]:
    """Responses of one to six tokens with advantages of both signs; log-ratios are normal with this deviation."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, TOKENS + 1, (ROWS, 1), generator=draw)
    old = -torch.rand(ROWS, TOKENS, generator=draw) - 0.1
    return {
        "logprobs": old + spread * torch.randn(ROWS, TOKENS, generator=draw),
        "old": old,
        "advantage": torch.randn(ROWS, generator=draw),
        "mask": torch.arange(TOKENS) < lengths,
    }


def our_gradient(loss: PolicyLoss, rows: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
    """The gradient by the log-probabilities, and the loss's metrics."""
    logprobs, mask, advantage = rows["logprobs"].clone().requires_grad_(), rows["mask"], rows["advantage"]
    terms = loss(
        logprobs=logprobs,
        old_logprobs=rows["old"],
        reference_logprobs=rows["old"],
        entropy=torch.zeros(mask.shape),
        positive=advantage.clamp(min=0),
        negative=(-advantage).clamp(min=0),
        positive_rows=(advantage > 0).int(),
        negative_rows=(advantage < 0).int(),
        mask=mask,
        action=mask,
    )
    denominator = loss.denominator(tokens=int(mask.sum()), rows=ROWS, max_response_tokens=TOKENS)
    (terms.total / denominator).backward()
    assert logprobs.grad is not None
    return logprobs.grad, terms.sums.means()
