"""Rollouts, imitation and evaluation on the toy game."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from toy import ToyEnvironment, ToySuite, toy_task

from hgpo.agents import Decision, LanguageAgent
from hgpo.errors import RunError
from hgpo.policies.answers import InvalidReason, read_answer
from hgpo.policies.base import Completion
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy
from hgpo.rollouts.episodes import Failure
from hgpo.rollouts.evaluate import (
    Answers,
    PublishedProtocol,
    Success,
    evaluate_published,
    evaluate_split,
    failed_episodes,
    mean_and_std,
    no_valid_answer,
    shortened,
    summarize,
)
from hgpo.rollouts.prompts import Action, CommandNumber, CommandText, ThinkAction, Turn
from hgpo.rollouts.rollout import rollout, step_table
from hgpo.runs.display import players_tables
from hgpo.training.config import WarmStart
from hgpo.training.imitation import demonstrations, imitate
from hgpo.training.metrics import step_metrics

SUITE = ToySuite()


class Scripted:
    """A policy that answers by the uniform drawn: below 0.5 the first listed command, else nonsense."""

    def encode(self, texts):
        self.prompts = [*getattr(self, "prompts", []), *texts]
        return [tuple(text.encode()) for text in texts]

    def generate(self, prompts, uniforms, temperature):
        self.batches = [*getattr(self, "batches", []), len(prompts)]
        texts = ["#1" if uniform < 0.5 else "nonsense" for uniform in uniforms[:, 0]]
        return [Completion(np.array([1]), np.array([-0.5], np.float32), read_answer(text)) for text in texts]


def agent(policy, prompt_history=2):
    return LanguageAgent(
        policy, CommandNumber(), prompt_history, max_prompt_tokens=4000, max_response_tokens=1
    )


def test_an_episode_that_has_ended_leaves_and_the_rest_go_on():
    policy = Scripted()
    trajectories = rollout(
        SUITE, agent(policy), SUITE.tasks("train", 2), group_size=3, temperature=1.0, seed=[0]
    )
    assert sum(policy.batches) == sum(len(trajectory.steps) for trajectory in trajectories)
    assert policy.batches[0] == 6
    assert policy.batches == sorted(policy.batches, reverse=True)
    for trajectory in trajectories:
        *before, last = trajectory.steps
        assert not any(step.after.over for step in before)
        assert last.after.over
        assert trajectory.won == last.after.terminated == (last.after.reward == 10.0)


def test_an_episode_in_which_the_agent_cannot_go_on_is_lost_alone():
    class Leaves:
        """Takes the first command; from its third step on it has none for the second task."""

        def act(self, situations, temperature):
            answer = Completion.of_answer(read_answer("x"))
            return [
                Failure("refused", "the server says no")
                if situation.task == tasks[1] and len(situation.steps) == 2
                else Decision(Action(situation.commands[0]), answer)
                for situation in situations
            ]

    tasks = SUITE.tasks("train", 3)
    trajectories = rollout(SUITE, Leaves(), tasks, group_size=1, temperature=0.0, seed=[0])
    assert [t.failure and str(t.failure) for t in trajectories] == [None, "the server says no", None]
    assert [len(t.steps) for t in trajectories] == [8, 2, 8]
    result = summarize("train", 0.0, trajectories, "toy")
    assert result.failed == {"refused": 1}
    assert failed_episodes(result) == (
        "train: 1 failed before the end, counted as not won (refused 1); the first: the server says no"
    )
    assert failed_episodes(summarize("train", 0.0, trajectories[:1], "toy")) is None
    # Its steps are of no use to learn from.
    assert len(step_table(trajectories, policy_version=0)) == 16


def test_a_panel_without_a_step_has_no_share_of_valid_answers():
    class Silent:
        def act(self, situations, temperature):
            return [Failure("refused", "the server says no")] * len(situations)

    result = evaluate_split(SUITE, Silent(), "unseen", temperature=0.0, seed=[0])
    assert (
        math.isnan(result.answers.valid_action_rate) and no_valid_answer("somebody", [result.answers]) is None
    )
    record = json.loads(json.dumps(result.record(0), allow_nan=False))
    assert record["valid_action_rate"] is None and record["mean_steps"] == 0
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(players_tables({"somebody": [result]}))
    assert "–" in console.export_text() and "nan" not in console.export_text()


def test_invalid_answers_are_marked_and_change_nothing():
    trajectories = rollout(
        SUITE, agent(Scripted()), SUITE.tasks("train", 3), group_size=2, temperature=1.0, seed=[3]
    )
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    assert {step.decision.action.valid for step in steps} == {True, False}
    for step in steps:
        valid = step.decision.action.valid
        assert valid == (step.decision.completion.answer.text == "#1")
        assert step.command == (step.before.info.admissible_commands[0] if valid else "nonsense")


def test_invalid_answers_are_counted_by_their_reasons():
    trajectories = rollout(
        SUITE, agent(Scripted()), SUITE.tasks("train", 3), group_size=2, temperature=1.0, seed=[3]
    )
    steps = step_table(trajectories, policy_version=0)
    invalid = sum(not step.decision.action.valid for t in trajectories for step in t.steps)
    assert 0 < invalid < len(steps)
    # Scripted writes no number then, which is no action.
    metrics = step_metrics(steps)
    counts = {name: value for name, value in metrics.items() if name.startswith("invalid_")}
    assert counts == {f"invalid_{reason}": 0 for reason in InvalidReason} | {"invalid_no_action": invalid}
    assert metrics["valid_action_rate"] == pytest.approx(1 - invalid / len(steps))
    answers = Answers.of(trajectories)
    assert answers.valid_action_rate == pytest.approx(1 - invalid / len(steps))
    assert (answers.invalid, answers.samples) == ({"no_action": invalid}, ())
    assert no_valid_answer("somebody", [answers]) is None


def test_where_no_answer_is_valid_three_of_them_are_shown():
    class Rambling(Scripted):
        """Never answers with a number, each time in other words."""

        def generate(self, prompts, uniforms, temperature):
            answers = [read_answer(f"<think>{u:.6f}</think>well", ended="length") for u in uniforms[:, 0]]
            return [Completion(np.array([1]), np.array([-0.5], np.float32), answer) for answer in answers]

    result = evaluate_split(SUITE, agent(Rambling()), "unseen", temperature=1.0, seed=[0])
    assert result.answers.valid_action_rate == 0.0
    assert result.answers.invalid == {"no_action": sum(result.answers.invalid.values())}
    record = result.record(0)
    assert record["valid_action_rate"] == 0.0 and record["invalid"] == result.answers.invalid
    assert "samples" not in record
    warning = no_valid_answer("the agent", [result.answers])
    assert warning is not None
    head, *samples, _ = warning.splitlines()
    assert "no answer of the agent was valid" in head
    assert len(samples) == 3 == len(set(samples))
    assert all(", step 1, no_action: '<think>0." in s and "</think>well'" in s for s in samples)
    # Another panel on which some answers are valid: then the model knows how to answer.
    others = Answers(0.01, {}, ())
    assert no_valid_answer("the agent", [result.answers, others]) is None
    # Nobody has answered.
    assert no_valid_answer("the agent", [Answers.of([])]) is None


def test_long_samples_keep_both_ends():
    assert shortened("abcdefgh", 4) == "ab […] gh"
    assert shortened("abcd", 4) == "abcd"


def test_what_happens_in_an_episode_does_not_depend_on_the_others():
    # Each episode has its own random stream: the first of three is the one that it is alone.
    alone = rollout(
        SUITE, agent(Scripted()), SUITE.tasks("train", 1), group_size=1, temperature=1.0, seed=[5]
    )
    among = rollout(
        SUITE, agent(Scripted()), SUITE.tasks("train", 3), group_size=4, temperature=1.0, seed=[5]
    )
    assert [s.command for s in alone[0].steps] == [s.command for s in among[0].steps]
    assert [s.command for s in among[0].steps] != [s.command for s in among[1].steps]


def test_the_prompt_shows_the_last_k_steps():
    policy = Scripted()
    (trajectory,) = rollout(
        SUITE, agent(policy, 1), SUITE.tasks("train", 1), group_size=1, temperature=1.0, seed=[1]
    )
    first, second, third = trajectory.steps[:3]
    expected = Turn(
        "bring the coin to the purse",
        ((second.before.observation, second.command),),
        third.before.observation,
        third.before.info.admissible_commands,
    )
    assert CommandNumber().prompt(expected).encode() == bytes(third.decision.prompt)
    assert b"did:" not in bytes(first.decision.prompt)


def test_the_prompt_counts_all_steps_so_far_and_not_those_shown():
    speaker = replace(agent(Scripted(), 1), response_format=ThinkAction())
    (trajectory,) = rollout(SUITE, speaker, SUITE.tasks("train", 1), group_size=1, temperature=1.0, seed=[1])
    fourth = bytes(trajectory.steps[3].decision.prompt).decode()
    assert "You have taken 3 steps. The last 1:" in fourth and "at step 4, you see" in fourth


def test_the_table_has_a_row_for_every_step():
    tasks = [toy_task("attic", "hall")] * 2
    trajectories = rollout(SUITE, agent(Scripted()), tasks, group_size=2, temperature=1.0, seed=[1])
    steps = step_table(trajectories, policy_version=4)
    assert len(steps) == sum(len(trajectory.steps) for trajectory in trajectories)
    # The same game drawn twice is two tasks: their rollouts are two groups.
    assert len(set(steps.task_id)) == 2
    assert len(set(steps.trajectory_id)) == 4


def policy_for_toys(seed=0):
    empty = CommandText().prompt(Turn("", (("", ""),), "", ()))
    return create_policy(
        [empty, *SUITE.texts()], TinyModel(32, 2, 2), max_tokens=160, max_commands=8, seed=seed
    )


def toy_demonstrations(policy):
    return demonstrations(
        *(SUITE, policy, SUITE.tasks("train")),
        response_format=CommandText(), prompt_history=1, max_prompt_tokens=150, max_response_tokens=4,
    )  # fmt: skip


def test_demonstrations_are_the_walkthroughs_step_by_step():
    policy = policy_for_toys()
    rows = toy_demonstrations(policy)
    walkthroughs = [command for task in SUITE.tasks("train") for command in SUITE.walkthrough(task) or ()]
    assert len(rows) == len(walkthroughs)
    for row, command in zip(rows, walkthroughs, strict=True):
        words = policy.tokenizer.decode(row.response, skip_special_tokens=True)
        assert words == command
        assert command in policy.tokenizer.decode(row.prompt)
    assert rows[1].prompt != rows[0].prompt


def test_imitation_learns_the_walkthroughs():
    # The loss falls to what cannot be known (where the coin lies), and greedy play wins some of the games.
    policy = policy_for_toys()
    player = LanguageAgent(policy, CommandText(), 1, 150, 4)
    before = evaluate_split(SUITE, player, "held_out", temperature=0.0, seed=[0]).success
    losses = imitate(
        policy, toy_demonstrations(policy), WarmStart(epochs=60, batch_rows=8), np.random.default_rng(0)
    )
    after = evaluate_split(SUITE, player, "held_out", temperature=0.0, seed=[0]).success
    assert losses[0] > 1.0 > 0.2 > losses[-1]
    assert before.won == 0 and after.won >= 2 and after.tasks == 6


def test_a_walkthrough_that_does_not_win_is_refused():
    class BrokenSuite(ToySuite):
        def walkthrough(self, task):
            return (super().walkthrough(task) or ())[:-1]

    with pytest.raises(ValueError, match="walkthrough of task attic-hall does not win"):
        demonstrations(
            *(BrokenSuite(), policy_for_toys(), [toy_task("attic", "hall")]),
            response_format=CommandText(), prompt_history=1, max_prompt_tokens=150, max_response_tokens=4,
        )  # fmt: skip


def test_a_walkthrough_whose_environment_fails_is_named():
    class Broken(ToyEnvironment):
        def step(self, command):
            raise OSError("the simulator is gone")

    class BrokenSuite(ToySuite):
        def make(self):
            return Broken(self.max_steps)

    with pytest.raises(RunError, match=r"walkthrough of task attic-hall cannot be played: OSError: the sim"):
        demonstrations(
            *(BrokenSuite(), policy_for_toys(), [toy_task("attic", "hall")]),
            response_format=CommandText(), prompt_history=1, max_prompt_tokens=150, max_response_tokens=4,
        )  # fmt: skip


def test_wilson_interval():
    # 10 of 50, z = 1.96: centre (0.2 + 3.8416/100)/(1 + 3.8416/50) = 0.22140, half = 0.1106 (by hand).
    low, high = Success(10, 50).interval()
    assert (low, high) == (pytest.approx(0.1124, abs=2e-4), pytest.approx(0.3304, abs=2e-4))
    # Exactly: a rounding error would be a bar of negative length in a picture.
    assert all(Success(0, n).interval()[0] == 0.0 for n in range(1, 100))
    assert all(Success(n, n).interval()[1] == 1.0 for n in range(1, 100))
    assert math.isnan(Success(0, 0).rate)


def test_results_are_broken_down_by_task_type():
    tasks = [toy_task("attic", "hall"), toy_task("hall", "attic")]
    trajectories = rollout(SUITE, agent(Scripted()), tasks, group_size=1, temperature=1.0, seed=[1])
    result = summarize("held_out", 1.0, trajectories, "toy")
    assert result.by_kind == {"bring": result.success}
    assert result.success.tasks == 2
    assert result.mean_steps == sum(len(t.steps) for t in trajectories) / 2
    assert result.mean_score is None  # the toy measures none
    scores = [
        replace(trajectory, score=score) for trajectory, score in zip(trajectories, (0.5, 1.0), strict=True)
    ]
    assert summarize("held_out", 1.0, scores, "toy").mean_score == 0.75


class Wanderer:
    """A policy that takes any listed command, by the uniform drawn."""

    def encode(self, texts):
        return [tuple(text.encode()) for text in texts]

    def generate(self, prompts, uniforms, temperature):
        listed = [bytes(prompt).decode().count(" #") for prompt in prompts]
        texts = [f"#{1 + int(u * n)}" for u, n in zip(uniforms[:, 0], listed, strict=True)]
        return [Completion(np.array([1]), np.array([-0.5], np.float32), read_answer(text)) for text in texts]


def test_mean_and_deviation_over_seeds():
    # Deviations −2, 0, 2: Bessel's variance 8 / 2 = 4.
    assert mean_and_std((1.0, 3.0, 5.0)) == (3.0, 2.0)
    assert math.isnan(mean_and_std((1.0,))[1])


def test_the_published_protocol_draws_with_repetition_under_each_seed():
    # 60 draws of six tasks, so each comes up again and again; one play of each task has six outcomes at most,
    # and rates in sixths would be those of a panel played once.
    protocol = PublishedProtocol(seeds=3, draws=60)
    result = evaluate_published(SUITE, agent(Wanderer()), "held_out", protocol, seed=[0])
    won = [rate * 60 for rate in result.rates]
    assert won == pytest.approx([round(count) for count in won])
    assert len(set(result.rates)) == 3 and any(round(count) % 10 for count in won)
    assert all(0.05 < rate < 0.95 for rate in result.rates)
    assert result.scores is None and result.suite == "toy" and result.split == "held_out"
    assert result == evaluate_published(SUITE, agent(Wanderer()), "held_out", protocol, seed=[0])
