"""Where a model computes, how precisely, and how much at a time."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from hgpo.errors import SettingError

Precision = Literal["auto", "float32", "bfloat16"]
"""Of products; "auto" is bfloat16 on a GPU that has it, float32 elsewhere."""


@dataclass(frozen=True)
class Compute:
    """How a model is computed. Weights that learn are float32 always: bfloat16 would swallow small steps."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where the weights are."""
    precision: torch.dtype = torch.float32
    """Of products, and of weights that do not learn."""
    token_budget: int = 16_384
    """Most tokens of one forward pass."""
    recompute: bool = False
    """Compute what a gradient needs of each layer twice rather than keep it (gradient checkpointing)."""

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which products have the precision."""
        if self.precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.precision)


def choose_compute(
    device: str | None, precision: Precision, *, token_budget: int, recompute: bool = False
) -> Compute:
    """What settings ask for.

    Args:
        device: as PyTorch names it; None is a GPU where there is one.
        precision, token_budget, recompute: see `Precision` and `Compute`.

    Raises:
        SettingError: if there is no such device.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"--device {name}: {str(error).splitlines()[0]}") from None
    if precision == "auto":
        precision = "bfloat16" if chosen.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    return Compute(chosen, dtype, token_budget, recompute)
