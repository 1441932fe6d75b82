"""Where a model computes, how precisely, and how much at a time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from dataclasses import dataclass, field
from typing import Any

import torch

from hgpo.errors import SettingError
from hgpo.policies.settings import Precision


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
    threads: int = 1
    """Forward and backward passes of an update that are computed at a time, each by one thread."""

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which products have the precision."""
        if self.precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.precision)

    @property
    def call_tokens(self) -> int:
        """What one more call of the model costs in addition to what it reads, in tokens read.

        A GPU computes an operation in less time than it takes to ask for it, unless it is given many tokens:
        an H200 reads 3,100 tokens of a 1.5B model in the time of its shortest call.
        """
        return 100 if self.device.type == "cpu" else 3_000

    @property
    def cache_bytes(self) -> int:
        """Keys and values that may be kept of prompts that are continued together, beyond one pass's tokens.

        For each token of an answer the model is called once, however many answers there are; what that costs
        is nearly the same for a few and for many on a GPU, and not on a CPU.
        """
        return 0 if self.device.type == "cpu" else 2**32


def choose_compute(
    device: str | None,
    precision: Precision,
    *,
    token_budget: int,
    recompute: bool = False,
    threads: int = 1,
) -> Compute:
    """What settings ask for.

    Args:
        device: as PyTorch names it; None is a GPU where there is one.
        precision, token_budget, recompute: see `Precision` and `Compute`.
        threads: see `Compute`; 1 is taken on a GPU, which computes one pass at a time.

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
    # Layers that recompute, and weights cast for a context, are shared by all passes of a model.
    alone = chosen.type != "cpu" or dtype != torch.float32 or recompute
    return Compute(chosen, dtype, token_budget, recompute, threads=1 if alone else threads)


def usable_cores() -> int:
    """OMP_NUM_THREADS where it is set, else the number of cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_LARGEST_BLOCK_KEPT, _MOST_KEPT = (-3, 2**25), (-1, 2**30)
"""mallopt's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, each with its value in bytes; the first one is the largest
that is allowed."""


def keep_freed_memory() -> None:
    """Let this process keep memory that was freed, up to a gigabyte, for what it needs next.

    On Linux the C library gives large blocks back to the system and gets them again page by page, which takes
    a quarter of the time of a small model's passes. Elsewhere nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for setting in (_LARGEST_BLOCK_KEPT, _MOST_KEPT):
            mallopt(*setting)
