"""The forward pass of a small Llama model as plain tensor operations, equal to transformers' own.

In a small model, most of the time goes to what transformers does around each operation (modules, caches,
masks). Here the queries, keys and values of a layer are one product, a sequence needs no mask because its
padding is on the right, and the last layer computes only the outputs that are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn.functional import embedding, linear, pad, rms_norm, scaled_dot_product_attention, silu

from hgpo.policies.compute import Compute

MOST_WEIGHTS = 2**20
"""Largest number of weights, without embeddings, for which this forward pass is faster. In larger models the
products take most of the time, and prefix trees, which process shared prefixes once, save more."""


def fits(model: Any, compute: Compute) -> bool:
    """Whether this forward pass equals that of the model, and is faster than transformers' own.

    Args:
        model: a causal LM of transformers, or of peft.
        compute: the device and precision.
    """
    if type(model) is not transformers.LlamaForCausalLM or compute.device.type != "cpu" or compute.recompute:
        return False
    config: Any = model.config
    body: Any = model.model
    usual = config.hidden_act == "silu" and not config.attention_bias and not config.mlp_bias
    usual = usual and body.rotary_emb.rope_type == "default" and body.layers[0].self_attn.head_dim % 2 == 0
    weights = sum(weight.numel() for weight in body.layers.parameters())
    exact = {weight.dtype for weight in model.parameters()} == {torch.float32, compute.precision}
    return usual and exact and weights <= MOST_WEIGHTS


@dataclass(frozen=True)
class _Layer:
    """A layer's weights; weights that multiply the same input are one matrix."""

    attention_norm: Tensor
    query: Tensor
    """[heads · size, width]."""
    key_value: Tensor
    """Keys, then values, [2 · key heads · size, width]."""
    output: Tensor
    feed_forward_norm: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True)
class LlamaWeights:
    """The weights of a model, as the forward pass uses them; differentiable."""

    embedding: Tensor
    layers: tuple[_Layer, ...]
    norm: Tensor
    head: Tensor


