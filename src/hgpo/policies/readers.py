"""Readers, which run a policy's model on token sequences: their protocol and what they have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgpo.policies.choices import Choices, padded
from hgpo.policies.distributions import logprobs_and_entropy, restricted_logprobs_and_entropy
from hgpo.policies.streams import AnsweredTogether, Request, Stream

Allowed = tuple[NDArray[np.int64], ...]
"""The tokens that each token of a restricted response was drawn from."""


@dataclass(frozen=True)
class SequenceScores:
    """The model's scores of given responses, rows × response tokens; 0 where a row has no token."""

    logprobs: Tensor
    """log π(token) of each response token, float32 [rows, tokens]."""
    entropy: Tensor
    """Entropy of the distribution each token was drawn from, in nats, [rows, tokens]."""
    mask: Tensor
    """True where there is a response token, [rows, tokens]."""


@dataclass(frozen=True)
class PackedBatch:
    """Prompts and responses of one forward pass; each reader adds the model's input."""

    members: NDArray[np.int64]
    """Indices of these pairs among those given to `Reader.packed_batches`."""
    responses: list[NDArray[np.int64]]
    """Token ids of each response."""
    read: int
    """Number of tokens in the forward pass, without padding."""
    padded: int
    """Number of tokens in the forward pass, including padding."""
    allowed: Tensor | None
    """For restricted responses, the tokens that each response token was drawn from, filled up with −1,
    [tokens of all responses in turn, most allowed]; None: the whole vocabulary."""


@dataclass(frozen=True)
class Drawn:
    """The tokens of one sampled response."""

    tokens: NDArray[np.int64]
    """Token ids, [tokens]."""
    logprobs: NDArray[np.float32]
    """log π of each, [tokens]."""
    allowed: Allowed | None = None
    """For a restricted response, the tokens that each was drawn from."""


DrawnStream = Stream[Request[Choices], Drawn]


class Reader(Protocol):
    """A model together with a way to process many sequences in few forward passes."""

    def forget(self) -> None:
        """Discard everything that is kept of earlier calls, so that it is computed again."""
        ...

    def draw(
        self,
        prompts: Sequence[tuple[int, ...]],
        uniforms: NDArray[np.float64],
        temperature: float,
        token_budget: int,
        choices: Sequence[Choices] | None = None,
    ) -> list[Drawn]:
        """One response per prompt, without gradient; see `Policy.generate` for the arguments.

        Args:
            prompts: token ids of each prompt.
            uniforms: random numbers in [0, 1), [prompts, max response tokens].
            temperature: temperature of the softmax.
            token_budget: largest number of tokens in one forward pass.
            choices: for each prompt, the responses to which sampling is restricted; None: any tokens.
        """
        ...

    @contextmanager
    def stream(self, temperature: float, token_budget: int) -> Iterator[DrawnStream]:
        """An empty stream of responses; here those that were added in the meantime are drawn in one call."""

        def draw(requests: Sequence[Request[Choices]]) -> list[Drawn]:
            choices = [request.choices for request in requests if request.choices is not None]
            return self.draw(
                [request.prompt for request in requests],
                np.stack([request.uniforms for request in requests]),
                temperature,
                token_budget,
                choices or None,
            )

        yield AnsweredTogether(draw)

    def packed_batches(
        self,
        prompts: Sequence[tuple[int, ...]],
        responses: Sequence[NDArray[np.int64]],
        token_budget: int,
        allowed: Sequence[Allowed] | None = None,
    ) -> Iterator[PackedBatch]:
        """The pairs of prompts and responses, divided into batches for one forward pass each.

        Args:
            prompts: token ids of each prompt.
            responses: token ids of each response, at least one token each.
            token_budget: largest number of tokens in one forward pass.
            allowed: for each restricted response, the tokens that each of its tokens was drawn from.
        """
        ...

    def score(self, packed: Any, temperature: float) -> SequenceScores:
        """Log-probabilities and entropies of the responses, differentiable; one forward pass.

        Args:
            packed: a batch from `packed_batches`.
            temperature: the temperature the responses were sampled with, above 0.
        """
        ...


def read_sequence(prompt: tuple[int, ...], response: NDArray[np.int64]) -> tuple[int, ...]:
    """The model's input to score a response: all tokens but the last, whose output is not needed."""
    return (*prompt, *response[:-1].tolist())


def response_mask(responses: Sequence[NDArray[np.int64]], device: torch.device) -> Tensor:
    """True where there is a response token; responses are aligned right, [rows, longest response]."""
    lengths = np.array([len(response) for response in responses])
    longest = int(lengths.max())
    return torch.from_numpy(np.arange(longest) >= longest - lengths[:, None]).to(device)


def allowed_of(
    allowed: Sequence[Allowed] | None, members: Sequence[int] | NDArray[np.int64]
) -> Tensor | None:
    """`PackedBatch.allowed` for these pairs."""
    return None if allowed is None else padded([allowed[member] for member in members])


def scores_of(packed: PackedBatch, logits: Tensor, outputs: Tensor, temperature: float) -> SequenceScores:
    """The scores of a batch's responses, computed from the model's outputs.

    Args:
        packed: the batch.
        logits: the model's outputs, [outputs, vocabulary].
        outputs: for the tokens of all responses in turn, the index of each token's output, [tokens].
        temperature: temperature of the softmax.
    """
    targets = torch.from_numpy(np.concatenate(packed.responses)).to(logits.device)
    if packed.allowed is None:
        logprobs, entropy = logprobs_and_entropy(logits, outputs, targets, temperature)
    else:
        allowed = packed.allowed.to(logits.device)
        logprobs, entropy = restricted_logprobs_and_entropy(logits, outputs, targets, allowed, temperature)
    mask = response_mask(packed.responses, logits.device)
    zeros = torch.zeros(mask.shape, device=logits.device)
    return SequenceScores(zeros.masked_scatter(mask, logprobs), zeros.masked_scatter(mask, entropy), mask)
