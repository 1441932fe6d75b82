"""Suites from plain classes: what `from_class` adds to a class with reset and step."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import own_environment
import pytest

from hgpo.agents import RandomAgent
from hgpo.envs import from_class
from hgpo.envs.base import Task
from hgpo.envs.checker import check, steps_to_win
from hgpo.envs.episode import advance, begin
from hgpo.errors import SettingError
from hgpo.rollouts.prompts import CommandText, ThinkAction, Turn
from hgpo.rollouts.rollout import rollout

EXAMPLE = Path(own_environment.__file__)


class Counter:
    """Count to the task's number by texts that hold how much to add."""

    def reset(self, task):
        self.goal, self.sum = task, 0
        return "0"

    def step(self, amount):
        self.sum += int(amount)
        return str(self.sum), float(self.sum == self.goal), self.sum >= self.goal


def environment(cls: type, task: Any = 3, **settings: Any):
    suite: Any = from_class(cls, tasks=[task, task], **settings)()
    made = suite.make()
    return made, begin(made, suite.tasks("train", 1)[0])


def test_the_example_keeps_the_contract_and_its_walkthroughs_are_the_shortest():
    suite: Any = own_environment.Suite()
    assert check(suite, games=10).ok
    # Start 0, key 2, door 1: two steps right, the key, one step left, the door.
    assert steps_to_win(suite, Task("", "", "", (0, 2, 1))) == 2 + 1 + 1 + 1
    assert len(EXAMPLE.read_text().splitlines()) <= 60


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("own_environment", "your-own-environment"),
        ("own_estimator", "your-own-estimator"),
        ("agent_household", "agents"),
    ],
)
def test_the_page_shows_the_example_as_it_is(name, page):
    text = (EXAMPLE.parents[1] / "docs" / f"{page}.md").read_text()
    assert f"```python\n{(EXAMPLE.parent / f'{name}.py').read_text()}```" in text


def test_the_tool_of_the_page_works():
    page = (EXAMPLE.parents[1] / "docs" / "your-own-environment.md").read_text()
    names: dict[str, Any] = {"__name__": __name__}
    exec(page.split("```python\n")[2].partition("```")[0], names)
    suite = names["Suite"]()
    assert check(suite, games=5).ok
    made = suite.make()
    begin(made, Task("", "", "", (3, 4)))
    assert advance(made, '{"add": [3, 4]}').observation == "The sum is 7."
    end = advance(made, '{"answer": 7}')
    assert (end.observation, end.reward, end.terminated, end.info.won) == ("Right.", 1.0, True, True)


def test_every_fifth_task_of_a_list_is_held_out_or_the_last_of_fewer():
    def numbers(count: int) -> tuple[set[Any], list[Any]]:
        suite: Any = from_class(Counter, tasks=list(range(1, count + 1)))()
        training = {task.game for task in suite.tasks("train", 50)}
        return training, [task.game for task in suite.tasks("held_out")]

    assert numbers(11) == ({1, 2, 3, 4, 6, 7, 8, 9, 11}, [5, 10])
    assert numbers(3) == ({1, 2}, [3])


def test_splits_of_ones_own_and_tasks_made_from_the_settings():
    @dataclass
    class Sized(Counter):
        size: int = 2

    suite: Any = from_class(Sized, tasks=lambda size: {"easy": range(size), "hard": [9]})
    assert suite(3).splits == ("easy", "hard")
    assert sorted(task.game for task in suite(3).tasks("easy", 3)) == [0, 1, 2]
    assert suite(3).make().episode.size == 3 and suite(3) == suite(3) != suite(2)


def test_an_action_is_any_text_where_no_commands_are_given():
    made, start = environment(Counter, parse=lambda text: text.removeprefix("ADD "))
    # Neither its case nor its spaces are changed on the way to the class.
    for response_format in (CommandText(), ThinkAction()):
        text = "ADD 2"
        answer = response_format.answer(text, start.info.admissible_commands)
        assert response_format.parse(answer, start.info.admissible_commands).command == text
    assert "Possible commands" not in ThinkAction().prompt(Turn("", (), "", start.info.admissible_commands))
    after = advance(made, " ADD 2 ")
    assert (after.observation, after.info.state_key, after.over) == ("2", "2", False)
    end = advance(made, "ADD 1")
    assert (end.reward, end.terminated, end.info.won, end.info.admissible_commands) == (1.0, True, True, ())


def test_a_text_that_is_no_action_changes_nothing_and_says_why():
    made, start = environment(Counter, parse=json.loads)
    wrong = advance(made, "two")
    assert wrong.observation == "Expecting value: line 1 column 1 (char 0)\n0"
    assert (wrong.reward, wrong.over, wrong.info) == (0.0, False, start.info)
    assert advance(made, "2").observation == "2"


