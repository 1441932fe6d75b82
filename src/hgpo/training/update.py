"""One update of the policy: from merged rows to optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hgpo.distributed import Alone, Crew, add_up_gradients, share
from hgpo.policies.gradients import add_gradients
from hgpo.policies.reference import Reference
from hgpo.policies.transformers import Reading, TransformersPolicy
from hgpo.training.batch import UpdateBatch, mini_batches
from hgpo.training.losses import LossTerms, PolicyLoss


@dataclass(frozen=True)
class UpdateMetrics:
    """Means over the response tokens of the rows in the update, by the policy as it was at each step."""

    kl: float
    """k3 estimate of KL(π ‖ π_ref)."""
    entropy: float
    """Entropy of the token distributions, in nats."""
    clip_share: float
    """Share of tokens whose gradient the clip stops."""
    gradient_norm: float
    """Norm of the gradient before it is clipped, mean over the optimizer steps that were taken."""
    sampler_difference: float = 0.0
    """Mean magnitude of the difference between the policy's log-probabilities before its first step and those
    it is compared with: what sampling and learning compute differently."""
    optimizer_steps_taken: int = 0
    """Optimizer steps that changed the weights."""
    skipped_steps: int = 0
    """Optimizer steps that were not taken, as loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    """How many of these were the last ones, all optimizer steps of earlier updates before them included."""


def update_policy(
    policy: TransformersPolicy,
    reference: Reference,
    optimizer: torch.optim.Optimizer,
    loss: PolicyLoss,
    batch: UpdateBatch,
    *,
    passes: int,
    optimizer_steps: int,
    temperature: float,
    max_response_tokens: int,
    max_gradient_norm: float,
    rng: np.random.Generator,
    skipped_in_a_row: int = 0,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
    crew: Crew | None = None,
) -> UpdateMetrics:
    """Pass over the batch, each time in `optimizer_steps` mini-batches.

    The loss of a mini-batch is its sum over tokens divided by (the loss's denominator of all rows of the
    iteration / mini-batches): the same however mini-batches are cut into micro-batches and however many rows
    were merged or left out.

    Args:
        policy: changed in place.
        reference: frozen; the divergence is measured from it.
        optimizer: of the policy's parameters.
        loss: the objective.
        batch: merged rows.
        passes: times that each pair is used.
        optimizer_steps: mini-batches of a pass.
        temperature: that the responses were sampled with.
        max_response_tokens: the most tokens that a response may have.
        max_gradient_norm: the gradient is scaled down to this norm.
        rng: deals the pairs to the mini-batches.
        skipped_in_a_row: how many optimizer steps before this update were skipped, without one in between.
        on_rows: told after every micro-batch how many pairs are done, and of how many.
        crew: the processes that share the micro-batches. The denominator is the whole update's, so that the
            gradient is the sum of theirs.
    """
    crew = crew or Alone()
    if not len(batch):
        return UpdateMetrics(0.0, 0.0, 0.0, 0.0, skipped_in_a_row=skipped_in_a_row)
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    sums = torch.zeros(5, dtype=torch.float64)
    norms, done, skipped = [], 0, 0
    sampler_difference: float | None = None
    denominator_of_all = loss.denominator(
        tokens=batch.total_tokens, rows=batch.total_rows, max_response_tokens=max_response_tokens
    )
    for part, parts in _parts(batch, passes, optimizer_steps, rng):
        part_sums = torch.zeros(5, dtype=torch.float64)
        denominator = denominator_of_all / parts

        def loss_of(
            reading: Reading, part: UpdateBatch = part, denominator: float = denominator
        ) -> tuple[Tensor, tuple[Tensor, int]]:
            terms = loss_terms(policy, reference, loss, part, reading, temperature)
            figures = [terms.kl, terms.entropy, terms.clipped, terms.tokens, terms.moved]
            return terms.total / denominator, (
                torch.stack(figures).detach().double().cpu(),
                len(reading.members),
            )

        readings = share(policy.readings(part.prompts, part.responses), crew)
        for figures, pairs in add_gradients(policy.compute, parameters, readings, loss_of):
            part_sums += figures
            done += pairs
            on_rows(done * crew.size, passes * len(batch))
        add_up_gradients(parameters, crew)
        crew.add_up([part_sums])
        if sampler_difference is None:
            sampler_difference = float(part_sums[4] / part_sums[3].clamp(min=1))
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_gradient_norm))
        if math.isfinite(norm) and bool(part_sums.isfinite().all()):
            optimizer.step()
            norms.append(norm)
            sums += part_sums
            skipped_in_a_row = 0
        else:
            skipped += 1
            skipped_in_a_row += 1
        optimizer.zero_grad()
    kl, entropy, clipped = (sums[:3] / sums[3].clamp(min=1)).tolist()
    return UpdateMetrics(
        kl=kl,
        entropy=entropy,
        clip_share=clipped,
        gradient_norm=float(np.mean(norms)) if norms else 0.0,
        sampler_difference=sampler_difference or 0.0,
        optimizer_steps_taken=len(norms),
        skipped_steps=skipped,
        skipped_in_a_row=skipped_in_a_row,
    )


