"""A run's settings for its models, read and checked without torch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hgpo.errors import SettingError

ADAPTER_CONFIG = "adapter_config.json"

Precision = Literal["auto", "float32", "bfloat16"]
"""Precision of matrix products; "auto" is bfloat16 on a GPU that supports it, float32 elsewhere."""


@dataclass(frozen=True)
class TinyModel:
    """The shape of a Llama model made from scratch."""

    hidden_size: int = 64
    """Width of the residual stream."""
    layers: int = 2
    """Transformer blocks."""
    heads: int = 4
    """Attention heads per block."""
    merges: int = 25
    """Number of merges of the tokenizer; each turns a frequent phrase of several words into one token. With 0
    every word is a token."""

    def __post_init__(self) -> None:
        if self.merges < 0:
            raise SettingError(f"--tiny.merges is {self.merges}: expected a number of at least 0")


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter that is trained instead of the model (arXiv 2106.09685): W + (alpha / rank) B A."""

    rank: int = 0
    """Rank of the adapter, the number of rows of A; 0 trains all weights instead."""
    alpha: float = 32.0
    """Scale of the adapter's contribution (see the formula)."""
    targets: str = "all-linear"
    """Which layers get an adapter: "all-linear", or a regular expression for their names."""

    def __post_init__(self) -> None:
        if self.rank < 0 or not self.alpha > 0:
            raise SettingError(
                f"--lora.rank is {self.rank}, --lora.alpha {self.alpha}: expected a rank of at least 0 and "
                "an alpha above 0"
            )


def check_source(source: str) -> None:
    """Raise a SettingError if a model is neither on disk nor a possible name on the hub."""
    path = Path(source)
    if is_gguf(path) or (path / "config.json").is_file() or (path / ADAPTER_CONFIG).is_file():
        return
    if path.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise SettingError(
            f"--model {source}: no checkpoint there (expected a folder with config.json, weights and "
            "tokenizer, as save_pretrained writes it; a GGUF file; or a name OWNER/NAME on the Hugging Face "
            "hub)"
        )


def is_gguf(path: Path) -> bool:
    """Whether a path is that of a GGUF file."""
    return path.suffix == ".gguf" and path.is_file()


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model in transformers' format, or an adapter of one in peft's."""
    if (folder / ADAPTER_CONFIG).is_file():
        return True
    try:
        settings = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and "model_type" in settings


@dataclass(frozen=True)
class CriticTraining:
    """How the critic is trained, if the estimator needs one."""

    learning_rate: float = 1e-3
    """AdamW's learning rate; 1e-5 for models of 1.5B parameters and more."""
    ppo_epochs: int = 2
    """Number of passes over each iteration's prompts."""
    num_minibatches: int = 4
    """Mini-batches per pass, with one optimizer step each."""
    max_gradient_norm: float = 1.0
    """Gradients with a larger norm are scaled down to this norm."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf") or not 0 < self.max_gradient_norm < float("inf"):
            raise ValueError("learning_rate and max_gradient_norm must be numbers above 0")
        if self.ppo_epochs < 1 or self.num_minibatches < 1:
            raise ValueError("ppo_epochs and num_minibatches must be at least 1")
