"""LoRA adapters: by which name they are known, and what a model's weights are together with one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

ADAPTER = "default"
"""The name under which peft knows the adapter that learns."""


@contextmanager
def quiet_peft() -> Iterator[Any]:
    """The package peft, imported when it is needed, without its warnings about what it calls itself."""
    import peft

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
        yield peft


def plain_model(model: Any) -> Any:
    """The model of transformers within one of peft; any other as it is."""
    return model.get_base_model() if has_adapter(model) else model


def has_adapter(model: Any) -> bool:
    """Whether it is a model of peft."""
    return hasattr(model, "get_base_model")


def whole_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The weights by the names that they have without adapter, the adapter's share added.

        W' = W + (alpha / rank) B A

    Nothing is changed in place: what is added in bfloat16 could not be taken away again exactly.
    """
    adapted: dict[str, Any] = {}
    if has_adapter(model):
        from peft.tuners.lora import LoraLayer

        modules = plain_model(model).named_modules()
        adapted = {f"{name}.base_layer.weight": m for name, m in modules if isinstance(m, LoraLayer)}
    for name, tensor in plain_model(model).state_dict().items():
        if ".lora_" in name:
            continue
        if name in adapted:
            share = adapted[name].get_delta_weight(ADAPTER)
            tensor = (tensor.float() + share.float()).to(tensor.dtype)
        yield name.replace(".base_layer.", "."), tensor