def _parts(
    batch: UpdateBatch, passes: int, optimizer_steps: int, rng: np.random.Generator
) -> Iterator[tuple[UpdateBatch, int]]:
    """The mini-batches of all passes, dealt anew for each, and how many a pass has."""
    for _ in range(passes):
        parts = mini_batches(batch, optimizer_steps, rng)
        for part in parts:
            yield part, len(parts)


def loss_terms(
    policy: TransformersPolicy,
    reference: Reference,
    loss: PolicyLoss,
    batch: UpdateBatch,
    reading: Reading,
    temperature: float,
) -> LossTerms:
    """The terms of the loss of a micro-batch, differentiable.

    Args:
        policy: that learns.
        reference: the divergence is measured from it.
        loss: the objective.
        batch: merged rows.
        reading: one of the policy's readings of the batch's prompts and responses; see `policy.readings`.
        temperature: that the responses were sampled with.
    """
    micro = batch.take(reading.members)
    scores = policy.score(reading, temperature)
    with torch.no_grad():
        reference_logprobs = reference.score(reading, temperature).logprobs
    return loss(
        logprobs=scores.logprobs,
        old_logprobs=right_aligned(micro.old_logprobs, scores.mask),
        reference_logprobs=reference_logprobs,
        entropy=scores.entropy,
        positive=torch.from_numpy(micro.positive).float().to(scores.mask.device),
        negative=torch.from_numpy(micro.negative).float().to(scores.mask.device),
        count=torch.from_numpy(micro.count).to(scores.mask.device),
        mask=scores.mask,
    )


@torch.no_grad()
def recompute_logprobs(
    policy: TransformersPolicy, batch: UpdateBatch, temperature: float, crew: Crew | None = None
) -> tuple[UpdateBatch, float]:
    """The batch with the policy's own log-probabilities as the old ones, and how far the sampler's were off.

    Args:
        policy: as it is before the update.
        batch: with what the sampler said.
        temperature: that the responses were sampled with.
        crew: the processes that share the work.

    Returns:
        The batch, and the mean magnitude of the difference over the response tokens of its rows.
    """
    crew = crew or Alone()
    found: list[tuple[int, np.ndarray]] = []
    for reading in share(policy.readings(batch.prompts, batch.responses), crew):
        scores = policy.score(reading, temperature)
        for row, member in enumerate(reading.members.tolist()):
            found.append((member, scores.logprobs[row, scores.mask[row]].double().cpu().numpy()))
    of_pair = dict(pair for part in crew.gather(found) for pair in part)
    logprobs = tuple(of_pair[pair] for pair in range(len(batch)))
    off = [np.abs(new - old).sum() for new, old in zip(logprobs, batch.old_logprobs, strict=True)]
    tokens = [len(response) for response in batch.responses]
    total = float(np.dot(batch.count, tokens))
    difference = float(np.dot(batch.count, off)) / total if total else 0.0
    return replace(batch, old_logprobs=logprobs), difference


def right_aligned(rows: tuple[np.ndarray, ...], mask: Tensor) -> Tensor:
    """Rows of different lengths as a matrix, each at the right end, where `mask` is True."""
    values = torch.from_numpy(np.concatenate(rows)).float().to(mask.device)
    return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, values)
