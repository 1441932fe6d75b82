"""DAPO's settings: dynamic sampling, clip-higher, overlong shaping. (Its token-level loss: test_update.)"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import toy_task

from hgpo import StepTable
from hgpo.envs.base import Info
from hgpo.envs.episode import TimeStep
from hgpo.policies.answers import Answer
from hgpo.policies.base import Completion
from hgpo.rollouts.dynamic_sampling import sample_groups
from hgpo.rollouts.episodes import Decision, Step, Trajectory
from hgpo.rollouts.prompts import Action
from hgpo.training.losses import PolicyLoss
from hgpo.training.reward_shaping import OverlongShaping


def step(reward: float) -> Step:
    """A step that ends its episode."""
    completion = Completion(np.array([1]), np.array([0.0]), Answer(""))
    return Step(
        TimeStep("", Info((), "s")),
        "",
        TimeStep("", Info((), "s"), reward, terminated=True),
        Decision(Action(""), completion, prompt=(1,)),
    )


def group(*returns: float, name: str) -> list[Trajectory]:
    """A trajectory of one step for each return."""
    return [
        Trajectory(
            replace(toy_task("hall", "attic"), id=name),
            0,
            member,
            (step(value),),
            "",
            value > 0,
        )
        for member, value in enumerate(returns)
    ]


def ids(trajectories: list[Trajectory]) -> list[str]:
    return [f"round {t.round}/{t.task.id}" if t.round else t.task.id for t in trajectories]


def test_groups_of_equal_returns_make_place_for_others():
    rounds = [
        group(0, 0, name="all fail") + group(10, 0, name="first"),
        group(10, 10, name="all win") + group(0, 10, name="second"),
        group(0, 10, name="too late") + group(0, 10, name="much too late"),
    ]
    sample = sample_groups(rounds.__getitem__, groups=2, group_size=2, max_rounds=5)
    assert sample.rounds == 2
    assert ids(sample.kept) == ["first", "first", "round 1/second", "round 1/second"]
    assert len(sample.tried) == 8
    # In the table the groups of two rounds are two tasks, also where the task is the same.
    assert [t.trajectory_id for t in sample.kept] == [
        *("0/first/0", "0/first/1", "round 1/0/second/0", "round 1/0/second/1"),
    ]


def test_returns_that_are_equal_but_for_rounding_are_equal():
    # 0.1 + 0.2 and 0.3 + 0, whose float64 sums differ; then a group that truly differs.
    one, other = group(0.1, 0.3, name="tenths")
    more = [step(value) for value in (0.2, 0.0)]
    tenths = [
        replace(trajectory, steps=(*trajectory.steps, another))
        for trajectory, another in zip((one, other), more, strict=True)
    ]
    assert tenths[0].total_reward != tenths[1].total_reward
    rounds = [tenths + group(10, 0, name="a"), group(1, 1, name="equal") + group(0.1, 0.2, name="b")]
    sample = sample_groups(rounds.__getitem__, groups=2, group_size=2, max_rounds=2)
    assert ids(sample.kept)[::2] == ["a", "round 1/b"]


def test_what_is_over_is_dropped():
    rounds = [
        group(0, 0, name="all fail") + group(10, 0, name="a"),
        group(10, 0, name="b") + group(0, 10, name="over"),
    ]
    sample = sample_groups(rounds.__getitem__, groups=2, group_size=2, max_rounds=2)
    assert ids(sample.kept)[::2] == ["a", "round 1/b"]


def test_the_rounds_come_to_an_end():
    fails = [group(0, 0, name=f"{number}") for number in range(9)]
    sample = sample_groups(fails.__getitem__, groups=1, group_size=2, max_rounds=3)
    assert (sample.rounds, len(sample.tried), ids(sample.kept)) == (3, 6, ["0", "0"])


def test_one_round_keeps_whatever_comes():
    sample = sample_groups(lambda number: group(0, 0, name="fails"), groups=1, group_size=2, max_rounds=1)
    assert ids(sample.kept) == ["fails", "fails"]


def lengths_table(*lengths: int) -> StepTable:
    rows = len(lengths)
    return StepTable(
        task_id=["t"] * rows, trajectory_id=list(range(rows)), step_index=[0] * rows, state_key=["s"] * rows,
        reward=[1.0] * rows, response_tokens=[[7] * length for length in lengths],
    )  # fmt: skip


def test_the_punishment_grows_over_the_buffer():
    # L = 10, b = 4: nothing up to 6 tokens, then a quarter of 2 for each more, 2 at the limit.
    shaped = OverlongShaping(buffer=4, penalty=2.0)(lengths_table(1, 6, 7, 9, 10), 10)
    assert shaped.reward.tolist() == [1.0, 1.0, 0.5, -0.5, -1.0]
    unshaped = OverlongShaping()(lengths_table(10), 10)
    assert unshaped.reward.tolist() == [1.0]


@pytest.mark.parametrize("wrong", [{"buffer": -1}, {"penalty": -1.0}, {"penalty": float("nan")}])
def test_wrong_shaping_is_refused(wrong):
    with pytest.raises(ValueError, match="of at least 0"):
        OverlongShaping(**wrong)


@pytest.mark.parametrize(("ratio", "moves"), [(1.25, True), (1.3, False), (0.75, False), (0.85, True)])
def test_clip_higher_lets_the_ratio_rise_farther_than_it_may_fall(ratio, moves):
    # ε_low 0.2 and ε_high 0.28: up to 1.28 for A > 0, down to 0.8 for A < 0.
    logprobs = torch.tensor([[np.log(ratio)]], requires_grad=True)
    positive = torch.tensor([1.0 if ratio > 1 else 0.0])
    zeros = torch.zeros(1, 1)
    PolicyLoss(clip_high=0.28, kl_coefficient=0.0)(
        logprobs,
        zeros,
        zeros,
        zeros,
        positive,
        1 - positive,
        positive,
        1 - positive,
        torch.ones(1, 1, dtype=torch.bool),
        torch.ones(1, 1, dtype=torch.bool),
    ).total.backward()
    assert logprobs.grad is not None
    assert (logprobs.grad.item() != 0) == moves
