"""The moving average of the weights that learn, for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hgpo.policies.transformers import TransformersPolicy
from hgpo.runs.interrupts import deferred_signals


class WeightAverage:
    """The exponential moving average of a policy's weights, or of its adapter's where that alone learns.

        average ← d average + (1 − d) weights

    after every iteration, starting from the weights before the first one. torch's `AveragedModel` would copy
    the weights that do not learn as well, so only its averaging function is used.
    """

    def __init__(self, policy: TransformersPolicy, decay: float) -> None:
        """Start the average with the policy's present weights.

        Args:
            policy: that learns.
            decay: d, between 0 and 1.
        """
        self._learning = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
        self._average = {name: p.detach().clone() for name, p in self._learning.items()}
        self._add = get_ema_multi_avg_fn(decay)

    def update(self) -> None:
        """Take the policy's weights into the average."""
        weights = [p.detach() for p in self._learning.values()]
        self._add(list(self._average.values()), weights, 1)

    def put_in_place(self) -> None:
        """Give the policy the averaged weights."""
        self._put(self._average)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The policy has the averaged weights within the block, and its own again after it."""
        learned = {name: p.data for name, p in self._learning.items()}
        try:
            self.put_in_place()
            yield
        finally:
            with deferred_signals():
                self._put(learned)

    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self._learning.items():
            parameter.data = weights[name]
        # What is remembered of the weights before is known to be stale by this.
        increment_version(list(self._learning.values()))

    def save(self, path: Path) -> None:
        """Write the average."""
        torch.save(self._average, path)

    def load(self, path: Path) -> None:
        """Take the average from a file that `save` wrote."""
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name, average in self._average.items():
            average.copy_(saved[name])
