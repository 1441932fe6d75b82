"""The metrics of groups in verl agree with the rows that the estimator compares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from verl_rows import row

from hgpo.adapters.step_records import step_table
from hgpo.adapters.verl.advantages import advantage_context, stepwise_advantages
from hgpo.adapters.verl.diagnostics import diagnostics
from hgpo.adapters.verl.rows import StepRow
from hgpo.estimators import GRPO, HGPO, Estimator

pytestmark = pytest.mark.filterwarnings("ignore")  # verl, where it is installed, warns of missing engines

TOKENS: dict[str, Any] = {"prompt_tokens": [[1], [2]], "response_tokens": [[3], [3]]}


def two_rollouts(*rewards: float, near: bool) -> list[StepRow]:
    """Trajectories of one step: all in one state, or each in a separate state with a similar observation."""
    return [
        row(
            *("t", rollout),
            state_key=rollout if near else 0,
            observation=f"a corridor with {12 + rollout if near else 12} doors",
            reward=reward,
            total=reward,
        )
        for rollout, reward in enumerate(rewards)
    ]


def figures(rows: list[StepRow], estimator: Estimator) -> dict[str, float]:
    steps = step_table(rows, **TOKENS)
    return diagnostics(rows, steps, estimator(steps), estimator, tried=len(rows))


def test_near_states_are_peers_where_the_estimator_compares_them():
    rows = two_rollouts(1.0, 0.0, near=True)
    exact = figures(rows, HGPO(history_length=0))
    assert (exact["hgpo/peer_fraction_0"], exact["hgpo/groups_0"], exact["hgpo/zero_advantage_fraction"]) == (
        0,
        2,
        1,
    )
    near = figures(rows, HGPO(history_length=0, similarity=0.9))
    assert (near["hgpo/peer_fraction_0"], near["hgpo/groups_0"], near["hgpo/zero_advantage_fraction"]) == (
        1,
        1,
        0,
    )


def test_the_levels_are_those_of_the_estimator():
    found = figures(two_rollouts(1.0, 0.0, near=True), GRPO())
    assert found["hgpo/peer_fraction_episode"] == 1.0
    assert not [name for name in found if name.endswith("_0")]


def test_the_figures_are_of_the_rewards_that_the_estimator_has_read():
    # Equal scores in one state, but verl takes a penalty of 0.5 off the second: returns 1 and ½.
    rows = two_rollouts(1.0, 1.0, near=False)
    context = advantage_context(rows, np.arange(2), **TOKENS)
    settings = {"stepwise": {"hgpo": {"history_length": 0}}}
    stepwise_advantages("stepwise_hgpo", settings, context, torch.tensor([[1.0], [0.5]]), torch.ones(2, 1))
    assert context.read is not None and context.advantages is not None
    found = diagnostics(rows, context.read, context.advantages, HGPO(history_length=0), tried=2)
    assert found["hgpo/zero_advantage_fraction"] == found["hgpo/level_zero_share_0"] == 0.0
    # What is written to files keeps the rewards of the games.
    assert context.steps.reward.tolist() == [1.0, 1.0]
