"""What an agent may return, and the trajectory that it makes of the calls."""

from __future__ import annotations

import numpy as np
import pytest

from hgpo.envs.base import Task
from hgpo.gateway import Result
from hgpo.gateway.results import Call, trajectory_of
from hgpo.policies.answers import Answer
from hgpo.policies.base import Completion
from hgpo.rollouts.episodes import Failure

TASK = Task("t", "task", "", None)


def calls(count, branch="b"):
    completion = Completion.of_answer(Answer("ok"))
    return [Call((1,), completion, f"saw {i}", f"{branch} {i}", "ok") for i in range(count)]


def made(outcome, **counts):
    recorded = {"" if name == "main" else name: calls(count, name) for name, count in counts.items()}
    return trajectory_of(TASK, 0, 0, recorded, outcome)


@pytest.mark.parametrize(
    "outcome, rewards, won",
    [
        (2.0, [0, 0, 2], True),
        (True, [0, 0, 1], True),
        (0, [0, 0, 0], False),
        (np.float32(0.5), [0, 0, 0.5], True),
        ([1, 0, -2], [1, 0, -2], False),
        ((1, 2, 3), [1, 2, 3], True),
        (np.array([0.5, 0, 0]), [0.5, 0, 0], True),
        (Result(1.0, won=False), [0, 0, 1], False),
        ({"": [0, 1, 0]}, [0, 1, 0], True),
    ],
)
def test_a_result_is_a_reward_or_a_reward_per_request(outcome, rewards, won):
    trajectory = made(outcome, main=3)
    assert trajectory.failure is None
    assert trajectory.rewards == rewards
    assert trajectory.won == won
    assert [step.before.info.state_key for step in trajectory.steps] == ["main 0", "main 1", "main 2"]
    assert [step.after.observation for step in trajectory.steps] == ["saw 1", "saw 2", ""]
    assert [step.after.terminated for step in trajectory.steps] == [False, False, True]


def test_state_keys_and_validity_may_be_reported():
    trajectory = made(([1, 2], ["a", ("b", 3)]), main=2)
    assert [step.before.info.state_key for step in trajectory.steps] == ["a", ("b", 3)]
    trajectory = made(Result([1, 2], valid=[False, True], score=0.5), main=2)
    assert [step.decision.action.valid for step in trajectory.steps] == [False, True]
    assert trajectory.score == 0.5


@pytest.mark.parametrize(
    "outcome, words",
    [
        (None, "it returned no reward"),
        (float("nan"), "reward nan is not a finite number"),
        (np.inf, "reward inf is not"),
        ("win", "'win'"),
        ([1.0], "it gave 1 rewards for 2 requests"),
        ([1.0, None], "reward None is not"),
        ((1.0, ["a"]), "it gave 1 state keys for 2 requests"),
        ((1.0, [["a"], "b"]), "a state key is a list that cannot be hashed"),
        ((1.0, ["a", None]), "a state key is None"),
        ((1.0, "ab"), "it gave 'ab' as state keys"),
        ({"other": [1, 2]}, "branches ['other'], but its requests name ['']"),
        (object(), "as rewards"),
        (Failure("agent", "it raised"), "it raised"),
    ],
)
def test_an_unusable_result_loses_the_episode_and_says_why(outcome, words):
    trajectory = made(outcome, main=2)
    assert trajectory.failure is not None and words in str(trajectory.failure)
    assert not trajectory.won and len(trajectory.steps) == 2 and trajectory.total_reward == 0


def test_each_branch_gets_the_reward_at_its_last_step():
    trajectory = made(1.0, main=2, search=1)
    assert trajectory.rewards == [0, 1]
    assert [step.after.reward for step in trajectory.branches["search"]] == [1]


def test_lists_of_an_agent_with_branches_are_given_by_branch():
    lost = made([1.0, 2.0], main=2, search=1)
    assert "its requests name the branches '', 'search'" in str(lost.failure)
    trajectory = made(
        Result({"": [1, 2], "search": [3]}, {"": ["a", "b"], "search": ["c"]}), main=2, search=1
    )
    assert trajectory.rewards == [1, 2]
    (step,) = trajectory.branches["search"]
    assert (step.after.reward, step.before.info.state_key) == (3, "c")


def test_an_agent_without_requests_in_its_own_name_is_its_first_branch():
    trajectory = made({"b": [1], "c": [2]}, b=1, c=1)
    assert trajectory.rewards == [1] and list(trajectory.branches) == ["c"]
