"""Rollouts in which every episode goes on as soon as its own answer is there."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from merged_rows import reading_trees
from toy import ToyEnvironment, ToySuite

from hgpo.agents import Decision, LanguageAgent
from hgpo.policies.answers import read_answer
from hgpo.policies.base import Completion
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy
from hgpo.rollouts.prompts import Action, CommandNumber, CommandText
from hgpo.rollouts.rollout import rollout

SUITE = ToySuite()


def tiny():
    return create_policy(list(SUITE.texts()), TinyModel(16, 2, 2), max_tokens=256, max_commands=6, seed=0)


def of(policy, response_format):
    return LanguageAgent(policy, response_format, 2, max_prompt_tokens=200, max_response_tokens=3)


@pytest.mark.parametrize("made", [tiny, lambda: reading_trees(tiny())])
@pytest.mark.parametrize("response_format", [CommandNumber(), CommandText()])
def test_trajectories_are_those_of_common_steps(made, response_format):
    # Each episode draws from its own random stream, so only rounding may differ.
    played = {
        batching: rollout(
            SUITE,
            of(made(), response_format),
            SUITE.tasks("train", 4),
            group_size=3,
            temperature=1.0,
            seed=[7],
            batching=batching,
        )
        for batching in ("step", "continuous")
    }
    assert len(played["step"]) == 12
    lengths = Counter()
    for one, other in zip(played["step"], played["continuous"], strict=True):
        assert one.trajectory_id == other.trajectory_id
        assert one.won == other.won and one.failure is other.failure is None
        for step, same in zip(one.steps, other.steps, strict=True):
            assert step.command == same.command and step.after == same.after
            assert step.decision.prompt == same.decision.prompt
            assert step.decision.completion.tokens.tolist() == same.decision.completion.tokens.tolist()
            np.testing.assert_allclose(
                step.decision.completion.logprobs, same.decision.completion.logprobs, atol=1e-5
            )
            lengths[len(same.decision.completion.tokens)] += 1
    if isinstance(response_format, CommandText):
        # Answers of different lengths, or the two ways of batching would be one.
        assert len(lengths) > 1


class Slow:
    """Takes the first command; for the first task each answer takes 10 calls of `advance`, for others one."""

    def __init__(self):
        self.order = []

    def act(self, situations, temperature):
        raise AssertionError("it has a stream")

    @contextmanager
    def stream(self, temperature):
        left, numbers = {}, iter(range(1000))
        slow = self

        class Stream:
            def add(self, items):
                added = [next(numbers) for _ in items]
                for number, item in zip(added, items, strict=True):
                    left[number] = [10 if item.trajectory_id.startswith("0/") else 1, item]
                return added

            def advance(self):
                for entry in left.values():
                    entry[0] -= 1
                done = [number for number, (calls, _) in left.items() if calls == 0]
                decided = []
                for number in done:
                    _, situation = left.pop(number)
                    slow.order.append(situation.trajectory_id[0])
                    answer = Completion.of_answer(read_answer("x"))
                    decided.append((number, Decision(Action(situation.commands[0]), answer)))
                return decided

        yield Stream()


def test_a_slow_answer_holds_up_only_its_own_episode():
    # Episodes of at most 3 steps. The second task's three answers come before the first task's first one.
    agent, seen = Slow(), []
    trajectories = rollout(
        ToySuite(max_steps=3),
        agent,
        SUITE.tasks("train", 2),
        group_size=1,
        temperature=0.0,
        seed=[0],
        batching="continuous",
        on_step=lambda finished, live: seen.append((finished, live)),
    )
    assert agent.order == ["1", "1", "1", "0", "0", "0"]
    assert [len(trajectory.steps) for trajectory in trajectories] == [3, 3]
    assert seen[-1] == (2, 0) and (1, 1) in seen


@dataclass(frozen=True)
class WaitingSuite(ToySuite):
    """The first task's first step does not end before the second task's second step."""

    concurrency: int = 2

    def make(self):
        return WaitingEnvironment(self.max_steps)


class WaitingEnvironment(ToyEnvironment):
    reached = threading.Event()

    def step(self, command):
        if (self.coin, self.purse) == ("attic", "hall") and self.steps == 0:
            assert self.reached.wait(30)
        elif self.steps == 1:
            self.reached.set()
        return super().step(command)


class FirstCommand:
    def act(self, situations, temperature):
        answer = Completion.of_answer(read_answer("x"))
        return [Decision(Action(situation.commands[0]), answer) for situation in situations]


def test_others_go_on_while_an_environment_waits():
    # With common steps nobody would take a second step, and the first would end in a time-out.
    WaitingEnvironment.reached.clear()
    suite = WaitingSuite(max_steps=3)
    tasks = [task for task in SUITE.tasks("train") if task.id in ("attic-hall", "attic-cellar")]
    trajectories = rollout(
        suite,
        FirstCommand(),
        tasks,
        group_size=1,
        temperature=0.0,
        seed=[0],
        batching="continuous",
        timeout=20,
    )
    assert [trajectory.failure for trajectory in trajectories] == [None, None]
    assert [len(trajectory.steps) for trajectory in trajectories] == [3, 3]


class FailingEnvironment(ToyEnvironment):
    def step(self, command):
        if self.steps == 1 and self.purse == "hall":
            raise OSError("the server is down")
        return super().step(command)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_an_environment_that_fails_costs_its_own_episode(concurrency):
    @dataclass(frozen=True)
    class Suite(ToySuite):
        concurrency: int = 1

        def make(self):
            return FailingEnvironment(self.max_steps)

    trajectories = rollout(
        Suite(max_steps=3, concurrency=concurrency),
        FirstCommand(),
        SUITE.tasks("train"),
        group_size=1,
        temperature=0.0,
        seed=[0],
        batching="continuous",
    )
    for trajectory in trajectories:
        if trajectory.task.id.endswith("-hall"):
            assert str(trajectory.failure).startswith("OSError: the server is down")
            assert len(trajectory.steps) == 1
        else:
            assert trajectory.failure is None and len(trajectory.steps) == 3
