"""The reference policy of the KL divergence: a frozen copy of the model, or, with LoRA, a second adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from typing_extensions import override

from hgpo.policies.loading import load_policy
from hgpo.policies.lora import ADAPTER, has_adapter, quiet_peft
from hgpo.policies.readers import PackedBatch, SequenceScores
from hgpo.policies.transformers import TransformersPolicy

REFERENCE = "reference"


class Reference(Protocol):
    """Something that scores responses."""

    def score(self, packed: PackedBatch, temperature: float) -> SequenceScores:
        """Log-probabilities and entropies of the responses.

        Args:
            packed: prompts and responses.
            temperature: the temperature the responses were sampled with, above 0.
        """
        ...


def load_reference(folder: Path, policy: TransformersPolicy) -> Reference:
    """The reference that a run's folder holds.

    Args:
        folder: the folder that `policy.save` wrote before training.
        policy: the trained policy; if it has an adapter, the reference uses the same model.
    """
    if has_adapter(policy.model):
        return AdapterReference(policy, folder)
    return load_policy(folder, policy.compute, trainable=False)


class AdapterReference(Reference):
    """The policy's own model with another adapter, so that memory holds the model only once."""

    def __init__(self, policy: TransformersPolicy, folder: Path) -> None:
        self._policy = policy
        with quiet_peft():
            policy.model.load_adapter(str(folder), adapter_name=REFERENCE, is_trainable=False)

    @override
    def score(self, packed: PackedBatch, temperature: float) -> SequenceScores:
        self._policy.model.set_adapter(REFERENCE, inference_mode=True)
        try:
            return self._policy.score(packed, temperature)
        finally:
            self._policy.model.set_adapter(ADAPTER)
