"""What samples in rollouts: the model that learns itself, or an engine that takes over its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from hgpo.policies.base import Policy
from hgpo.policies.transformers import TransformersPolicy


class RolloutEngine(Policy, Protocol):
    """A policy that samples by weights which are trained elsewhere."""

    def synchronize(self) -> None:
        """Take over the weights as they are now; called before each iteration's rollout and each evaluation.

        What is sampled from then on depends on nothing that was sampled before.
        """
        ...


def _transformers(
    policy: TransformersPolicy, folder: Path, *, max_tokens: int, memory_share: float
) -> RolloutEngine:
    """The policy itself, which has all it needs."""
    return policy


def _vllm(policy: TransformersPolicy, folder: Path, *, max_tokens: int, memory_share: float) -> RolloutEngine:
    # Most runs have no vLLM, and importing it takes seconds.
    from hgpo.policies.vllm import VllmEngine

    return VllmEngine(policy, folder, max_tokens=max_tokens, memory_share=memory_share)


ENGINES: dict[str, Callable[..., RolloutEngine]] = {"transformers": _transformers, "vllm": _vllm}
"""Makes a run's engine from the policy that learns and a folder for what else it needs (see `VllmEngine`)."""
