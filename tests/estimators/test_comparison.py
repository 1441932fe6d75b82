"""The groups that estimators report agree with their advantages."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from estimator_options import OPTIONS, any_estimator, full_rows
from hypothesis import given
from hypothesis import strategies as st
from own_estimator import SameStep
from tables import Rows, walks

from hgpo import ESTIMATORS, G2PO, GAGPO, GRPO, HBC, HGPO, PPO, GiGPO, GraphGPO, ReinforcePlusPlus, StepTable
from hgpo.estimators import Comparison, Estimator, Level
from hgpo.estimators.baseline import group_advantages
from hgpo.returns import Returns

EVERY: dict[str, st.SearchStrategy[Estimator]] = {
    **{name: any_estimator(name) for name in ESTIMATORS},
    "own": st.builds(SameStep),
}


def share_a_group(comparison: Comparison, rows: np.ndarray) -> np.ndarray:
    """Whether each row of the table shares a group with one of `rows`, at any level."""
    shares = np.zeros(len(comparison.returns), bool)
    for level in comparison.levels:
        shares |= np.isin(level.groups, level.groups[rows]) & (level.groups >= 0)
    return shares


def has_peer(levels: tuple[Level, ...]) -> np.ndarray:
    """Whether each row has a peer at one of the levels."""
    return np.any([level.peer_counts() > 0 for level in levels], axis=0) if levels else np.array(False)


def weights_by_the_batch(estimator: Estimator) -> bool:
    by_reliability = isinstance(estimator, HGPO) and estimator.level_weights == "reliability"
    return by_reliability or (isinstance(estimator, HBC) and estimator.weights == "estimated")


def with_noise(rows: Rows, seed: int) -> StepTable:
    """The table with rewards of which no two sums are equal."""
    rewards = np.random.default_rng(seed).normal(size=len(rows))
    return StepTable.from_rows([row | {"reward": r} for row, r in zip(rows, rewards, strict=True)])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_option_is_tried(name: str):
    sizes = {"epsilon"}
    assert {field.name for field in fields(ESTIMATORS[name])} - sizes == set(OPTIONS[name])


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data(), rows=full_rows())
def test_rewards_of_a_trajectory_reach_only_rows_that_share_a_group_with_it(name: str, data: Any, rows: Rows):
    estimator = data.draw(EVERY[name])
    row = data.draw(st.integers(0, len(rows) - 1))
    steps = StepTable.from_rows(rows)
    reward = steps.reward.copy()
    reward[row] += 7.0
    own = steps.trajectory_code == steps.trajectory_code[row]
    comparison = estimator.comparison(steps)
    reached = own | share_a_group(comparison, own)
    if comparison.pooled:
        # Through the value of a state rewards reach whoever comes to a state from which it can be reached.
        reached |= steps.task_code == steps.task_code[row]
    if weights_by_the_batch(estimator):
        # The weights of deeper levels come from the whole batch; they matter to rows with a peer there, or,
        # if returns are pooled, to rows from which one comes there.
        reached |= has_peer(comparison.levels if comparison.pooled else comparison.levels[1:])
    moved = ~np.isclose(estimator(steps.with_rewards(reward)), estimator(steps), atol=1e-9)
    assert not np.any(moved & ~reached)


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data(), rows=full_rows())
def test_a_row_without_peers_gets_what_its_trajectory_gets_alone(name: str, data: Any, rows: Rows):
    estimator = data.draw(EVERY[name])
    steps = StepTable.from_rows(rows)
    lonely = ~has_peer(estimator.comparison(steps).levels) & np.ones(len(rows), bool)
    advantages = estimator(steps)
    for trajectory in np.unique(steps.trajectory_code[lonely]):
        members = np.flatnonzero(steps.trajectory_code == trajectory)
        alone = estimator(StepTable.from_rows([rows[member] for member in members]))
        np.testing.assert_allclose(advantages[members][lonely[members]], alone[lonely[members]], atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data(), rows=full_rows(), seed=st.integers(0, 2**32 - 1))
def test_where_all_returns_differ_a_row_with_a_peer_has_an_advantage_and_no_other(
    name: str, data: Any, rows: Rows, seed: int
):
    estimator = data.draw(EVERY[name])
    steps = with_noise(rows, seed)
    levels = estimator.comparison(steps).levels
    nonzero = estimator(steps) != 0.0
    if isinstance(estimator, PPO) and not estimator.whiten:
        assert levels == ()  # the critic is the baseline
        return
    assert not np.any(nonzero & ~has_peer(levels))
    if isinstance(estimator, GraphGPO | GAGPO | G2PO):
        return  # whatever the rewards, distances may be equal, and V is R where no state comes twice
    if isinstance(estimator, ReinforcePlusPlus):
        levels = levels[:1]  # less the task's mean, the only row of a task is 0, the mean of the batch
    trajectory = steps.trajectory_code
    for level in levels:
        same_group = (level.groups[:, None] == level.groups) & (level.groups >= 0)
        met = np.any(same_group & (trajectory[:, None] != trajectory), axis=1)
        assert np.all(nonzero[met])
        assert np.all(level.peer_counts()[met] > 0)


@given(
    full_rows(),
    st.fixed_dictionaries(
        {
            "history_length": st.integers(0, 2),
            "alpha": st.sampled_from([0.0, 1.0]),
            "start_token": st.booleans(),
            "similarity": st.sampled_from([None, 0.9]),
            "peers": st.sampled_from(["all", "others", "other_trajectories"]),
            "invalid_penalty": st.sampled_from([0.0, 0.1]),
        }
    ),
)
def test_the_advantages_of_hgpo_follow_from_what_it_says(rows: Rows, options: dict[str, Any]):
    steps = StepTable.from_rows(rows)
    estimator = HGPO(**options)
    comparison = estimator.comparison(steps)
    weighted, total = np.zeros(len(rows)), np.zeros(len(rows))
    for number, level in enumerate(comparison.levels):
        advantages, counts = within(level, comparison.returns, ddof=0)
        weighted += (number + 1) ** estimator.alpha * advantages
        total += (number + 1) ** estimator.alpha * counts
    expected = weighted / np.where(total > 0, total, 1.0)
    np.testing.assert_allclose(estimator(steps), expected, atol=1e-9)


@given(full_rows(), st.sampled_from([None, 0.9]), st.sampled_from(["trajectories", "rows"]))
def test_the_advantages_of_gigpo_follow_from_what_it_says(
    rows: Rows, similarity: float | None, statistics: Any
):
    steps = StepTable.from_rows(rows)
    comparison = GiGPO(similarity=similarity, statistics=statistics).comparison(steps)
    episode, state = comparison.levels
    scores = GRPO().comparison(steps).returns  # the episode term compares whole trajectories
    expected = within(episode, scores, ddof=1)[0] + within(state, comparison.returns, ddof=1)[0]
    found = GiGPO(similarity=similarity, statistics=statistics)(steps)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def within(level: Level, returns: np.ndarray, ddof: Any) -> tuple[np.ndarray, np.ndarray]:
    """Advantages at one level, and whether it counts."""
    exact = Returns(returns, np.zeros(len(returns)))
    return group_advantages(exact, level, normalization="mean_std", epsilon=1e-6, ddof=ddof)


@given(full_rows(), st.sampled_from(["all", "others", "other_trajectories"]))
def test_peers_are_the_rows_of_the_group_outside_the_own_block(rows: Rows, peers: Any):
    steps = StepTable.from_rows(rows)
    for level in HGPO(history_length=1, peers=peers).comparison(steps).levels:
        same_group = (level.groups[:, None] == level.groups) & (level.groups >= 0)
        left_out = np.eye(len(rows), dtype=bool)
        if peers == "other_trajectories":
            left_out = steps.trajectory_code[:, None] == steps.trajectory_code
        assert level.peer_counts().tolist() == (same_group & ~left_out).sum(axis=1).tolist()


def test_returns_by_hand():
    # γ = 0.5: 1 + 0.5 · 2 and 2; whole trajectories 3 and 3; 0.1 less on the second row, which is invalid.
    steps = walks(("AB", [1.0, 2.0]), valid=[True, False])
    assert HGPO(discount=0.5, invalid_penalty=0.1).comparison(steps).returns.tolist() == [2.0, 1.9]
    assert GRPO(invalid_penalty=0.1).comparison(steps).returns.tolist() == [3.0, 2.9]
    # The critic says 4 and 1. λ = 0: 1 + 0.5 · 1, and 2 − 0.1.
    ppo = PPO(discount=0.5, gae_lambda=0.0, invalid_penalty=0.1)
    assert ppo.comparison(steps.with_values([4.0, 1.0])).returns.tolist() == [1.5, 1.9]


@given(full_rows(), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.1]))
def test_ppo_takes_the_value_off_its_return(rows: Rows, gae_lambda: float, penalty: float):
    steps = StepTable.from_rows(rows)
    estimator = PPO(gae_lambda=gae_lambda, whiten=False, invalid_penalty=penalty)
    assert steps.value is not None
    expected = estimator.comparison(steps).returns - steps.value
    np.testing.assert_allclose(estimator(steps), expected, atol=1e-12)
