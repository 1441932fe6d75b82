"""Rollout engines: the trained model itself, or an engine that receives its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from hgpo.policies.base import Policy
from hgpo.policies.transformers import TransformersPolicy


class RolloutEngine(Policy, Protocol):
    """A policy that samples with weights that are trained elsewhere."""

    def synchronize(self) -> None:
        """Take the current weights; called before each iteration's rollout and before each evaluation.

        Later samples do not depend on anything that was sampled before the call.
        """
        ...


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
