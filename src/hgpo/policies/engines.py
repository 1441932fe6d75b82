"""Rollout engines: the trained model itself, or an engine that receives its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from typing_extensions import override

from hgpo.policies.base import Policy
from hgpo.policies.transformers import TransformersPolicy


class RolloutEngine(Policy, Protocol):
    """A policy that samples with weights that are trained elsewhere."""

    def synchronize(self) -> None:
        """Take the current weights; called before each iteration's rollout and before each evaluation.

        Later samples do not depend on anything that was sampled before the call.
        """
        ...


class WeightCopy(TransformersPolicy):
    """Samples with a copy of a policy's weights, so that the policy can be trained in the meantime."""

    def __init__(self, policy: TransformersPolicy) -> None:
        """Copy the weights that are trained; the others, as below an adapter, are shared."""
        fixed = {id(weight): weight for weight in policy.model.parameters() if not weight.requires_grad}
        super().__init__(copy.deepcopy(policy.model, fixed), policy.tokenizer, policy.compute)
        self._trained = policy

    @override
    @torch.no_grad()
    def synchronize(self) -> None:
        """Take the policy's current weights."""
        for own, trained in zip(self.model.parameters(), self._trained.model.parameters(), strict=True):
            if trained.requires_grad:
                own.copy_(trained)
        super().synchronize()


def _transformers(
    policy: TransformersPolicy, folder: Path, *, max_tokens: int, memory_share: float
) -> RolloutEngine:
    """The policy itself, which needs no other arguments."""
    return policy


def _vllm(policy: TransformersPolicy, folder: Path, *, max_tokens: int, memory_share: float) -> RolloutEngine:
    # Most runs do not use vLLM, and importing it takes seconds.
    from hgpo.policies.vllm import VllmEngine

    return VllmEngine(policy, folder, max_tokens=max_tokens, memory_share=memory_share)


ENGINES: dict[str, Callable[..., RolloutEngine]] = {"transformers": _transformers, "vllm": _vllm}
"""Functions that make a run's engine, by name, from the trained policy and a folder (see `VllmEngine`)."""
