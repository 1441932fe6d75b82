"""Environments behind a server of OpenEnv, which the tests start on this machine."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openenv", reason="OpenEnv is missing: pip install 'hgpo[openenv]'")

from corridor_server import serving

from hgpo.cli import main
from hgpo.envs.bridges import OpenEnvSuite
from hgpo.envs.checker import check
from hgpo.errors import SettingError

pytestmark = pytest.mark.stack

Suite: Any = OpenEnvSuite
"""Its settings are those of the class that it is made of."""


@pytest.fixture(scope="module")
def url():
    with serving() as address:
        yield address


@pytest.mark.parametrize(
    "fields",
    [
        {"commands_field": "moves"},
        {"text_field": "text", "state_field": "place"},
        {"action_field": "direction", "commands_field": "moves", "text_field": "text"},
    ],
    ids=["commands listed", "any text", "fields named"],
)
def test_the_contract_holds(url, fields):
    assert check(Suite(url=url, held_out=4, max_steps=8, **fields), games=3).problems == ()


def played(suite, number, commands):
    environment = suite.make()
    start = environment.reset(suite.tasks("held_out", number + 1)[number])
    return start, [environment.step(command) for command in commands]


def test_fields_say_what_is_read_what_can_be_done_and_what_is_the_same(url):
    suite = Suite(url=url, commands_field="moves", text_field="text", state_field="place", held_out=4)
    # Held-out seeds begin with a million, a multiple of 4, and the player starts at place 1 + seed mod 4.
    (text, info), steps = played(suite, 3, ["left"])
    assert (text, info.state_key) == ("you are in a corridor.", "4")
    assert info.admissible_commands == ("left",)
    assert steps[0][4].admissible_commands == ("left", "right") and steps[0][4].state_key == "3"
    whole = Suite(url=url, held_out=4)
    assert played(whole, 0, [])[0][0] == 'text: you are in a corridor.\nmoves: ["left", "right"]\nplace: 1'


def test_the_exit_is_rewarded_and_ends_the_episode(url):
    # From place 2 the exit is two steps to the left; its reward of 1 is multiplied by 10.
    _, steps = played(Suite(url=url, held_out=4), 1, ["left", "left"])
    assert [(step[1], step[2], step[4].won) for step in steps] == [(0.0, False, False), (10.0, True, True)]


def test_what_the_server_refuses_changes_nothing_and_is_told(url):
    suite = Suite(url=url, text_field="text", state_field="place", held_out=4)
    (text, info), steps = played(suite, 2, ["fly", "left"])
    assert steps[0][0].startswith("not an action: ") and steps[0][0].endswith(text)
    assert steps[0][1:4] == (0.0, False, False) and steps[0][4].state_key == info.state_key == "3"
    assert steps[1][4].state_key == "2"


def test_sessions_are_closed_when_an_environment_is_gone():
    with serving(sessions=2) as address:
        suite = Suite(url=address, held_out=4)
        task = suite.tasks("held_out", 1)[0]
        environments = [suite.make() for _ in range(2)]
        assert len([environment.reset(task) for environment in environments]) == 2
        with pytest.raises(RuntimeError, match="CAPACITY_REACHED"):
            suite.make().reset(task)
        del environments
        gc.collect()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                suite.make().reset(task)
            except RuntimeError:
                time.sleep(0.05)
            else:
                break
        else:
            raise AssertionError("the sessions are still there")


def test_a_command_evaluates_on_the_server(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "--policy", "random", "--out", "out", "env:openenv", "--env.url", url]
    assert main([*words, "--env.commands-field", "moves", "--env.max-steps", "1", "--env.held-out", "5"]) == 0
    [row] = json.loads(Path("out/results.json").read_text())
    # The players start in places 1, 2, 3, 4 and 1; only the first and the last can be out after one step.
    assert row["tasks_won"][1:4] == [False, False, False]
    assert (row["mean_steps"], row["failed"]) == (1.0, {})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "http://127.0.0.1:9"}, "--env.url http://127.0.0.1:9: no server of OpenEnv answers there"),
        ({"action_field": "speed"}, "an action has the fields direction: speed is none of them"),
    ],
)
def test_a_server_or_a_field_that_is_not_there_is_refused_in_one_line(url, settings, words):
    with pytest.raises(SettingError) as refused:
        Suite(**{"url": url, **settings}).tasks("train", 1)
    assert words in str(refused.value) and "\n" not in str(refused.value)
