"""Signs of a policy collapse: answers that do not depend on their prompts, and metrics that fall in a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hgpo.policies.transformers import TransformersPolicy
from hgpo.steps import StepTable

WINDOW = 3
"""Number of iterations that are averaged for a comparison, because one iteration alone is too noisy."""


def answer_metrics(
    policy: TransformersPolicy,
    steps: StepTable,
    *,
    prompts: int,
    temperature: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """How much answers vary for a given prompt, and how much they depend on the prompt.

        answer_entropy      = −mean log π(z | x)                          an estimate of H(Z | X)
        answer_information  = mean_i [log π(z_i | x_i) − log (1/n) Σ_j π(z_i | x_j)]   of I(X; Z)

    The first is the mean over all rows, the second over n rows with distinct prompts x_i and their answers
    z_i; it is at most log n. Near 0, the policy gives the same answers to every prompt. The entropy does not
    show this: a policy may write many different texts for a prompt, but the same ones for all prompts.
    Source: arXiv 2604.06268 (RAGEN-2), whose proxy also scores the answers of a batch under each other's
    prompts.

    Args:
        policy: the policy that sampled the rows.
        steps: rows with prompts, responses and their log-probabilities.
        prompts: the largest n; 0 leaves out the second figure.
        temperature: the temperature the responses were sampled with.
        rng: draws the n rows.
    """
    assert steps.prompt_tokens is not None and steps.response_tokens is not None
    assert steps.response_logprobs is not None
    entropy = -float(np.mean([logprobs.sum(dtype=np.float64) for logprobs in steps.response_logprobs]))
    row_of_prompt = {steps.prompt_tokens[row].tobytes(): row for row in rng.permutation(len(steps))}
    rows = list(row_of_prompt.values())[:prompts]
    if len(rows) < 2:
        return {"answer_entropy": entropy}
    logprobs = _cross_logprobs(
        policy,
        [tuple(steps.prompt_tokens[row].tolist()) for row in rows],
        [steps.response_tokens[row] for row in rows],
        temperature,
    )
    return {"answer_entropy": entropy, "answer_information": information(logprobs)}


def information(logprobs: NDArray[np.float64]) -> float:
    """The mutual information of prompt and answer in nats, if all prompts are equally likely.

    Args:
        logprobs: log π(answer i | prompt j), shape (n, n); answer i was sampled for prompt i.
    """
    marginal = np.logaddexp.reduce(logprobs, axis=1) - math.log(len(logprobs))
    return float(np.mean(np.diagonal(logprobs) - marginal))


@torch.no_grad()
def _cross_logprobs(
    policy: TransformersPolicy,
    prompts: Sequence[tuple[int, ...]],
    responses: Sequence[NDArray[np.int64]],
    temperature: float,
) -> NDArray[np.float64]:
    """log π(response i | prompt j) for all i and j."""
    count = len(prompts)
    found = np.empty(count * count)
    pairs = policy.packed_batches(
        [prompt for _ in responses for prompt in prompts],
        [response for response in responses for _ in prompts],
    )
    for packed in pairs:
        found[packed.members] = policy.score(packed, temperature).logprobs.sum(dim=1).double().cpu().numpy()
    return found.reshape(count, count)


Window = Mapping[str, float]
"""Means of metrics over `WINDOW` iterations."""


@dataclass(frozen=True)
class Sign:
    """A sign of a collapse in the metrics of a run."""

    metrics: tuple[str, ...]
    """The metrics that it needs; it is not checked if one of them is missing."""
    holds: Callable[[Window, Window, Window], bool]
    """Whether the sign is present, given the first window, the highest value of each metric, and the latest
    window."""
    message: str
    """A format string that describes the sign by the highest and the latest values."""


def _no_better(first: Window, latest: Window) -> bool:
    return latest["success_rate"] <= first["success_rate"]


def _wins_less(first: Window, highest: Window, latest: Window) -> bool:
    # The difference of two rates, each of n trajectories, has a standard error of at most √(1 / 2n).
    noise = 3 * math.sqrt(0.5 / latest["trajectories"])
    return latest["success_rate"] < min(0.5 * highest["success_rate"], highest["success_rate"] - noise)


SIGNS: Mapping[str, Sign] = {
    "information": Sign(
        ("answer_information",),
        lambda first, highest, latest: latest["answer_information"] < 0.5 * highest["answer_information"],
        "answers depend less on their prompts (mutual information fell from "
        "{highest[answer_information]:.2f} to {latest[answer_information]:.2f} nats)",
    ),
    "validity": Sign(
        ("valid_action_rate", "success_rate"),
        lambda first, highest, latest: (
            latest["valid_action_rate"] < 0.75 * highest["valid_action_rate"] and _no_better(first, latest)
        ),
        "valid answers fell from {highest[valid_action_rate]:.0%} to {latest[valid_action_rate]:.0%}",
    ),
    "success": Sign(
        ("success_rate", "trajectories"),
        _wins_less,
        "success in training fell from {highest[success_rate]:.0%} to {latest[success_rate]:.0%}",
    ),
    "entropy": Sign(
        ("answer_entropy", "success_rate"),
        lambda first, highest, latest: (
            latest["answer_entropy"] < 0.1 * first["answer_entropy"] and _no_better(first, latest)
        ),
        "answers hardly vary (entropy {latest[answer_entropy]:.2f} nats), but success has not risen",
    ),
}
"""The signs of a collapse by name."""

WHAT_TO_DO = (
    "A lower --learning-rate, or larger --loss.kl-coefficient or --loss.entropy-coefficient, may help, in a "
    "new run; docs/metrics.md explains how these signs are computed"
)


class CollapseWatch:
    """Follows the metrics of a run and reports each sign of a collapse once."""

    def __init__(self) -> None:
        self._records: list[Mapping[str, float]] = []
        self._first: dict[str, float] = {}
        self._highest: dict[str, float] = {}
        self.seen: dict[str, str] = {}
        """The signs reported so far, each with its message."""

    def add(self, record: Mapping[str, float]) -> str | None:
        """Add the next iteration: returns a warning if it shows a new sign, else None.

        Args:
            record: the iteration's metrics.
        """
        trajectories = WINDOW * record["environment_steps"] / record["steps_mean"]
        self._records = [*self._records, {**record, "trajectories": trajectories}][-WINDOW:]
        if len(self._records) < WINDOW:
            return None
        watched = {name for sign in SIGNS.values() for name in sign.metrics}
        latest = {
            name: float(np.mean([each[name] for each in self._records]))
            for name in watched
            if all(name in each for each in self._records)
        }
        self._first = {**latest, **self._first}
        self._highest = {name: max(value, self._highest.get(name, value)) for name, value in latest.items()}
        new = {
            name: sign.message.format(highest=self._highest, latest=latest)
            for name, sign in SIGNS.items()
            if name not in self.seen
            and latest.keys() >= set(sign.metrics)
            and sign.holds(self._first, self._highest, latest)
        }
        self.seen |= new
        if not new:
            return None
        return f"WARNING: signs of a collapse: {'; '.join(new.values())}. {WHAT_TO_DO}"