def test_a_command_that_is_not_admissible_changes_nothing():
    class Listed(Counter):
        def commands(self):
            return ["1", "2"]

    made, start = environment(Listed)
    wrong = advance(made, "3")
    assert (wrong.observation, wrong.info) == ("not possible here.\n0", start.info)
    assert advance(made, "2").observation == "2"


def test_an_episode_is_truncated_at_the_step_limit_and_a_win_at_it_is_no_truncation():
    made, _ = environment(Counter, max_steps=2)
    assert not advance(made, "1").over
    last = advance(made, "1")
    assert (last.truncated, last.terminated) == (True, False)
    made, _ = environment(Counter, max_steps=2)
    advance(made, "1")
    last = advance(made, "2")
    assert (last.truncated, last.terminated) == (False, True)


def test_the_class_may_tell_the_state_and_whether_it_is_won():
    class Telling(Counter):
        def state_key(self):
            return ("sum", self.sum)

        def won(self):
            return self.sum == 2

    made, start = environment(Telling)
    assert start.info.state_key == ("sum", 0)
    assert [advance(made, "1").info.won for _ in range(3)] == [False, True, False]


def test_methods_may_be_async_and_share_one_event_loop():
    class Remote(Counter):
        async def reset(self, task):  # pyright: ignore[reportIncompatibleMethodOverride]
            self.loop = asyncio.get_running_loop()
            return super().reset(task)

        async def step(self, amount):  # pyright: ignore[reportIncompatibleMethodOverride]
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is self.loop
            assert threading.current_thread() is not threading.main_thread()
            return super().step(amount)

    made, start = environment(Remote)
    assert start.observation == "0" and advance(made, "2").observation == "2"


def test_steps_that_wait_run_at_the_same_time_in_a_rollout():
    running: set[int] = set()
    most: list[int] = []

    class Waiting(Counter):
        async def step(self, amount):  # pyright: ignore[reportIncompatibleMethodOverride]
            running.add(id(self))
            most.append(len(running))
            await asyncio.sleep(0.05)
            running.discard(id(self))
            return super().step("3")

    def largest(concurrency: int) -> int:
        most.clear()
        suite: Any = from_class(Waiting, tasks=[3, 3], concurrency=concurrency)()
        played = rollout(
            suite, RandomAgent(), suite.tasks("train", 1), group_size=6, temperature=0.0, seed=[0]
        )
        assert all(trajectory.won for trajectory in played)
        return max(most)

    assert (largest(1), largest(4)) == (1, 4)


def test_a_fork_goes_its_own_way():
    made, _ = environment(Counter)
    advance(made, "1")
    other = made.fork()
    assert (advance(made, "1").observation, advance(other, "2").observation) == ("2", "3")


FAULTS = {
    "no step": (
        type("Plain", (), {"reset": Counter.reset}),
        [1, 2],
        "Plain has no step: an environment needs it",
    ),
    "a field that the suite has": (
        dataclass(type("Plain", (Counter,), {"tasks": 1, "__annotations__": {"tasks": int}})),
        [1, 2],
        "Plain.tasks: a suite has this attribute: rename the field",
    ),
    "a required field": (
        dataclass(type("Plain", (Counter,), {"__annotations__": {"size": int}})),
        [1, 2],
        "Plain requires size: give the field a default",
    ),
    "one task": (Counter, [1], "expected one list with two or more tasks"),
    "no tasks": (Counter, [], "expected one list with two or more tasks"),
    "one split": (Counter, {"train": [1]}, "two or more splits with a list each"),
    "an empty split": (Counter, {"train": [], "test": [1]}, "no training tasks"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_makes_no_suite_is_named(fault):
    cls, tasks, words = FAULTS[fault]
    with pytest.raises(SettingError, match=words):
        suite: Any = from_class(cls, tasks=tasks)
        assert suite().splits


@pytest.mark.parametrize(
    ("method", "value", "words"),
    [
        ("step", ("2", 1.0), r"step returned \('2', 1.0\): expected \(observation, reward, whether"),
        ("step", ("2", None, False), "step returned"),
        ("step", (2, 1.0, False), "step returned"),
        ("step", ("2", 1.0, "no"), "step returned"),
        ("reset", None, "reset returned None: expected the observation, a text"),
        ("commands", "go", "commands returned 'go': expected a list of texts"),
    ],
)
def test_a_wrong_answer_names_the_method(method, value, words):
    class Wrong(Counter):
        pass

    setattr(Wrong, method, lambda self, *_: value)
    with pytest.raises(TypeError, match=words):
        made, _ = environment(Wrong)
        advance(made, "1")
