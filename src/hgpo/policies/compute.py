"""The device, precision and batch size with which a model computes."""

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
    """How a model computes. Trained weights are always float32: bfloat16 would round small updates away."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Device of the weights."""
    precision: torch.dtype = torch.float32
    """Data type of matrix products, and of weights that are not trained."""
    token_budget: int = 16_384
    """Largest number of tokens in one forward pass."""
    recompute: bool = False
    """Compute activations again in the backward pass instead of storing them (gradient checkpointing)."""
    threads: int = 1
    """Number of forward and backward passes of an update that run in parallel, each in one thread."""

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which matrix products have the chosen precision."""
        if self.precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.precision)

    @property
    def call_tokens(self) -> int:
        """The fixed cost of one call of the model, expressed as a number of tokens.

        On a GPU, starting an operation takes longer than the operation itself unless it has many tokens:
        an H200 processes 3,100 tokens of a 1.5B model in the time of its shortest call.
        """
        return 100 if self.device.type == "cpu" else 3_000

    @property
    def cache_bytes(self) -> int:
        """Size limit of cached keys and values of prompts continued together, beyond one forward pass.

        Each token of an answer needs one call of the model, for all answers together. On a GPU such a call
        costs nearly the same for few and for many answers; on a CPU it does not.
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
    """The device, precision and batch size for the given settings.

    Args:
        device: the device in PyTorch's notation; None is a GPU if there is one, else the CPU.
        precision, token_budget, recompute: see `Precision` and `Compute`.
        threads: see `Compute`; on a GPU 1 is used, because it computes one pass at a time.

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
    # Checkpointed layers, and weights cast by autocast, are shared by all passes of a model.
    alone = chosen.type != "cpu" or dtype != torch.float32 or recompute
    return Compute(chosen, dtype, token_budget, recompute, threads=1 if alone else threads)


def usable_cores() -> int:
    """OMP_NUM_THREADS if it is set, else the number of cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_LARGEST_BLOCK_KEPT, _MOST_KEPT = (-3, 2**25), (-1, 2**30)
"""mallopt's parameters M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, each with its value in bytes. The first value
is the largest that is allowed."""


def keep_freed_memory() -> None:
    """Let this process keep up to a gigabyte of freed memory for later allocations.

    On Linux the C library returns large blocks to the system and requests them again page by page, which
    takes a quarter of the time of a small model's passes. On other systems this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for setting in (_LARGEST_BLOCK_KEPT, _MOST_KEPT):
            mallopt(*setting)
