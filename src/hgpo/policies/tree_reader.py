"""The reader of any causal language model of transformers; sequences with a common prefix become trees."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import override

from hgpo.policies.choices import Choices, Restriction
from hgpo.policies.compute import Compute
from hgpo.policies.distributions import log_softmax, sample
from hgpo.policies.prefix_trees import Rows, Tree, as_rows, batches, frontier_of, grow_trees, outputs_of
from hgpo.policies.readers import (
    Allowed,
    Drawn,
    PackedBatch,
    Reader,
    SequenceScores,
    allowed_of,
    read_sequence,
    scores_of,
)


@dataclass(frozen=True)
class TreeBatch(PackedBatch):
    """Prompts and responses as trees."""

    rows: Rows
    """The model's input."""
    outputs: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
    """Where the model's wanted outputs are, and which of them belongs to each response token in turn."""


class TreeReader(Reader):
    """Processes sequences as prefix trees (see `prefix_trees`) if the model accepts any attention mask.

    Other models, such as those with a sliding window, process each sequence separately. Sequences are sorted
    by length and divided into batches within a budget of tokens, so that little of a batch is padding.
    """

    def __init__(self, model: Any, plain: Any, compute: Compute, ends: Collection[int], padding: int) -> None:
        """Find out which attention masks the model accepts.

        Args:
            model: a causal LM of transformers, or of peft with an adapter.
            plain: the same model without an adapter.
            compute: the device, precision and batch size.
            ends: the tokens that end a response.
            padding: any token.
        """
        self.model, self._compute, self._ends, self._pad = model, compute, list(ends), padding
        self.shares = _attends_as_told(plain)
        self.attention_scale = _attention_scale(plain)
        self._cached_tokens = compute.cache_bytes // _bytes_of_a_token(plain, compute) if self.shares else 0

    @override
    def forget(self) -> None:
        """Nothing is kept between calls."""

    @override
    @torch.no_grad()
    def draw(
        self,
        prompts: Sequence[tuple[int, ...]],
        uniforms: NDArray[np.float64],
        temperature: float,
        token_budget: int,
        choices: Sequence[Choices] | None = None,
    ) -> list[Drawn]:
        rows_of: dict[object, list[int]] = {}
        for row, prompt in enumerate(prompts):
            rows_of.setdefault(prompt if self.shares else row, []).append(row)
        groups = list(rows_of.values())
        distinct = [prompts[group[0]] for group in groups]
        tokens: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        restriction = None if choices is None else Restriction(choices)
        # One context for the whole call, so that weights are cast only once.
        with self._compute.autocast():
            # Prompts are read in batches. All answers continue together, as a call with few costs the same.
            trees = self._trees(distinct, [1] * len(distinct), token_budget)
            for batch in batches(trees, max(token_budget, self._cached_tokens), math.inf):
                members = [groups[i] for tree in batch for i in tree.members]
                self._complete(
                    batch,
                    rows=np.concatenate(members),
                    node_of_row=np.repeat(np.arange(len(members)), [len(group) for group in members]),
                    uniforms=uniforms,
                    temperature=temperature,
                    token_budget=token_budget,
                    restriction=restriction,
                    tokens=tokens,
                    logprobs=logprobs,
                )
        return [
            Drawn(
                np.array(tokens[row], dtype=np.int64),
                np.array(logprobs[row], dtype=np.float32),
                None if restriction is None else restriction.allowed(row),
            )
            for row in range(len(prompts))
        ]

    def _complete(
        self,
        trees: Sequence[Tree],
        *,
        rows: NDArray[np.int64],
        node_of_row: NDArray[np.int64],
        uniforms: NDArray[np.float64],
        temperature: float,
        token_budget: int,
        restriction: Restriction | None,
        tokens: list[list[int]],
        logprobs: list[list[float]],
    ) -> None:
        """Append the completions of `rows` to `tokens` and `logprobs`.

        Each row is at a node of the frontier: at first the end of its prompt, then the end of its answer so
        far. Rows at one node that draw the same token continue at the same new node.
        """
        max_new = uniforms.shape[1]
        logits, cache = self._read(trees, token_budget, remember=max_new > 1)
        frontier = frontier_of(trees)
        for place in range(max_new):
            distribution = log_softmax(logits, temperature)[self._here(node_of_row)]
            if restriction is not None:
                distribution = restriction.apply(distribution, rows, tokens)
            chosen = sample(distribution, self._here(uniforms[rows, place]), greedy=temperature == 0)
            chosen_logprobs = distribution.gather(1, chosen[:, None])[:, 0].tolist()
            drawn = chosen.cpu().numpy()
            for row, token, logprob in zip(rows.tolist(), drawn.tolist(), chosen_logprobs, strict=True):
                tokens[row].append(token)
                logprobs[row].append(logprob)
            alive = ~np.isin(drawn, self._ends)
            if not alive.any() or place + 1 == max_new:
                return
            rows = rows[alive]
            node_and_token = np.stack([node_of_row[alive], drawn[alive]])
            (parents, news), node_of_row = np.unique(node_and_token, axis=1, return_inverse=True)
            read, frontier = frontier.grow(parents, news, self._pad)
            logits = self._logits(read, cache)[self._here(frontier.tree), self._here(frontier.output)]

    def _read(
        self, trees: Sequence[Tree], token_budget: int, *, remember: bool
    ) -> tuple[Tensor, transformers.DynamicCache | None]:
        """The model's outputs at the end of each member, [members, vocabulary], and its cache."""
        logits, caches = [], []
        for batch in batches(trees, token_budget, self._compute.call_tokens):
            cache = transformers.DynamicCache(config=self.model.config) if remember else None
            frontier = frontier_of(batch)
            read = self._logits(as_rows(batch, self._pad), cache)
            logits.append(read[self._here(frontier.tree), self._here(frontier.output)])
            caches.append(cache)
        return torch.cat(logits), _side_by_side(caches, self.model.config) if remember else None

    def _logits(self, rows: Rows, cache: transformers.DynamicCache | None) -> Tensor:
        """The model's outputs at the wanted nodes of each row, [rows, wanted, vocabulary]."""
        # If sequences share no rows, the last node attends to its whole sequence: the usual padding mask.
        mask = rows.attention_mask if self.shares else rows.attention_mask[:, 0, -1].long()
        return self.model(
            input_ids=rows.tokens.to(self._compute.device),
            attention_mask=mask.to(self._compute.device),
            position_ids=rows.positions.to(self._compute.device),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=rows.wanted,
        ).logits

    @override
    def packed_batches(
        self,
        prompts: Sequence[tuple[int, ...]],
        responses: Sequence[NDArray[np.int64]],
        token_budget: int,
        allowed: Sequence[Allowed] | None = None,
    ) -> Iterator[TreeBatch]:
        sequences = list(map(read_sequence, prompts, responses))
        trees = self._trees(sequences, [len(response) for response in responses], token_budget)
        for batch in batches(trees, token_budget, self._compute.call_tokens):
            members = np.array([member for tree in batch for member in tree.members])
            rows = as_rows(batch, self._pad)
            yield TreeBatch(
                members=members,
                responses=[responses[i] for i in members],
                read=sum(map(len, batch)),
                padded=rows.tokens.numel(),
                allowed=allowed_of(allowed, members),
                rows=rows,
                outputs=outputs_of(batch),
            )

    @override
    def score(self, packed: TreeBatch, temperature: float) -> SequenceScores:
        (trees, places), of_token = packed.outputs
        self.model.train(self._compute.recompute and torch.is_grad_enabled())
        try:
            with self._compute.autocast():
                logits = self._logits(packed.rows, None)[self._here(trees), self._here(places)]
        finally:
            self.model.eval()
        return scores_of(packed, logits, self._here(of_token), temperature)

    def _here(self, array: np.ndarray) -> Tensor:
        """An array as a tensor on the model's device."""
        return torch.from_numpy(array).to(self._compute.device)

    def _trees(
        self, sequences: Sequence[tuple[int, ...]], wanted: Sequence[int], token_budget: int
    ) -> list[Tree]:
        most = token_budget if self.shares else 0
        return grow_trees(sequences, wanted, attention_scale=self.attention_scale, most_nodes=most)


