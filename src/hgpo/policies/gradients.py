"""The gradient of a loss that is a sum over forward passes, several of which can run in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from hgpo.policies.compute import Compute

Part = TypeVar("Part")
Figures = TypeVar("Figures")


def add_gradients(
    compute: Compute,
    parameters: Sequence[Tensor],
    parts: Iterable[Part],
    loss_of: Callable[[Part], tuple[Tensor, Figures]],
) -> Iterator[Figures]:
    """Add the gradient of each part's loss to the parameters' `.grad`, and yield each part's figures.

    Gradients are added in the order of the parts, regardless of how many are computed in parallel, so the sum
    is the same to the last bit for any `compute.threads`.

    Args:
        compute: has the number of parts that are computed in parallel, each in a separate thread.
        parameters: the parameters that the losses depend on.
        parts: the inputs of one forward pass each.
        loss_of: computes the loss of a part, differentiable, and the part's figures.
    """
    if compute.threads == 1:
        for part in parts:
            loss, figures = loss_of(part)
            loss.backward()
            yield figures
        return

    def gradient_of(part: Part) -> tuple[tuple[Tensor | None, ...], Figures]:
        loss, figures = loss_of(part)
        return torch.autograd.grad(loss, parameters, allow_unused=True), figures

    pool = ThreadPoolExecutor(compute.threads)
    try:
        for gradient, figures in pool.map(gradient_of, parts):
            for parameter, added in zip(parameters, gradient, strict=True):
                if added is not None:
                    parameter.grad = added if parameter.grad is None else parameter.grad.add_(added)
            yield figures
    finally:
        # After Ctrl-C, parts that have not been started are skipped.
        pool.shutdown(cancel_futures=True)
