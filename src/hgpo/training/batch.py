"""The batch of an update: equal rows are merged, and rows with advantage 0 are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.policies.tokens import ChatTokenizer
from hgpo.rollouts.prompts import action_span
from hgpo.steps import StepTable


@dataclass(frozen=True)
class UpdateBatch:
    """The distinct (prompt, response) pairs of an iteration, each with the sums over its rows.

    It contains only rows with an advantage other than 0.
    """

    prompts: tuple[tuple[int, ...], ...]
    """Token ids of each prompt."""
    responses: tuple[NDArray[np.int64], ...]
    """Token ids of each response."""
    old_logprobs: tuple[NDArray[np.float64], ...]
    """log π_old of each response token."""
    positive: NDArray[np.float64]
    """Σ max(A, 0) over the pair's rows."""
    negative: NDArray[np.float64]
    """Σ max(−A, 0) over the pair's rows: a magnitude."""
    positive_rows: NDArray[np.int64]
    """Number of the pair's rows with A > 0."""
    negative_rows: NDArray[np.int64]
    """Number of the pair's rows with A < 0."""
    action: tuple[NDArray[np.bool_], ...]
    """Whether each response token belongs to the action."""
    total_tokens: int
    """Number of response tokens in all rows of the iteration, including rows with advantage 0."""
    total_rows: int
    """Number of all rows of the iteration. The loss's denominator is computed from these two numbers."""
    allowed: tuple[tuple[NDArray[np.int64], ...], ...] | None = None
    """For restricted responses, the tokens that each response token was drawn from."""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def count(self) -> NDArray[np.int64]:
        """Number of rows of each pair."""
        return self.positive_rows + self.negative_rows

    def take(self, pairs: Sequence[int] | NDArray[np.int64]) -> UpdateBatch:
        """A batch with some of the pairs."""
        return UpdateBatch(
            prompts=tuple(self.prompts[i] for i in pairs),
            responses=tuple(self.responses[i] for i in pairs),
            old_logprobs=tuple(self.old_logprobs[i] for i in pairs),
            positive=self.positive[pairs],
            negative=self.negative[pairs],
            positive_rows=self.positive_rows[pairs],
            negative_rows=self.negative_rows[pairs],
            action=tuple(self.action[i] for i in pairs),
            allowed=None if self.allowed is None else tuple(self.allowed[i] for i in pairs),
            total_tokens=self.total_tokens,
            total_rows=self.total_rows,
        )


def merge_rows(steps: StepTable, advantages: NDArray[np.float64], *, merge: bool = True) -> UpdateBatch:
    """The rows of a table as distinct (prompt, response) pairs.

    Rows with the same prompt and response have the same probability ratio, and the clipped objective is
    linear in the advantage for each sign. Two sums, one per sign, therefore give the pair's exact loss:

        Σ_i loss(ratio, A_i) = loss(ratio, 1) Σ_i max(A_i, 0) + loss(ratio, −1) Σ_i max(−A_i, 0)

    Args:
        steps: rows with prompt_tokens, response_tokens and response_logprobs.
        advantages: advantage of each row, [rows].
        merge: if False, each row remains a separate pair: the same gradient at a higher cost.

    Returns:
        The pairs in the order of their first rows, without the rows with advantage 0. The whole response
        counts as the action.
    """
    if steps.prompt_tokens is None or steps.response_tokens is None or steps.response_logprobs is None:
        raise ValueError("the table has no tokens: give prompt_tokens, response_tokens and response_logprobs")
    pair_of: dict[Any, int] = {}
    rows = np.flatnonzero(advantages)
    pairs = np.empty(len(rows), dtype=np.int64)
    first: list[int] = []
    for i, row in enumerate(rows):
        prompt, response = steps.prompt_tokens[row].tobytes(), steps.response_tokens[row].tobytes()
        key = (prompt, response) if merge else row
        pairs[i] = pair_of.setdefault(key, len(pair_of))
        if pairs[i] == len(first):
            first.append(int(row))
    kept = advantages[rows]
    return UpdateBatch(
        prompts=tuple(tuple(steps.prompt_tokens[row].tolist()) for row in first),
        responses=tuple(steps.response_tokens[row] for row in first),
        old_logprobs=tuple(steps.response_logprobs[row] for row in first),
        positive=np.bincount(pairs, np.maximum(kept, 0), len(first)).astype(np.float64),
        negative=np.bincount(pairs, np.maximum(-kept, 0), len(first)).astype(np.float64),
        positive_rows=np.bincount(pairs[kept > 0], minlength=len(first)),
        negative_rows=np.bincount(pairs[kept < 0], minlength=len(first)),
        action=tuple(np.ones(len(steps.response_tokens[row]), dtype=np.bool_) for row in first),
        allowed=None
        if steps.response_allowed is None
        else tuple(steps.response_allowed[row] for row in first),
        total_tokens=sum(len(response) for response in steps.response_tokens),
        total_rows=len(steps),
    )


def with_actions(batch: UpdateBatch, tokenizer: ChatTokenizer) -> UpdateBatch:
    """The batch with the tokens between the action tags as each response's action.

    In a response without a pair of tags, the whole response remains the action.

    Args:
        batch: merged rows.
        tokenizer: the tokenizer of the policy that wrote the responses.
    """
    found: dict[bytes, NDArray[np.bool_]] = {}
    for response, whole in zip(batch.responses, batch.action, strict=True):
        if response.tobytes() not in found:
            (written,) = tokenizer.decode([response])
            span = action_span(written)
            found[response.tobytes()] = whole if span is None else tokenizer.tokens_of(response, span)
    return replace(batch, action=tuple(found[response.tobytes()] for response in batch.responses))


def subsample(advantages: NDArray[np.float64], below: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """An unbiased subsample: most small advantages are set to 0, and the remaining small ones are enlarged.

        A' = A / p with probability p, else 0;  p = min(1, |A| / below)

    A row with a small advantage takes as much time in the update as one with a large advantage, and a row
    with advantage 0 takes none. The loss is linear in the advantage for each sign, so its expected gradient
    does not change. The divergence and the entropy bonus are computed only from the rows that are kept.

    Args:
        advantages: advantage of each row, [rows].
        below: advantages of this magnitude and above are not changed; with 0 none is changed.
        rng: draws the rows that are kept.
    """
    magnitudes = np.abs(advantages)
    small = magnitudes < below
    kept = rng.random(len(advantages)) * below < magnitudes
    return np.where(small, np.sign(advantages) * below * kept, advantages)


def mini_batches(batch: UpdateBatch, count: int, rng: np.random.Generator) -> list[UpdateBatch]:
    """The batch divided at random into `count` mini-batches of nearly equal size, one optimizer step each.

    If there are fewer pairs than `count`, each pair is a mini-batch.
    """
    order = rng.permutation(len(batch))
    return [batch.take(part) for part in np.array_split(order, count) if len(part)]
