"""LoRA adapters: their names, and a model's weights and configuration with the adapter merged in."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

ADAPTER = "default"
"""The name of the trained adapter in peft."""


@contextmanager
def quiet_peft() -> Iterator[Any]:
    """The package peft, imported on demand, without warnings about cases that are handled here."""
    import peft

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        # For an adapter of a tied embedding or head, see `whole_config`.
        warnings.filterwarnings("ignore", ".*tie_word_embeddings", UserWarning)
        yield peft


def plain_model(model: Any) -> Any:
    """The transformers model inside a peft model; any other model is returned unchanged."""
    return model.get_base_model() if has_adapter(model) else model


def has_adapter(model: Any) -> bool:
    """Whether this is a peft model."""
    return hasattr(model, "get_base_model")


def whole_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The weights with the adapter merged in, by the names that they have in the model without adapter.

        W' = W + (alpha / rank) B A

    for LoRA; for other adapters, the result of peft's own merge. Each adapted layer is copied, merged in
    float32 and rounded to its own type. Nothing changes in place, because what is added in bfloat16 could not
    be subtracted again exactly.
    """
    adapted = _adapted_layers(model)
    for name, tensor in plain_model(model).state_dict().items():
        if not any(name.startswith(f"{layer}.") for layer in adapted):
            yield name, tensor
    for layer, module in adapted.items():
        # The first parameter of an adapted layer belongs to the layer itself, not to the adapter.
        dtype = next(module.parameters()).dtype
        for name, tensor in _merged(module).state_dict().items():
            yield f"{layer}.{name}", tensor.to(dtype)


def whole_config(model: Any) -> Any:
    """The configuration of the model with these `whole_weights`.

    A model's output head can be tied to its input embedding (`tie_word_embeddings`). An adapter of one of the
    two is merged into that one only, so that they differ afterwards; libraries that believe the
    configuration, such as vLLM, would ignore the head's weights.
    """
    config = copy.deepcopy(plain_model(model).config)
    if not has_tied_head(model):
        say_untied(config)
    return config


def has_tied_head(model: Any) -> bool:
    """Whether the output head and the input embedding share their weights, apart from adapters."""
    plain = plain_model(model)
    head, embedding = plain.get_output_embeddings(), plain.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return False
    adapted = _adapted_layers(model).values()
    return not any(module is head or module is embedding for module in adapted)


def say_untied(config: Any) -> None:
    """Mark head and embedding as separate weights in a configuration and all its parts."""
    for part in (config, config.get_text_config()):
        part.tie_word_embeddings = False


def _adapted_layers(model: Any) -> dict[str, Any]:
    """The outermost layers of the plain model that peft has replaced by its own, by name."""
    if not has_adapter(model):
        return {}
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper

    found: dict[str, Any] = {}
    for name, module in plain_model(model).named_modules():
        inner = any(name.startswith(f"{layer}.") for layer in found)
        if not inner and isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            found[name] = module
    return found


@torch.no_grad()
def _merged(module: Any) -> nn.Module:
    """The plain layer with the adapter merged into it, a float32 copy."""
    # A layer whose adapter is tied to that of another layer keeps views of it, which are not copied.
    views = getattr(module, "kwargs", {}).get("tied_adapter") or {}
    alone = copy.deepcopy(module, {id(view): view.detach() for view in views.values()}).float()
    if hasattr(alone, "unload_and_optionally_merge_module"):
        return alone.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=[ADAPTER])
    alone.merge(adapter_names=[ADAPTER])
    return alone.get_base_layer()
