"""The expert and the random agent, the upper and the lower limit of what agents should achieve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from toy import ToySuite

from hgpo.agents import ExpertAgent, RandomAgent, Situation
from hgpo.envs.base import Info
from hgpo.envs.episode import TimeStep
from hgpo.errors import SettingError
from hgpo.rollouts.evaluate import evaluate_split

SUITE = ToySuite()


def test_the_expert_wins_everything_in_as_many_steps_as_its_walkthroughs_have():
    result = evaluate_split(SUITE, ExpertAgent(SUITE), "held_out", temperature=0.0, seed=[0])
    lengths = [len(SUITE.walkthrough(task) or ()) for task in SUITE.tasks("held_out")]
    assert result.success.rate == 1.0 and result.answers.valid_action_rate == 1.0
    assert result.mean_steps == pytest.approx(np.mean(lengths))


def test_chance_takes_every_command_equally_often_whatever_the_temperature():
    commands = ("a", "b", "c", "d")
    rng = np.random.default_rng(0)
    situation = Situation(SUITE.tasks("held_out")[0], "0", (), TimeStep("", Info(commands, None)), rng)
    for temperature in (0.0, 1.0):
        decisions = RandomAgent().act([situation] * 4000, temperature)
        counts = [sum(d.action.command == command for d in decisions) for command in commands]
        # 1,000 expected of each, standard deviation √(4000 · ¼ · ¾) = 27.
        assert all(abs(count - 1000) < 5 * 27 for count in counts)
        assert all(d.action.valid for d in decisions)


def test_an_expert_looks_for_the_walkthrough_of_a_task_once():
    asked = []

    class Counting(ToySuite):
        def walkthrough(self, task):
            asked.append(task.id)
            return super().walkthrough(task)

    evaluate_split(Counting(), ExpertAgent(Counting()), "held_out", temperature=0.0, seed=[0])
    assert sorted(asked) == sorted(task.id for task in SUITE.tasks("held_out"))


def test_an_expert_loses_what_it_does_not_know():
    known = ToySuite().tasks("held_out")[0].id

    @dataclass(frozen=True)
    class Partly(ToySuite):
        def walkthrough(self, task):
            return ToySuite.walkthrough(self, task) if task.id == known else None

    result = evaluate_split(Partly(), ExpertAgent(Partly()), "held_out", temperature=0.0, seed=[0])
    assert result.tasks_won == tuple(task.id == known for task in ToySuite().tasks("held_out"))


def test_a_suite_without_walkthroughs_has_no_expert():
    @dataclass(frozen=True)
    class Unknown(ToySuite):
        def walkthrough(self, task):
            return None

    with pytest.raises(SettingError, match="none of the tasks has a walkthrough"):
        evaluate_split(Unknown(), ExpertAgent(Unknown()), "held_out", temperature=0.0, seed=[0])
