"""Credit that contradicts its comparisons or the success of rollouts, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tables import walks

from hgpo import GRPO, HBC, HGPO, RLOO, GiGPO, StepTable
from hgpo.analysis.credit import against_comparison, misordered_pairs

ESTIMATORS = [HGPO(), HGPO(peers="other_trajectories"), GiGPO(), GRPO(), RLOO(), HGPO(discount=0.5)]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_an_estimator_s_own_advantages_agree_with_its_comparisons(estimator):
    steps = walks(("ABC", [0.0, 1.0, 3.0]), ("ABD", [0.0, 0.0, 0.5]), ("BA", [1.0, 0.0]), ("AA", [0.0, 0.2]))
    advantages = estimator(steps)
    comparison = estimator.comparison(steps)
    assert not against_comparison(steps, comparison, advantages).any()
    # With the other sign, rows contradict all their comparisons unless their levels disagree.
    flipped = against_comparison(steps, comparison, -advantages)
    assert flipped[advantages != 0].mean() > 0.7 and not flipped[advantages == 0].any()


def test_a_row_contradicts_its_comparisons_only_if_it_contradicts_all():
    # In A, returns 2, 0 and 4: the mean is 2. Level 1 compares rows with the same state before: B A with 4 and 0.
    steps = walks(("A", [2.0]), ("BA", [0.0, 0.0]), ("BA", [0.0, 4.0]))
    comparison = HGPO(history_length=1, discount=1.0).comparison(steps)
    in_a = np.flatnonzero(steps.state_key == "A")

    def found(*advantages: float) -> list[bool]:
        every = np.zeros(len(steps))
        every[in_a] = advantages
        return against_comparison(steps, comparison, every)[in_a].tolist()

    # The first is equal to its mean: no sign contradicts that.
    assert found(1.0, -1.0, 1.0) == [False, False, False]
    assert found(-1.0, 1.0, -1.0) == [False, True, True]


def test_whole_trajectories_are_compared_by_their_sums_too():
    # Returns to go in A: 0 after the reward and 2 before; the trajectories' sums are 5 and 2. GiGPO compares sums,
    # so an advantage above 0 in A, where the return to go is the lower one, is no contradiction.
    steps = walks(("BA", [5.0, 0.0]), ("A", [2.0]))
    comparison = GiGPO().comparison(steps)
    row = int(np.flatnonzero((steps.state_key == "A") & (steps.step_index == 1))[0])
    advantages = np.zeros(len(steps))
    advantages[row] = 1.0
    assert not against_comparison(steps, comparison, advantages)[row]


def test_pooled_returns_are_not_judged():
    steps = StepTable(
        task_id=["t"] * 4,
        trajectory_id=list("xxyy"),
        step_index=[0, 1, 0, 1],
        state_key=list("ABAC"),
        action=["left", "stop", "right", "stop"],
        reward=[0.0, 1.0, 0.0, 0.0],
    )
    assert HBC()(steps).any()
    assert not against_comparison(steps, HBC().comparison(steps), -HBC()(steps)).any()


def test_pairs_of_a_won_and_a_lost_rollout():
    # Task 0: won 3 and 1, lost 2: of two pairs one is misordered. Task 1: won 0, lost 0: a tie, half a pair.
    # Task 2: nobody won.
    task = np.array([0, 0, 0, 1, 1, 2, 2])
    won = np.array([True, True, False, True, False, False, False])
    credit = np.array([3.0, 1.0, 2.0, 0.0, 0.0, 5.0, 6.0])
    pairs, misordered = misordered_pairs(task, won, credit)
    assert pairs.tolist() == [2, 1, 0]
    assert misordered.tolist() == [1, 0, 0]
    assert [counts.tolist() for counts in misordered_pairs(task, ~won, credit)] == [[2, 1, 0], [1, 0, 0]]


def test_misordered_pairs_are_those_that_a_loop_counts():
    rng = np.random.default_rng(0)
    task, won = rng.integers(0, 4, 60), rng.integers(0, 2, 60) > 0
    credit = rng.normal(size=60)
    pairs, misordered = misordered_pairs(task, won, credit)
    for number in range(4):
        winners, losers = credit[(task == number) & won], credit[(task == number) & ~won]
        assert pairs[number] == len(winners) * len(losers)
        assert misordered[number] == sum(lost > win for win in winners for lost in losers)
