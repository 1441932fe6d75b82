"""The reader of small Llama models: it uses plain tensor operations and never computes an output twice.

The model's output for a prompt with the beginning of an answer is kept as long as the weights stay the same,
because the episodes of a group rollout often have the same prompts, at the same step and at later steps.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear, pad
from typing_extensions import override

from hgpo.policies.batching import split_by_length
from hgpo.policies.choices import Choices, Restriction, restricted
from hgpo.policies.distributions import log_softmax, sample
from hgpo.policies.llama import Llama
from hgpo.policies.readers import (
    Allowed,
    Drawn,
    PackedBatch,
    Reader,
    SequenceScores,
    allowed_of,
    read_sequence,
    response_mask,
    scores_of,
)

READ_AT_ONCE = 4096
"""Number of tokens in one forward pass; more do not fit into a core's cache."""
CALL_TOKENS = 250
"""The fixed cost of one more forward pass, expressed as a number of tokens."""
MOST_REMEMBERED = 2**26
"""Number of float32 values that are kept of earlier outputs: a quarter of a gigabyte."""


@dataclass(frozen=True)
class RowBatch(PackedBatch):
    """Prompts and responses as rows, padded on the right."""

    tokens: Tensor
    """Token ids, [rows, longest row]."""
    wanted: Tensor
    """The positions whose outputs score the response tokens, aligned right, [rows, longest response]."""


class LeanReader(Reader):
    """Computes outputs with a `Llama`."""

    def __init__(self, llama: Llama, ends: Collection[int]) -> None:
        """Take the model and the tokens that end a response."""
        self._llama, self._ends, self._memory = llama, list(ends), _Memory(llama)

    @override
    def forget(self) -> None:
        self._memory.forget()

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
        memory = self._memory
        memory.prepare(temperature)
        count, most = uniforms.shape
        tokens = np.empty((count, most), np.int64)
        logprobs = np.empty((count, most), np.float32)
        lengths = np.full(count, most)
        rows, nodes = np.arange(count), memory.prompts(prompts, token_budget)
        restrictions = None if choices is None else list(map(Restriction, choices))
        for place in range(most):
            distribution = memory.distributions(nodes)
            if restrictions is not None:
                allowed = [restrictions[row].after(tokens[row, :place]) for row in rows.tolist()]
                distribution = restricted(distribution, allowed)
            chosen = sample(distribution, torch.from_numpy(uniforms[rows, place]), greedy=temperature == 0)
            tokens[rows, place] = drawn = chosen.numpy()
            logprobs[rows, place] = distribution.gather(1, chosen[:, None])[:, 0].numpy()
            ended = np.isin(drawn, self._ends)
            lengths[rows[ended]] = place + 1
            rows, nodes, drawn = rows[~ended], nodes[~ended], drawn[~ended]
            if not len(rows) or place + 1 == most:
                break
            nodes = memory.continued(nodes, drawn, token_budget)
        return [
            Drawn(
                tokens[row, :length],
                logprobs[row, :length],
                None if restrictions is None else tuple(restrictions[row].allowed),
            )
            for row, length in enumerate(lengths.tolist())
        ]

    @override
    def packed_batches(
        self,
        prompts: Sequence[tuple[int, ...]],
        responses: Sequence[NDArray[np.int64]],
        token_budget: int,
        allowed: Sequence[Allowed] | None = None,
    ) -> Iterator[RowBatch]:
        sequences = list(map(read_sequence, prompts, responses))
        order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
        lengths = [len(sequences[number]) for number in order]
        for part in split_by_length(lengths, min(token_budget, READ_AT_ONCE), CALL_TOKENS):
            members = order[part.start : part.stop]
            read = [sequences[number] for number in members]
            answers = [responses[number] for number in members]
            longest = max(map(len, answers))
            ends = torch.tensor([[len(sequence)] for sequence in read])
            wanted = (ends + torch.arange(-longest, 0)).clamp(min=0)
            tokens = _padded(read)
            yield RowBatch(
                members=np.array(members),
                responses=answers,
                read=sum(map(len, read)),
                padded=tokens.numel(),
                allowed=allowed_of(allowed, members),
                tokens=tokens,
                wanted=wanted,
            )

    @override
    def score(self, packed: RowBatch, temperature: float) -> SequenceScores:
        weights = self._llama.weights()
        positions = torch.arange(packed.tokens.shape[1])[None]
        outputs, _ = self._llama.read(weights, packed.tokens, positions, wanted=packed.wanted)
        logits = linear(outputs[response_mask(packed.responses, outputs.device)], weights.head)
        return scores_of(packed, logits, torch.arange(len(logits)), temperature)


