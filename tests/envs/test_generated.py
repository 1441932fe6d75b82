"""Suites of generated games: what holds for each of them, whatever its rules."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hgpo.agents.scripted import ErringExpertAgent
from hgpo.envs import CraftingSuite, FrozenLakeSuite, SearchQASuite, SokobanSuite
from hgpo.envs.checker import check, format_report
from hgpo.envs.commands import listed, random_command
from hgpo.envs.generated import GeneratedSuite, is_held_out
from hgpo.envs.rules import state_after
from hgpo.envs.state_keys import STATE_KEYS
from hgpo.errors import SettingError
from hgpo.lab.oracle import OracleSetting, measure_estimators

SUITES: dict[str, GeneratedSuite] = {
    "sokoban": SokobanSuite(size=5, max_steps=10, split_size=40),
    "sokoban in coordinates": SokobanSuite(boxes=2, form="coordinates", split_size=40),
    "frozenlake": FrozenLakeSuite(split_size=40),
    "slippery frozenlake": FrozenLakeSuite(slippery=True, split_size=40),
    "frozenlake with a key": FrozenLakeSuite(size=5, hidden_key=True, split_size=40),
    "search_qa": SearchQASuite(split_size=40),
    "crafting": CraftingSuite(split_size=40),
    "crafting without a view of the inventory": CraftingSuite(show_inventory=False, split_size=40),
}
each_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)


def some_tasks(suite: GeneratedSuite, count: int) -> list[Any]:
    return [task for split in suite.splits for task in suite.tasks(split, count, seed=3)]


@each_suite
def test_the_contract_of_environments_holds(suite):
    report = check(suite, games=4)
    assert report.ok, format_report(report)


@each_suite
def test_held_out_tasks_are_never_drawn_for_training(suite):
    # Every game of the training size is on one side of a checksum of its identity: which games were drawn
    # does not matter. Larger games differ in size, which their type tells.
    rng = random.Random(0)
    for split, held_out in (("train", False), ("held_out", True)):
        for task in suite.tasks(split, 40, seed=1):
            assert is_held_out(suite.identity(task.game)) == held_out, task.id
    kinds = [{task.kind for task in suite.tasks(split, 40)} for split in suite.splits]
    assert not (kinds[0] | kinds[1]) & kinds[2]
    share = np.mean([is_held_out(suite.identity(suite.draw(rng, False))) for _ in range(400)])
    # About a quarter of all games are held out; some games are drawn more often than others.
    assert 0.1 < share < 0.5


@each_suite
def test_a_task_is_determined_by_its_number(suite):
    for split in suite.splits:
        for task in suite.tasks(split, 3, seed=5):
            assert suite.task(split, int(task.id.partition("/")[2])) == task
    assert len({task.id for task in suite.tasks("train", 500)}) == 500


@each_suite
def test_walkthroughs_win_with_their_last_command_and_within_the_step_limit(suite):
    environment = suite.make()
    for task in some_tasks(suite, 12):
        _, info = environment.reset(task)
        *before, last = suite.walkthrough(task)
        for command in before:
            _, reward, terminated, truncated, info = environment.step(command)
            assert (reward, terminated, truncated, info.won) == (0.0, False, False, False), task.id
        _, reward, terminated, truncated, info = environment.step(last)
        assert (reward, terminated, truncated, info.won) == (suite.success_reward, True, False, True), task.id


@each_suite
def test_the_expert_wins_from_wherever_random_play_leads_if_it_sees_a_way(suite):
    rng = np.random.default_rng(0)
    seen = 0
    for task in some_tasks(suite, 4):
        game = suite.game(task)
        state = game.start()
        for _ in range(3):
            command = random_command(game.commands(state), task.instruction, rng)
            there = game.after(state, command)
            if there is not None and game.outcome(there[0]) == "playing":
                state = there[0]
        for command in (solution := suite.solution(task, state) or ()):
            state, _ = game.after(state, command)
        assert game.outcome(state) == ("won" if solution else "playing")
        seen += bool(solution)
    assert seen >= 4


@each_suite
def test_the_expert_says_the_next_command_of_its_way(suite):
    for task in some_tasks(suite, 4):
        game, walkthrough = suite.game(task), suite.walkthrough(task)
        for number in range(len(walkthrough)):
            command = suite.next_command(task, walkthrough[:number])
            assert game.after(state_after(game, walkthrough[:number]), command) is not None


@each_suite
@settings(max_examples=15, deadline=None)
@given(texts=st.lists(st.text(max_size=30), max_size=6), seed=st.integers(), number=st.integers(0, 10**9))
def test_any_text_is_answered_and_an_unknown_one_changes_nothing(suite, texts, seed, number):
    environment = suite.make()
    _, before = environment.reset(suite.task("train", number), seed)
    for text in texts:
        observation, reward, *over, info = environment.step(text)
        if any(over):
            break
        if listed(text, before.admissible_commands) is None:
            assert observation.startswith("nothing happens.")
            assert (reward, info) == (0.0, before)
        before = info


@each_suite
def test_a_copy_of_an_episode_goes_its_own_way(suite):
    task = suite.tasks("train", 1, seed=2)[0]
    walkthrough = suite.walkthrough(task)
    environment = suite.make()
    _, info = environment.reset(task)
    copies, infos = [], []
    for command in walkthrough:
        copies.append(environment.fork())
        infos.append(info)
        *_, info = environment.step(command)
    for number, copy in enumerate(copies):
        # An unknown command leaves the copy as it was, whatever the original has done since.
        assert copy.fork().step("sing")[-1] == infos[number]
        results = [copy.step(command) for command in walkthrough[number:]]
        assert results[-1][1:4] == (suite.success_reward, True, False)


def test_an_episode_ends_at_the_step_limit_and_not_before():
    suite = SokobanSuite(max_steps=5)
    environment = suite.make()
    environment.reset(suite.tasks("train", 1)[0])
    ends = [environment.step("sing")[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]
    with pytest.raises(RuntimeError, match="call reset"):
        environment.step("up")
    with pytest.raises(RuntimeError, match="call reset"):
        suite.make().step("up")


@pytest.mark.parametrize("name", STATE_KEYS)
def test_the_state_key_that_the_suite_names_is_the_one_in_use(name):
    suite = CraftingSuite(state_key=name)
    _, info = suite.make().reset(suite.tasks("train", 1)[0])
    assert info.state_key == info.state_keys[name]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SokobanSuite(size=4), "--env.size is 4: expected 5 to 8"),
        (lambda: SokobanSuite(size=9), "--env.size is 9: expected 5 to 8"),
        (lambda: SokobanSuite(boxes=0), "--env.boxes is 0: expected 1 to 3"),
        (lambda: SokobanSuite(boxes=4), "--env.boxes is 4: expected 1 to 3"),
        (lambda: SokobanSuite(boxes=3, max_steps=14), "--env.max-steps is 14: expected 15 or more"),
        (lambda: SokobanSuite(split_size=0), "--env.split-size is 0: expected 1 or more"),
        (lambda: FrozenLakeSuite(size=3), "--env.size is 3: expected 4 to 8"),
        (lambda: FrozenLakeSuite(size=8), "--env.max-steps is 15: expected 18 or more"),
        (lambda: FrozenLakeSuite(slippery=True, hidden_key=True), "--env.slippery and --env.hidden-key"),
        (lambda: CraftingSuite(depth=0), "--env.depth is 0: expected 1 to 4"),
        (lambda: CraftingSuite(depth=5), "--env.depth is 5: expected 1 to 4"),
        (lambda: SearchQASuite(hops=0), "--env.hops is 0: expected 1 to 3"),
        (lambda: SearchQASuite(hops=4), "--env.hops is 4: expected 1 to 3"),
        (lambda: SearchQASuite(articles=19), "--env.articles is 19: expected 20 to 100000"),
        (lambda: SearchQASuite(results=0), "--env.results is 0: expected 1 or more"),
        (lambda: SearchQASuite(hops=3, max_steps=4), "--env.max-steps is 4: expected 5 or more"),
        (lambda: SearchQASuite(corpus="a"), "--env.corpus needs --env.questions"),
        (lambda: SearchQASuite(questions="a"), "--env.questions needs --env.corpus"),
        (lambda: CraftingSuite(depth=4, max_steps=9), "--env.max-steps is 9: expected 10 or more"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(make, message):
    with pytest.raises(SettingError) as error:
        make()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "error"), [("sokoban", 0.7), ("frozenlake", 0.7), ("crafting", 0.7), ("search_qa", 0.4)]
)
def test_the_values_of_steps_can_be_measured(name, error):
    # `hgpo lab oracle` plays on from copies of every step.
    suite = SUITES[name]
    setting = OracleSetting(tasks=4, groups=2, group_size=4, continuations=2)
    result = measure_estimators(suite, ErringExpertAgent(suite, error), setting, seed=1)
    assert len(result.steps.reward) > 0