def _side_by_side(caches: Sequence[transformers.DynamicCache], config: Any) -> transformers.DynamicCache:
    """One cache with the rows of all caches, padded on the left to the longest."""
    if len(caches) == 1:
        return caches[0]
    longest = max(cache.get_seq_length() for cache in caches)

    def joined(tensors: list[Tensor]) -> Tensor:
        return torch.cat([pad(tensor, (0, 0, longest - tensor.shape[2], 0)) for tensor in tensors])

    whole = transformers.DynamicCache(config=config)
    for number, layers in enumerate(zip(*(cache.layers for cache in caches), strict=True)):
        attention: list[Any] = list(layers)
        keys, values = [layer.keys for layer in attention], [layer.values for layer in attention]
        whole.update(joined(keys), joined(values), number)
    return whole


def _attends_as_told(model: Any) -> bool:
    """Whether the model accepts a separate mask for every token and applies it in all layers."""
    config = model.config.get_text_config()
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    whole = set(layers) == {"full_attention"} and getattr(config, "sliding_window", None) is None
    return config._attn_implementation == "sdpa" and whole and not model._is_stateful


def _attention_scale(model: Any) -> float:
    """The row length at which a token's attention costs as much as the multiplications by the weights.

    A weight takes one multiplication per token. Attention takes two for each token attended to, in every
    channel of every layer.
    """
    weights = (
        sum(p.numel() for p in model.base_model.parameters()) - model.get_input_embeddings().weight.numel()
    )
    config = model.config.get_text_config()
    return weights / (2 * config.num_hidden_layers * config.hidden_size)


def _bytes_of_a_token(model: Any, compute: Compute) -> int:
    """Size of the keys and values of one token in all layers, in bytes."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    channels = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * channels * compute.precision.itemsize