class _Memory:
    """A cache of the model's outputs for beginnings of answers, valid as long as its weights stay the same.

    Each beginning is a node: a prompt alone, or another node followed by one more token.
    """

    def __init__(self, llama: Llama) -> None:
        self._llama, self._weights = llama, llama.weights()
        self._basis: tuple[float, tuple[int, ...]] = (1.0, ())
        """The temperature, and the version of the weights, for which the cache is valid."""
        self._node_of_prompt: dict[tuple[int, ...], int] = {}
        self._node_behind: dict[tuple[int, int], int] = {}
        self._prompt_slots: list[range] = []
        """For each node, the rows with the keys and values of its prompt."""
        self._answer_slots: list[tuple[int, ...]] = []
        """For each node, the rows with the keys and values of its answer."""
        self._distributions = _Rows(len(self._weights.head))
        self._keys_values = [_Rows(2 * llama.key_heads * llama.head_size) for _ in self._weights.layers]

    def forget(self) -> None:
        """Remove all nodes. The memory is kept, because allocating it again takes longer than filling it."""
        self._basis = (1.0, ())
        for known in (self._node_of_prompt, self._node_behind, self._prompt_slots, self._answer_slots):
            known.clear()
        for rows in (self._distributions, *self._keys_values):
            rows.count = 0

    def prepare(self, temperature: float) -> None:
        """Clear the cache if the temperature or the model's weights have changed, or if it is full."""
        basis = (temperature, self._llama.version())
        kept = sum(rows.count * rows.width for rows in (self._distributions, *self._keys_values))
        if basis != self._basis or kept > MOST_REMEMBERED:
            self.forget()
            self._basis, self._weights = basis, self._llama.weights()

    def distributions(self, nodes: NDArray[np.int64]) -> Tensor:
        """Log-probabilities of the next token, [nodes, vocabulary]."""
        return self._distributions[torch.from_numpy(nodes)]

    def prompts(self, prompts: Sequence[tuple[int, ...]], token_budget: int) -> NDArray[np.int64]:
        """The node of each prompt."""
        new = sorted(set(prompts).difference(self._node_of_prompt), key=lambda prompt: (len(prompt), prompt))
        lengths = [len(prompt) for prompt in new]
        for part in split_by_length(lengths, min(token_budget, READ_AT_ONCE), CALL_TOKENS):
            self._read_prompts(new[part.start : part.stop])
        return np.array([self._node_of_prompt[prompt] for prompt in prompts])

    def continued(
        self, nodes: NDArray[np.int64], tokens: NDArray[np.int64], token_budget: int
    ) -> NDArray[np.int64]:
        """The node that follows each of these nodes, all of the same depth, with its next token."""
        steps = list(zip(nodes.tolist(), tokens.tolist(), strict=True))
        new = sorted(
            set(steps).difference(self._node_behind),
            key=lambda step: (len(self._prompt_slots[step[0]]), step),
        )
        lengths = [len(self._prompt_slots[node]) + len(self._answer_slots[node]) + 1 for node, _ in new]
        for part in split_by_length(lengths, token_budget, math.inf):
            self._read_answers(new[part.start : part.stop])
        return np.array([self._node_behind[step] for step in steps])

    def _read_prompts(self, prompts: Sequence[tuple[int, ...]]) -> None:
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        tokens = _padded(prompts)
        places = torch.arange(tokens.shape[1])
        outputs, keys_values = self._llama.read(
            self._weights, tokens, places[None], wanted=lengths[:, None] - 1
        )
        real = (places < lengths[:, None]).flatten().nonzero()[:, 0]
        slot = self._remember(outputs, [each.flatten(0, 1).index_select(0, real) for each in keys_values])
        for prompt in prompts:
            self._node_of_prompt[prompt] = len(self._prompt_slots)
            self._prompt_slots.append(range(slot, slot + len(prompt)))
            self._answer_slots.append(())
            slot += len(prompt)

    def _read_answers(self, steps: Sequence[tuple[int, int]]) -> None:
        prompts = [self._prompt_slots[node] for node, _ in steps]
        answers = [self._answer_slots[node] for node, _ in steps]
        starts, lengths = (
            torch.tensor([[number] for number in numbers])
            for numbers in ([prompt.start for prompt in prompts], [len(prompt) for prompt in prompts])
        )
        places = torch.arange(int(lengths.max()))
        own = torch.tensor(answers, dtype=torch.int64)
        slots = torch.cat([starts + torch.minimum(places, lengths - 1), own], dim=1)
        outputs, keys_values = self._llama.read(
            self._weights,
            torch.tensor([[token] for _, token in steps]),
            lengths + own.shape[1],
            past=[rows[slots] for rows in self._keys_values],
            seen=pad(places < lengths, (0, own.shape[1]), value=True),
        )
        slot = self._remember(outputs, [each[:, 0] for each in keys_values])
        for number, step in enumerate(steps):
            self._node_behind[step] = len(self._prompt_slots)
            self._prompt_slots.append(prompts[number])
            self._answer_slots.append((*answers[number], slot + number))

    def _remember(self, outputs: Tensor, keys_values: Sequence[Tensor]) -> int:
        """Store the outputs of new nodes, [nodes, 1, width], and keys and values; returns the first slot."""
        logits = linear(outputs[:, 0], self._weights.head)
        self._distributions.append(log_softmax(logits, self._basis[0]))
        slots = [rows.append(new) for rows, new in zip(self._keys_values, keys_values, strict=True)]
        return slots[0]


class _Rows:
    """A matrix to which rows can be appended."""

    def __init__(self, width: int) -> None:
        self.width, self.count = width, 0
        self._rows = torch.empty(0, width)

    def append(self, new: Tensor) -> int:
        """Append rows and return the index of the first of them."""
        first, self.count = self.count, self.count + len(new)
        if self.count > len(self._rows):
            grown = torch.empty(2 * self.count, self.width)
            grown[:first] = self._rows[:first]
            self._rows = grown
        self._rows[first : self.count] = new
        return first

    def __getitem__(self, numbers: Tensor) -> Tensor:
        """Copies of the rows with these indices, [*numbers, width]."""
        return self._rows.index_select(0, numbers.flatten()).unflatten(0, numbers.shape)


def _padded(sequences: Sequence[tuple[int, ...]]) -> Tensor:
    """Sequences padded on the right, [sequences, longest]; no token attends to the padding."""
    longest = max(map(len, sequences))
    return torch.tensor([sequence + (0,) * (longest - len(sequence)) for sequence in sequences])
