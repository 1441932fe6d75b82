"""The reader of any causal language model of transformers; sequences with a common prefix become trees."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from hgpo.policies.choices import Choices, Restriction
from hgpo.policies.compute import Compute
from hgpo.policies.decoding import Decoding, Response, side_by_side
from hgpo.policies.prefix_trees import Rows, Tree, as_rows, batches, frontier_of, grow_trees, outputs_of
from hgpo.policies.readers import (
    Allowed,
    Drawn,
    DrawnStream,
    PackedBatch,
    Reader,
    SequenceScores,
    allowed_of,
    read_sequence,
    scores_of,
)
from hgpo.policies.streams import Request

WORTH_READING = 0.125
"""A stream reads the prompts that wait when they are this fraction of the responses being written, because
reading costs a call, in which no response continues."""


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
        restrictions = [None] * len(prompts) if choices is None else list(map(Restriction, choices))
        responses = list(map(Response, uniforms, restrictions))
        # One context for the whole call, so that weights are cast only once.
        with self._compute.autocast():
            # Prompts are read in batches. All answers continue together, as a call with few costs the same.
            trees, groups = self._prompt_trees(prompts, token_budget)
            for batch in batches(trees, self.cache_limit(token_budget), math.inf):
                decoding = self.decoding(temperature)
                self._join(decoding, batch, groups, responses, token_budget)
                while decoding.live:
                    decoding.advance()
        return [response.drawn() for response in responses]

    @override
    @contextmanager
    def stream(self, temperature: float, token_budget: int) -> Iterator[DrawnStream]:
        if self.shares:
            with self._compute.autocast():
                yield _TreeStream(self, temperature, token_budget)
        else:
            with super().stream(temperature, token_budget) as together:
                yield together

    def cache_limit(self, token_budget: int) -> int:
        """Number of tokens of prompts whose responses are written at the same time."""
        return max(token_budget, self._cached_tokens)

    def decoding(self, temperature: float) -> Decoding:
        """No responses yet."""
        return Decoding(self._logits, self.model.config, temperature, self._ends, self._pad, self.shares)

    def join(
        self,
        decoding: Decoding,
        prompts: Sequence[tuple[int, ...]],
        responses: Sequence[Response],
        token_budget: int,
    ) -> None:
        """Read prompts, and let the response to each of them join those that are being written."""
        trees, groups = self._prompt_trees(prompts, token_budget)
        self._join(decoding, trees, groups, responses, token_budget)

    def _prompt_trees(
        self, prompts: Sequence[tuple[int, ...]], token_budget: int
    ) -> tuple[list[Tree], list[list[int]]]:
        """The prompts as trees, and for each member of the trees the indices of the prompts it stands for.

        Equal prompts are read once if the model reads trees.
        """
        rows_of: dict[object, list[int]] = {}
        for row, prompt in enumerate(prompts):
            rows_of.setdefault(prompt if self.shares else row, []).append(row)
        groups = list(rows_of.values())
        return self._trees([prompts[rows[0]] for rows in groups], [1] * len(groups), token_budget), groups

    def _join(
        self,
        decoding: Decoding,
        trees: Sequence[Tree],
        groups: Sequence[Sequence[int]],
        responses: Sequence[Response],
        token_budget: int,
    ) -> None:
        joining = [[responses[row] for row in groups[member]] for tree in trees for member in tree.members]
        # Without a second token, and without others beside which it is kept, a cache is not needed.
        remember = bool(decoding.live) or any(
            len(response.uniforms) > 1 for each in joining for response in each
        )
        logits, cache = self._read(trees, token_budget, remember=remember)
        decoding.join(joining, frontier_of(trees), logits, cache)

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
        return torch.cat(logits), side_by_side(caches, self.model.config) if remember else None

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


class _TreeStream:
    """The stream of a `TreeReader`; see `hgpo.policies.streams`."""

    def __init__(self, reader: TreeReader, temperature: float, token_budget: int) -> None:
        self._reader, self._token_budget = reader, token_budget
        self._decoding = reader.decoding(temperature)
        self._waiting: deque[tuple[Response, tuple[int, ...]]] = deque()
        self._numbers: dict[Response, int] = {}
        self._next = itertools.count()

    def add(self, items: Sequence[Request[Choices]]) -> list[int]:
        numbers = []
        for request in items:
            restriction = None if request.choices is None else Restriction(request.choices)
            response = Response(request.uniforms, restriction)
            self._waiting.append((response, request.prompt))
            self._numbers[response] = next(self._next)
            numbers.append(self._numbers[response])
        return numbers

    @torch.no_grad()
    def advance(self) -> list[tuple[int, Drawn]]:
        self._read_waiting()
        ended = self._decoding.advance() if self._decoding.live else []
        return [(self._numbers.pop(response), response.drawn()) for response in ended]

    def _read_waiting(self) -> None:
        """Read prompts that wait, if they are enough, as many as the cache has room for."""
        live = len(self._decoding.live)
        if not self._waiting or len(self._waiting) < WORTH_READING * live:
            return
        room = self._reader.cache_limit(self._token_budget) - self._decoding.cached_tokens
        joining: list[tuple[Response, tuple[int, ...]]] = []
        while self._waiting and (room >= len(self._waiting[0][1]) or not (live or joining)):
            joining.append(self._waiting.popleft())
            room -= len(joining[-1][1])
        if joining:
            responses, prompts = zip(*joining, strict=True)
            self._reader.join(self._decoding, prompts, responses, self._token_budget)


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
