"""Any suite behind a server of OpenEnv, played by the stock client and by this package's own bridge."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("openenv", reason="OpenEnv is missing: pip install 'hgpo[openenv]'")

from corridor_server import running
from openenv.core import GenericEnvClient
from toy import ToySuite

from hgpo.adapters.openenv import digest, server_of
from hgpo.cli import main
from hgpo.cli.listening import listening
from hgpo.envs.bridges import OpenEnvSuite
from hgpo.envs.checker import check
from hgpo.envs.household import HouseholdSuite

pytestmark = pytest.mark.stack


@contextmanager
def serving(suite, sessions=16):
    with listening("127.0.0.1", 0) as address, running(server_of(suite, sessions), address) as url:
        yield url


@pytest.fixture(scope="module")
def household():
    with serving(HouseholdSuite()) as url:
        yield url


def played(url, commands, **start):
    """What the stock client sees after reset and after each command."""

    async def play():
        async with GenericEnvClient(base_url=url) as client:
            seen = [await client.reset(**start)]
            for command in commands:
                seen.append(await client.step({"command": command}))
            return seen

    return asyncio.run(play())


def test_a_walkthrough_wins_for_the_stock_client(household):
    suite = HouseholdSuite()
    tasks = suite.tasks("valid_unseen")
    # Held-out tasks are numbered, and after the last comes the first.
    for seed in (0, 7, len(tasks) + 7):
        task = tasks[seed % len(tasks)]
        first, *steps = played(household, suite.walkthrough(task), seed=seed, split="valid_unseen")
        assert (first.observation["task_id"], first.observation["instruction"]) == (task.id, task.instruction)
        assert [step.done for step in steps] == [False] * (len(steps) - 1) + [True]
        assert [step.reward for step in steps] == [0.0] * (len(steps) - 1) + [10.0]
        assert steps[-1].observation["won"] and not steps[-1].observation["truncated"]


def test_what_is_seen_is_what_the_suite_shows(household):
    suite = HouseholdSuite()
    (task,) = suite.tasks("train", 1, 5)
    environment = suite.make()
    observation, info = environment.reset(task)
    command = info.admissible_commands[0]
    after, _, _, _, later = environment.step(command)
    first, second = (step.observation for step in played(household, [command], seed=5))
    assert (first["task_id"], first["text"], second["text"]) == (task.id, observation, after)
    assert first["commands"] == list(info.admissible_commands)
    assert [first["state_key"], second["state_key"]] == [digest(info.state_key), digest(later.state_key)]
    assert first["state_key"] != second["state_key"]


def test_an_episode_at_its_step_limit_is_truncated_and_not_won(household):
    *_, last = played(household, ["look around"] * HouseholdSuite.max_steps, seed=0)
    assert (last.done, last.observation["truncated"], last.observation["won"]) == (True, True, False)


def test_our_own_bridge_plays_what_is_served(household):
    fields = {"text_field": "text", "commands_field": "commands", "state_field": "state_key"}
    suite: Any = OpenEnvSuite
    assert check(suite(url=household, held_out=4, **fields), games=3).problems == ()


def test_what_cannot_be_done_is_told(household):
    with pytest.raises(RuntimeError, match="there is no split 'test': choose from train, valid_seen"):
        played(household, [], seed=0, split="test")
    (task,) = HouseholdSuite().tasks("train", 1, 0)
    with pytest.raises(RuntimeError, match="no episode has begun: call reset first"):
        played(household, [*HouseholdSuite().walkthrough(task), "look around"], seed=0)


def test_more_sessions_than_allowed_are_refused():
    async def two(url):
        async with GenericEnvClient(base_url=url) as first:
            await first.reset(seed=0)
            async with GenericEnvClient(base_url=url) as second:
                await second.reset(seed=0)

    with serving(ToySuite(), sessions=1) as url, pytest.raises(Exception, match="CAPACITY"):
        asyncio.run(two(url))


def test_equal_keys_have_equal_digests_in_every_process():
    key = (frozenset({("on", "mug"), ("open", "fridge"), ("in", "egg")}), 3)
    told = "import sys; from hgpo.adapters.openenv import digest; print(digest(eval(sys.argv[1])))"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", told, repr(key)], env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == digest(key), done.stderr
    assert len({digest(each) for each in (1, "1", (1,), frozenset({1}), ("a", "b"), ("a,b",))}) == 6


def test_a_wrong_address_or_environment_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "household", "--port", port]) == 2
    told = capsys.readouterr().err
    assert "cannot listen at 127.0.0.1" in told and "choose another --port" in told and told.count("\n") == 1
    assert main(["serve", "household", "--port", "65536"]) == 2
    assert main(["serve", "household", "--sessions", "0"]) == 2
    assert main(["serve", "housebold"]) == 2
    assert "household" in capsys.readouterr().err
    assert main(["serve"]) == 2
