"""The Tinker SDK: a policy that samples by it, and steps as its data, with one advantage per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tinker
from numpy.typing import NDArray

from hgpo.adapters.versions import supported_version
from hgpo.policies.base import Completion
from hgpo.policies.tokens import ChatTokenizer
from hgpo.steps import StepTable


@dataclass
class TinkerPolicy:
    """Samples with the weights of a sampling client; a `hgpo.policies.base.Policy`."""

    chat: ChatTokenizer
    """The model's tokenizer."""
    client: Any
    """A `tinker.SamplingClient`."""

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each prompt."""
        return self.chat.encode(texts)

    def generate(
        self, prompts: Sequence[tuple[int, ...]], uniforms: np.ndarray, temperature: float
    ) -> list[Completion]:
        """One completion per prompt; all requests wait for their answers at the same time.

        Args:
            prompts, temperature: as in `Policy.generate`.
            uniforms: their width is the largest number of tokens, and each row gives the seed of its request.
        """
        waiting = []
        for prompt, numbers in zip(prompts, uniforms, strict=True):
            sampling = tinker.SamplingParams(
                max_tokens=len(numbers), temperature=temperature, seed=int(numbers[0] * 2**31)
            )
            waiting.append(self.client.sample(tinker.ModelInput.from_ints(list(prompt)), 1, sampling))
        sequences = [each.result().sequences[0] for each in waiting]
        answers = self.chat.answers([each.tokens for each in sequences])
        return [
            Completion(np.array(each.tokens), np.array(each.logprobs, np.float32), answer)
            for each, answer in zip(sequences, answers, strict=True)
        ]


def step_datums(steps: StepTable, advantages: NDArray[np.float64]) -> list[tinker.Datum]:
    """One datum per step, for the losses importance_sampling, ppo and cispo.

    The input is prompt and response without the last token; position j predicts token j + 1. The tokens of
    the response have the step's advantage and their log-probabilities under the policy that sampled them;
    the tokens of the prompt have 0.

    Args:
        steps: a table with `prompt_tokens`, `response_tokens` and `response_logprobs`.
        advantages: Shape (rows,), one per step.

    Returns:
        The data of the steps with a response, in the order of the table.

    Raises:
        ValueError: if the table lacks one of these columns, a prompt is empty, or the version of the SDK is
            not supported.
    """
    supported_version("tinker")
    columns = (steps.prompt_tokens, steps.response_tokens, steps.response_logprobs)
    if any(column is None for column in columns):
        raise ValueError("step_datums needs the columns prompt_tokens, response_tokens and response_logprobs")
    rows: Any = zip(*columns, advantages.tolist(), strict=True)  # pyright: ignore[reportArgumentType]
    return [
        _datum(prompt, response, logprobs, advantage, row)
        for row, (prompt, response, logprobs, advantage) in enumerate(rows)
        if len(response)
    ]


def _datum(
    prompt: NDArray[np.int64],
    response: NDArray[np.int64],
    logprobs: NDArray[np.float64],
    advantage: float,
    row: int,
) -> tinker.Datum:
    if not len(prompt):
        raise ValueError(f"row {row}: the prompt is empty, so nothing predicts the response's first token")
    tokens = np.concatenate([prompt, response])
    of_response = np.arange(1, len(tokens)) >= len(prompt)
    known = np.zeros(len(tokens) - 1, np.float32)
    known[of_response] = logprobs
    inputs: Any = {
        "target_tokens": tokens[1:],
        "logprobs": known,
        "advantages": np.where(of_response, advantage, 0.0).astype(np.float32),
    }
    return tinker.Datum(tinker.ModelInput.from_ints(tokens[:-1].tolist()), inputs)
