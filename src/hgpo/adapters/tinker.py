"""Steps as data of the Tinker SDK, with one advantage per token."""

from __future__ import annotations

from typing import Any

import numpy as np
import tinker
from numpy.typing import NDArray

from hgpo.adapters.versions import supported_version
from hgpo.steps import StepTable


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
