"""The interface of policies, which map prompts to completions with log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from hgpo.policies.answers import Answer
from hgpo.policies.streams import Request, Stream


@dataclass(frozen=True)
class Completion:
    """One sampled response."""

    tokens: np.ndarray
    """Token ids, int64 [tokens], including the end-of-sequence token if it was reached."""
    logprobs: np.ndarray
    """log π(token | prompt, earlier tokens), float32 [tokens], at the sampling temperature."""
    answer: Answer
    """The response as text, including the part that the prompt had begun."""
    allowed: tuple[np.ndarray, ...] | None = None
    """For a restricted response, the tokens that each token was drawn from; None: the whole vocabulary."""

    @classmethod
    def of_answer(cls, answer: Answer) -> Completion:
        """A response of which only the text is known, not the tokens."""
        return cls(np.empty(0, np.int64), np.empty(0, np.float32), answer)


class Policy(Protocol):
    """A language model, as rollouts use it."""

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each text."""
        ...

    def generate(
        self, prompts: Sequence[tuple[int, ...]], uniforms: np.ndarray, temperature: float
    ) -> list[Completion]:
        """One completion per prompt, in the prompts' order.

        Args:
            prompts: token ids of each prompt.
            uniforms: [prompts, max response tokens] numbers in [0, 1): the only source of randomness. Token
                j of row i is the first token with a cumulative probability above uniforms[i, j], so that a
                row's completion does not depend on the other rows.
            temperature: temperature of the softmax; 0 takes the most likely token.
        """
        ...


@runtime_checkable
class RestrictablePolicy(Policy, Protocol):
    """A policy whose responses can be restricted to a list."""

    def generate_among(
        self,
        prompts: Sequence[tuple[int, ...]],
        uniforms: np.ndarray,
        temperature: float,
        choices: Sequence[tuple[str, ...]],
    ) -> list[Completion]:
        """One completion per prompt, each one of the responses that are listed for it.

        Args:
            prompts, uniforms, temperature: as in `generate`; the softmax runs over the tokens that continue a
                listed response (see `hgpo.policies.choices`).
            choices: for each prompt, its responses.
        """
        ...


CompletionStream = Stream[Request[tuple[str, ...]], Completion]


@runtime_checkable
class StreamingPolicy(Policy, Protocol):
    """A policy that can begin a completion while it is writing others."""

    def stream(self, temperature: float) -> AbstractContextManager[CompletionStream]:
        """An empty stream of completions, each as `generate` or `generate_among` would write it."""
        ...
