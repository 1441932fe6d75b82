"""One update of the policy: from merged rows to optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hgpo.distributed import ProcessGroup, SingleProcess, all_reduce_gradients, shard
from hgpo.policies.gradients import add_gradients
from hgpo.policies.readers import PackedBatch
from hgpo.policies.reference import Reference
from hgpo.policies.transformers import TransformersPolicy
from hgpo.training.batch import UpdateBatch, mini_batches
from hgpo.training.losses import LossSums, LossTerms, PolicyLoss


@dataclass(frozen=True)
class UpdateMetrics:
    """Means over the response tokens of the update's rows, each with the policy at its optimizer step."""

    kl: float | None
    """k3 estimate of KL(π ‖ π_ref); None without a reference."""
    entropy: float
    """Entropy of the token distributions, in nats."""
    clip_fraction: float
    """Fraction of tokens where the clip changes the gradient."""
    gradient_norm: float
    """Norm of the gradient before clipping, mean over the optimizer steps that were taken."""
    clip_fraction_positive: float = 0.0
    """The same for the tokens of rows with positive advantage."""
    clip_fraction_negative: float = 0.0
    """The same for the tokens of rows with negative advantage."""
    ratio_positive: float = 1.0
    """Probability ratio of the tokens of rows with positive advantage."""
    ratio_negative: float = 1.0
    """Probability ratio of the tokens of rows with negative advantage."""
    masked_fraction: float = 0.0
    """Fraction of rows that are masked."""
    logprob_mismatch: float = 0.0
    """Mean absolute difference between the policy's log-probabilities before its first optimizer step and the
    old log-probabilities: how much the trained model and the sampler differ for the same weights."""
    optimizer_steps_taken: int = 0
    """Number of optimizer steps that changed the weights."""
    skipped_steps: int = 0
    """Number of optimizer steps that were skipped because the loss or the gradient was not finite."""
    skipped_in_a_row: int = 0
    """Number of optimizer steps in a row that were skipped at the end, counted across updates."""


def update_policy(
    policy: TransformersPolicy,
    reference: Reference | None,
    optimizer: torch.optim.Optimizer,
    loss: PolicyLoss,
    batch: UpdateBatch,
    *,
    ppo_epochs: int,
    num_minibatches: int,
    temperature: float,
    max_response_tokens: int,
    max_gradient_norm: float,
    rng: np.random.Generator,
    skipped_in_a_row: int = 0,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
    processes: ProcessGroup | None = None,
) -> UpdateMetrics:
    """Train on the batch for `ppo_epochs` epochs, each divided into `num_minibatches` mini-batches.

    The loss of a mini-batch is its sum over tokens divided by (the loss's denominator for all rows of the
    iteration / number of mini-batches). It does not depend on how mini-batches are divided into
    micro-batches, or on how many rows were merged or left out.

    Args:
        policy: changed in place.
        reference: the frozen reference policy of the KL term; None if the loss has no KL term, whose metric
            is then not measured.
        optimizer: the optimizer of the policy's parameters.
        loss: the policy loss.
        batch: merged rows.
        ppo_epochs: number of epochs.
        num_minibatches: number of mini-batches per epoch.
        temperature: the temperature the responses were sampled with.
        max_response_tokens: largest number of tokens in a response.
        max_gradient_norm: gradients with a larger norm are scaled down to this norm.
        rng: assigns the pairs to the mini-batches.
        skipped_in_a_row: number of optimizer steps in a row that were skipped just before this update.
        on_rows: called after every micro-batch with the number of pairs done and the total.
        processes: the processes that share the micro-batches. The denominator is that of the whole update, so
            the gradient is the sum of the processes' gradients.
    """
    processes = processes or SingleProcess()
    if not len(batch):
        kl = None if reference is None else 0.0
        return UpdateMetrics(kl, 0.0, 0.0, 0.0, skipped_in_a_row=skipped_in_a_row)
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    sums = torch.zeros(len(fields(LossSums)), dtype=torch.float64)
    norms, done, skipped = [], 0, 0
    logprob_mismatch: float | None = None
    denominator_of_all = loss.denominator(
        tokens=batch.total_tokens, rows=batch.total_rows, max_response_tokens=max_response_tokens
    )
    for part, parts in _parts(batch, ppo_epochs, num_minibatches, rng):
        part_sums = torch.zeros_like(sums)
        denominator = denominator_of_all / parts

        def loss_of(
            packed: PackedBatch, part: UpdateBatch = part, denominator: float = denominator
        ) -> tuple[Tensor, tuple[Tensor, int]]:
            terms = loss_terms(policy, reference, loss, part, packed, temperature)
            return terms.total / denominator, (terms.sums.vector(), len(packed.members))

        packed_batches = shard(policy.packed_batches(part.prompts, part.responses, part.allowed), processes)
        for figures, pairs in add_gradients(policy.compute, parameters, packed_batches, loss_of):
            part_sums += figures
            done += pairs
            on_rows(done * processes.size, ppo_epochs * len(batch))
        all_reduce_gradients(parameters, processes)
        processes.all_reduce([part_sums])
        if logprob_mismatch is None:
            logprob_mismatch = LossSums.of(part_sums).logprob_mismatch
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
    means: dict[str, Any] = LossSums.of(sums).means()
    if reference is None:
        means["kl"] = None
    return UpdateMetrics(
        **means,
        gradient_norm=float(np.mean(norms)) if norms else 0.0,
        logprob_mismatch=logprob_mismatch or 0.0,
        optimizer_steps_taken=len(norms),
        skipped_steps=skipped,
        skipped_in_a_row=skipped_in_a_row,
    )


