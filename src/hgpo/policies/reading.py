"""How a policy's model reads token sequences: what every way of reading has in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgpo.policies.distributions import logprobs_and_entropy


@dataclass(frozen=True)
class SequenceScores:
    """What the model says of given responses; rows × response tokens, zeros beyond each response's end."""

    logprobs: Tensor
    """log π(token), float32 [rows, tokens]."""
    entropy: Tensor
    """Entropy of the distribution each token was drawn from, in nats, [rows, tokens]."""
    mask: Tensor
    """True where there is a response token, [rows, tokens]."""


@dataclass(frozen=True)
class PackedBatch:
    """Prompts and responses as one forward pass reads them; each reader adds the model's input."""

    members: NDArray[np.int64]
    """Which of the pairs that were asked for these are."""
    responses: list[NDArray[np.int64]]
    """Token ids of each response."""
    read: int
    """Tokens that are read."""
    padded: int
    """The same with padding."""


@dataclass(frozen=True)
class Drawn:
    """The tokens of one sampled response."""

    tokens: NDArray[np.int64]
    """Token ids, [tokens]."""
    logprobs: NDArray[np.float32]
    """log π of each, [tokens]."""


class Reader(Protocol):
    """A model with a way to read for it: many sequences in few forward passes."""

    def forget(self) -> None:
        """Read everything again from now on, where something is kept of what was read."""
        ...

    def draw(
        self,
        prompts: Sequence[tuple[int, ...]],
        uniforms: NDArray[np.float64],
        temperature: float,
        token_budget: int,
    ) -> list[Drawn]:
        """One response per prompt, without gradient; see `Policy.generate` for the arguments.

        Args:
            prompts: token ids of each prompt.
            uniforms: [prompts, max response tokens].
            temperature: of the softmax.
            token_budget: most tokens of one forward pass.
        """
        ...

    def packed_batches(
        self,
        prompts: Sequence[tuple[int, ...]],
        responses: Sequence[NDArray[np.int64]],
        token_budget: int,
    ) -> Iterator[PackedBatch]:
        """The pairs of prompts and responses in parts, each of which one forward pass scores.

        Args:
            prompts: token ids of each prompt.
            responses: token ids of each response, one or more.
            token_budget: most tokens of one forward pass.
        """
        ...

    def score(self, packed: Any, temperature: float) -> SequenceScores:
        """Log-probabilities and entropies of the responses, differentiable; one forward pass.

        Args:
            packed: what `packed_batches` gave.
            temperature: the temperature the responses were sampled with, above 0.
        """
        ...


def read_sequence(prompt: tuple[int, ...], response: NDArray[np.int64]) -> tuple[int, ...]:
    """What is read to score a response: a token is scored where the one before it is, so not the last one."""
    return (*prompt, *response[:-1].tolist())


def response_mask(responses: Sequence[NDArray[np.int64]], device: torch.device) -> Tensor:
    """True where there is a response token, each response at the right end of its row, [rows, longest]."""
    lengths = np.array([len(response) for response in responses])
    longest = int(lengths.max())
    return torch.from_numpy(np.arange(longest) >= longest - lengths[:, None]).to(device)


def scores_of(
    logits: Tensor, outputs: Tensor, responses: Sequence[NDArray[np.int64]], temperature: float
) -> SequenceScores:
    """What the model says of responses, from its outputs.

    Args:
        logits: [outputs, vocabulary].
        outputs: of each response token in turn, which of the outputs is its own, [tokens].
        responses: token ids of each response.
        temperature: of the softmax.
    """
    targets = torch.from_numpy(np.concatenate(responses)).to(logits.device)
    logprobs, entropy = logprobs_and_entropy(logits, outputs, targets, temperature)
    mask = response_mask(responses, logits.device)
    zeros = torch.zeros(mask.shape, device=logits.device)
    return SequenceScores(zeros.masked_scatter(mask, logprobs), zeros.masked_scatter(mask, entropy), mask)
