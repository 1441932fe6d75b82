"""Environments in processes: a crash costs its trajectory and no other."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from crashing_games import Suite

from hgpo.envs import HouseholdSuite
from hgpo.envs.base import TaskSuite, describe
from hgpo.envs.checker import check
from hgpo.envs.episode import EnvironmentFault, advance, begin
from hgpo.envs.processes import ProcessSuite
from hgpo.policies.answers import Answer
from hgpo.policies.base import Completion
from hgpo.rollouts.agent import Situation
from hgpo.rollouts.episodes import Decision
from hgpo.rollouts.prompts import Action
from hgpo.rollouts.rollout import rollout


@dataclass(frozen=True)
class Scripted:
    """In each episode, "stay" and then the command of its place among the members."""

    commands: Sequence[str]

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        return [self.decision(situation) for situation in situations]

    def decision(self, situation: Situation) -> Decision:
        member = int(situation.trajectory_id.rpartition("/")[2])
        command = self.commands[member] if situation.steps else "stay"
        return Decision(Action(command), Completion.of_answer(Answer(command)))


def suite(timeout: float | None = 20.0) -> Any:
    own: Any = Suite
    return ProcessSuite(own(), timeout)


def test_a_crash_costs_one_trajectory():
    isolated = suite(timeout=1.0)
    commands = ("win", "fault", "exit", "raise", "wait", "win")
    played = rollout(
        isolated,
        Scripted(commands),
        isolated.tasks("train", 1),
        group_size=6,
        temperature=0.0,
        seed=(),
        timeout=30.0,
    )
    assert [trajectory.won for trajectory in played] == [True, False, False, False, False, True]
    reasons = [str(trajectory.failure) for trajectory in played]
    assert reasons[1] == "the environment's process ended with SIGSEGV"
    assert reasons[2] == "the environment's process ended with exit code 3"
    assert reasons[3].startswith("OSError: the simulator is gone (crashing_games.py")
    assert reasons[4] == "no answer within 1 seconds"
    assert {reasons[0], reasons[5]} == {"None"}
    # None of them is the process of the test, and every live episode has its own.
    pids = {trajectory.steps[0].before.observation for trajectory in played}
    assert len(pids) == 6 and f"process {os.getpid()}" not in pids


def test_the_start_of_a_process_does_not_count_against_its_environment(monkeypatch):
    """A rollout whose steps may take 0.3 seconds, in processes that take longer to start."""
    isolated = suite(timeout=0.3)
    take = type(isolated).take

    def slow(self):
        time.sleep(0.6)
        return take(self)

    monkeypatch.setattr(type(isolated), "take", slow)
    (played,) = rollout(
        isolated,
        Scripted(("win",)),
        isolated.tasks("train", 1),
        group_size=1,
        temperature=0.0,
        seed=(),
        timeout=0.3,
    )
    assert played.won and played.failure is None


def test_a_process_plays_one_episode_after_another_and_a_new_one_follows_a_crash():
    isolated = suite()
    (task,) = isolated.tasks("train", 1)
    first = isolated.make()
    begun = begin(first, task).observation
    del first
    second = isolated.make()
    assert begin(second, task).observation == begun
    with pytest.raises(EnvironmentFault, match="ended with exit code 3"):
        advance(second, "exit")
    assert begin(second, task).observation != begun
    # The dead process is not handed out again.
    del second
    assert begun not in [
        begin(environment, task).observation for environment in (isolated.make(), isolated.make())
    ]


def test_what_hangs_is_killed():
    isolated = suite(timeout=0.5)
    environment = isolated.make()
    begin(environment, isolated.tasks("train", 1)[0])
    started = time.monotonic()
    with pytest.raises(EnvironmentFault, match=r"no answer within 0\.5 seconds"):
        advance(environment, "wait")
    assert time.monotonic() - started < 10
    environment._worker.process.join(10)
    assert environment._worker.process.exitcode == -9


def test_all_else_is_the_suites_and_games_are_the_same_in_a_process():
    own: TaskSuite = HouseholdSuite(split_size=6)
    isolated: Any = ProcessSuite(own, 60.0)
    assert describe(isolated) == describe(own) and isolated.splits == own.splits
    assert isolated.walkthrough(isolated.tasks("train", 1)[0]) == own.walkthrough(own.tasks("train", 1)[0])
    assert check(isolated, games=2).ok
