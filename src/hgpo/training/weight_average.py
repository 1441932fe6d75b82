"""The moving average of the trained weights, for evaluation."""

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
    """The exponential moving average of a policy's weights, or of its adapter's if only that is trained.

        average ← d average + (1 − d) weights

    after every iteration, starting from the weights before the first iteration. torch's `AveragedModel` would
    also copy the weights that are not trained, so only its averaging function is used.
    """

    def __init__(self, policy: TransformersPolicy, decay: float) -> None:
        """Start the average with the policy's current weights.

        Args:
            policy: the trained policy.
            decay: d, between 0 and 1.
        """
        self._learning = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
        self._average = {name: p.detach().clone() for name, p in self._learning.items()}
        self._add = get_ema_multi_avg_fn(decay)

    def update(self) -> None:
        """Update the average with the policy's current weights."""
        weights = [p.detach() for p in self._learning.values()]
        self._add(list(self._average.values()), weights, 1)

    def put_in_place(self) -> None:
        """Replace the policy's weights by the averaged ones."""
        self._put(self._average)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block, the policy has the averaged weights; afterwards it has its own again."""
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
        # The new version tells readers that outputs they keep for the previous weights are stale.
        increment_version(list(self._learning.values()))

    def save(self, path: Path) -> None:
        """Write the average."""
        torch.save(self._average, path)

    def load(self, path: Path) -> None:
        """Read the average from a file that `save` wrote."""
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name, average in self._average.items():
            average.copy_(saved[name])
