"""Rows with few distinct prompts and responses, as an update merges them, and a small policy for them."""

from __future__ import annotations

import numpy as np

from hgpo import StepTable
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy
from hgpo.policies.tree_reader import TreeReader

TEXTS = ["a b c d e f g h i j"]


def table(rng, rows=40, kinds=5):
    """Rows with few distinct prompts and responses of one to three tokens."""
    prompts = [tuple(rng.integers(3, 10, rng.integers(2, 6)).tolist()) for _ in range(kinds)]
    responses = [rng.integers(3, 10, rng.integers(1, 4)) for _ in range(kinds)]
    which = rng.integers(0, kinds, (rows, 2))
    return StepTable(
        task_id=["task"] * rows,
        trajectory_id=list(range(rows)),
        step_index=[0] * rows,
        state_key=["state"] * rows,
        reward=[0.0] * rows,
        prompt_tokens=[prompts[i] for i, _ in which],
        response_tokens=[responses[j] for _, j in which],
        response_logprobs=[np.full(len(responses[j]), -2.0 - 0.1 * i) for i, j in which],
    )


def policy(seed=0):
    return create_policy(TEXTS, TinyModel(8, 1, 2), max_tokens=32, max_commands=1, seed=seed)


def reading_trees(policy):
    """The policy with the reader that larger models have."""
    policy.reader = TreeReader(policy.model, policy.model, policy.compute, policy.chat.ends, 0)
    return policy