def _parts(
    batch: UpdateBatch, ppo_epochs: int, num_minibatches: int, rng: np.random.Generator
) -> Iterator[tuple[UpdateBatch, int]]:
    """The mini-batches of all epochs, drawn again for each epoch, each with their number per epoch."""
    for _ in range(ppo_epochs):
        parts = mini_batches(batch, num_minibatches, rng)
        for part in parts:
            yield part, len(parts)


def loss_terms(
    policy: TransformersPolicy,
    reference: Reference | None,
    loss: PolicyLoss,
    batch: UpdateBatch,
    packed: PackedBatch,
    temperature: float,
) -> LossTerms:
    """The terms of the loss of a micro-batch, differentiable.

    Args:
        policy: the trained policy.
        reference: the reference policy of the KL term; None: the term is 0.
        loss: the policy loss.
        batch: merged rows.
        packed: some of the batch's prompts and responses, from `policy.packed_batches`.
        temperature: the temperature the responses were sampled with.
    """
    micro = batch.take(packed.members)
    scores = policy.score(packed, temperature)
    if reference is None:
        reference_logprobs = scores.logprobs.detach()
    else:
        with torch.no_grad():
            reference_logprobs = reference.score(packed, temperature).logprobs
    return loss(
        logprobs=scores.logprobs,
        old_logprobs=right_aligned(micro.old_logprobs, scores.mask),
        reference_logprobs=reference_logprobs,
        entropy=scores.entropy,
        positive=torch.from_numpy(micro.positive).float().to(scores.mask.device),
        negative=torch.from_numpy(micro.negative).float().to(scores.mask.device),
        positive_rows=torch.from_numpy(micro.positive_rows).to(scores.mask.device),
        negative_rows=torch.from_numpy(micro.negative_rows).to(scores.mask.device),
        mask=scores.mask,
        action=right_aligned(micro.action, scores.mask) > 0,
    )


@torch.no_grad()
def recompute_logprobs(
    policy: TransformersPolicy, batch: UpdateBatch, temperature: float, processes: ProcessGroup | None = None
) -> tuple[UpdateBatch, float]:
    """The batch with the policy's own log-probabilities as the old ones, and their mean difference.

    Args:
        policy: the policy before the update.
        batch: merged rows with the sampler's log-probabilities.
        temperature: the temperature the responses were sampled with.
        processes: the processes that share the work.

    Returns:
        The batch, and the mean absolute difference from the sampler's log-probabilities over the response
        tokens of its rows.
    """
    processes = processes or SingleProcess()
    found: list[tuple[int, np.ndarray]] = []
    for packed in shard(policy.packed_batches(batch.prompts, batch.responses, batch.allowed), processes):
        scores = policy.score(packed, temperature)
        for row, member in enumerate(packed.members.tolist()):
            found.append((member, scores.logprobs[row, scores.mask[row]].double().cpu().numpy()))
    of_pair = dict(pair for part in processes.gather(found) for pair in part)
    logprobs = tuple(of_pair[pair] for pair in range(len(batch)))
    off = [np.abs(new - old).sum() for new, old in zip(logprobs, batch.old_logprobs, strict=True)]
    tokens = [len(response) for response in batch.responses]
    total = float(np.dot(batch.count, tokens))
    difference = float(np.dot(batch.count, off)) / total if total else 0.0
    return replace(batch, old_logprobs=logprobs), difference


def right_aligned(rows: tuple[np.ndarray, ...], mask: Tensor) -> Tensor:
    """Rows of different lengths as a matrix, aligned right, where `mask` is True."""
    values = torch.from_numpy(np.concatenate(rows)).float().to(mask.device)
    return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, values)