class Llama:
    """The forward pass of one model."""

    def __init__(self, model: transformers.LlamaForCausalLM) -> None:
        """Take the model; each call of `weights` reads its current weights."""
        config: Any = model.config
        self._model: Any = model
        attention: Any = model.model.layers[0].self_attn
        self.head_size: int = attention.head_dim
        self.heads: int = config.num_attention_heads
        self.key_heads: int = config.num_key_value_heads
        self.epsilon: float = config.rms_norm_eps
        self._rotations = torch.empty(0, self.head_size // 2, dtype=torch.complex64)

    def version(self) -> tuple[int, ...]:
        """The version of the weights, which differs after every change that PyTorch registers."""
        return tuple(weight._version for weight in self._model.parameters())

    def weights(self) -> LlamaWeights:
        """The model's current weights."""
        layers = []
        for layer in self._model.model.layers:
            attention, feed_forward = layer.self_attn, layer.mlp
            key = _pairs_side_by_side(attention.k_proj.weight, self.key_heads)
            layers.append(
                _Layer(
                    attention_norm=layer.input_layernorm.weight,
                    query=_pairs_side_by_side(attention.q_proj.weight, self.heads),
                    key_value=torch.cat([key, attention.v_proj.weight]),
                    output=attention.o_proj.weight,
                    feed_forward_norm=layer.post_attention_layernorm.weight,
                    gate_up=torch.cat([feed_forward.gate_proj.weight, feed_forward.up_proj.weight]),
                    down=feed_forward.down_proj.weight,
                )
            )
        body = self._model.model
        return LlamaWeights(
            body.embed_tokens.weight, tuple(layers), body.norm.weight, self._model.lm_head.weight
        )

    def read(
        self,
        weights: LlamaWeights,
        tokens: Tensor,
        positions: Tensor,
        *,
        wanted: Tensor | None = None,
        past: Sequence[Tensor] | None = None,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Process rows of tokens; each token attends to itself and the tokens before it in its row.

        Args:
            weights: see `weights`.
            tokens: token ids, [rows, tokens], padded on the right.
            positions: positions of the tokens in their sequences, [rows, tokens] or [1, tokens].
            wanted: the positions in each row whose outputs are computed, [rows, wanted]; None: all.
            past: for rows of one token: keys and values of earlier tokens for each layer, as an earlier call
                returned them, [rows, earlier tokens, 2 · key heads · size].
            seen: which entries of `past` belong to the row, [rows, earlier tokens].

        Returns:
            The outputs, to be multiplied by the head, [rows, wanted, width]; and for each layer the keys and
            values of the tokens, [rows, tokens, 2 · key heads · size].
        """
        rotation = self._rotation(positions)
        mask = None if seen is None else pad(seen, (0, 1), value=True)[:, None, None]
        outputs, remembered = embedding(tokens, weights.embedding), []
        for number, layer in enumerate(weights.layers):
            inputs = rms_norm(outputs, outputs.shape[-1:], layer.attention_norm, self.epsilon)
            keys, values = linear(inputs, layer.key_value).chunk(2, dim=-1)
            keys_values = torch.cat([self._rotated(keys, rotation), values], dim=-1)
            remembered.append(keys_values)
            if past is not None:
                keys_values = torch.cat([past[number], keys_values], dim=1)
            if wanted is not None and number == len(weights.layers) - 1:
                # No later layer needs the last layer's outputs at the other positions.
                mask = (torch.arange(tokens.shape[1]) <= wanted[..., None])[:, None]
                rotation = rotation.expand(len(tokens), -1, -1).take_along_dim(wanted[..., None], 1)
                outputs, inputs = (part.take_along_dim(wanted[..., None], 1) for part in (outputs, inputs))
            queries = self._rotated(linear(inputs, layer.query), rotation)
            outputs = outputs + linear(self._attention(queries, keys_values, mask), layer.output)
            inputs = rms_norm(outputs, outputs.shape[-1:], layer.feed_forward_norm, self.epsilon)
            gate, up = linear(inputs, layer.gate_up).chunk(2, dim=-1)
            outputs = outputs + linear(silu(gate) * up, layer.down)
        return rms_norm(outputs, outputs.shape[-1:], weights.norm, self.epsilon), remembered

    def _attention(self, queries: Tensor, keys_values: Tensor, mask: Tensor | None) -> Tensor:
        """The attention output of each query, all heads side by side, [rows, queries, heads · size]."""
        parts = (queries, *keys_values.chunk(2, dim=-1))
        read = scaled_dot_product_attention(
            *(part.unflatten(-1, (-1, self.head_size)).transpose(1, 2) for part in parts),
            attn_mask=mask,
            is_causal=mask is None,
            enable_gqa=self.heads != self.key_heads,
        )
        return read.transpose(1, 2).flatten(-2)

    def _rotated(self, heads: Tensor, rotation: Tensor) -> Tensor:
        """Queries or keys, [rows, tokens, heads · size], rotated according to their positions."""
        pairs = torch.view_as_complex(heads.unflatten(-1, (-1, rotation.shape[-1], 2)))
        return torch.view_as_real(pairs * rotation[:, :, None]).flatten(-3)

    def _rotation(self, positions: Tensor) -> Tensor:
        """The rotation of each pair of a head's numbers at each position: complex, [rows, tokens, pairs]."""
        needed = int(positions.max()) + 1
        if needed > len(self._rotations):
            places = torch.arange(2 * needed)
            cosine, sine = self._model.model.rotary_emb(self._rotations.real, places[None])
            pairs = self.head_size // 2
            self._rotations = torch.complex(cosine[0, :, :pairs], sine[0, :, :pairs])
        return self._rotations[positions]


def _pairs_side_by_side(weight: Tensor, heads: int) -> Tensor:
    """A weight for queries or keys, reordered so that the two numbers of each rotated pair are adjacent, like
    the parts of a complex number. transformers keeps one of them in each half of a head.

    Products of queries and keys stay the same.
    """
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
