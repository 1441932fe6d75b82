"""Agents that play through the gateway, and what is recorded of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
import time
from dataclasses import replace
from typing import Any

import agent_household
import numpy as np
import openai
import pytest
from gateway_playing import Letters, agent_of, ask, letters, played, texts_of

from hgpo.agents import LanguageAgent
from hgpo.envs import HouseholdSuite
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy
from hgpo.rollout_files import read_rollouts
from hgpo.rollouts.prompts import CommandText
from hgpo.rollouts.rollout import rollout, step_table
from hgpo.runs.folder import RunLog


def test_the_example_plays_as_the_built_in_agent_does_token_by_token():
    # The same prompts, the same random numbers, and batches of the same episodes: every number is equal.
    policy = create_policy(
        [*HouseholdSuite().texts(), "task: saw: did: now: answer:"],
        TinyModel(hidden_size=16, layers=1, heads=2, merges=0),
        max_tokens=420,
        max_commands=1,
        seed=0,
    )
    built_in = LanguageAgent(policy, CommandText(), 2, max_prompt_tokens=400, max_response_tokens=6)
    games = HouseholdSuite().tasks("train", 2, 0)
    how: Any = dict(group_size=2, temperature=1.0, seed=[5])
    expected = rollout(HouseholdSuite(), built_in, games, **how)
    policy.reader.forget()
    own = replace(agent_of(agent_household.play), policy=policy, chat=policy.chat, max_response_tokens=6)
    told = [replace(game, game={"id": game.id}) for game in games]
    found = rollout(HouseholdSuite(), own, told, **how)
    ours, theirs = (step_table(each, policy_version=0) for each in (found, expected))
    assert len(ours) == len(theirs) > 20
    for name in ("task_id", "trajectory_id", "step_index", "state_key", "reward", "action_valid"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist(), name
    for name in ("prompt_tokens", "response_tokens", "response_logprobs"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert all(map(np.array_equal, mine, other)), name
    assert [each.won for each in found] == [each.won for each in expected]


async def two_questions(task, client):
    first = await ask(client, "one")
    second = await ask(client, f"two after {first}")
    return [0.5, float(second[0] > "m")]


def test_every_request_is_a_row_of_the_tokens_that_were_sampled():
    (trajectory,) = played(two_questions, seed=(3,))
    # The episode's stream has the seed, the task's number and the member's.
    first, second = letters((3, 0, 0), 2)
    assert texts_of(trajectory) == [first, second]
    table: Any = step_table([trajectory], policy_version=7)
    assert [bytes(row.tolist()).decode() for row in table.prompt_tokens] == ["one", f"two after {first}"]
    assert [bytes(row.tolist()).decode() for row in table.response_tokens] == [first, second]
    assert np.allclose(table.response_logprobs, -np.random.default_rng((3, 0, 0)).random((2, 4)))
    assert table.state_key.tolist() == ["one", f"two after {first}"]
    assert table.reward.tolist() == [0.5, float(second[0] > "m")]
    assert table.policy_version.tolist() == [7, 7]
    assert table.terminated.tolist() == [False, True]


@pytest.mark.parametrize("wait", [0.0, 10.0])
def test_responses_do_not_depend_on_who_asks_first(wait):
    async def plays(seconds, client):
        for number in range(2):
            await asyncio.sleep(seconds * (1 - number))
            await ask(client, str(number))
        return 1.0

    for seconds in ((0.0, 0.1), (0.1, 0.0)):
        found = played(plays, *seconds, group_size=2, wait=wait)
        for trajectory in found:
            assert texts_of(trajectory) == letters((0, trajectory.group, trajectory.member), 2)


def test_requests_of_one_batch_have_their_own_limits():
    async def plays(limit, client):
        await ask(client, max_tokens=limit)
        return 1.0

    for limit, trajectory in zip((1, 3), played(plays, 1, 3), strict=True):
        assert texts_of(trajectory) == [letters((0, trajectory.group, 0), 1)[0][:limit]]


def test_a_batch_has_all_live_episodes_in_the_order_of_their_numbers():
    policy = Letters()

    async def plays(task, client):
        await asyncio.sleep(0.05 * (2 - task))
        for number in range(task + 1):
            await ask(client, f"{task} {number}")
        return 1.0

    played(plays, 0, 1, 2, policy=policy)
    assert policy.batches == [["0 0", "1 0", "2 0"], ["1 1", "2 1"], ["2 2"]]


def test_an_episode_that_takes_long_is_waited_for_once():
    policy = Letters()

    async def plays(task, client):
        for number in range(2 if task else 9):
            await ask(client, f"{task} {number}")
            await asyncio.sleep(task)
        return 1.0

    # If each of the nine batches waited for it, it would ask again before the last of them.
    found = played(plays, 0, 1.2, policy=policy, wait=0.2)
    assert all(trajectory.won for trajectory in found)
    assert policy.batches == [["0 0", "1.2 0"], *([f"0 {number}"] for number in range(1, 9)), ["1.2 1"]]


def test_at_most_so_many_episodes_are_played_at_the_same_time():
    now, most = set(), []

    def plays(task, client):
        now.add(task)
        most.append(len(now))
        client.chat.completions.create(model="any", messages=[{"role": "user", "content": "?"}])
        now.remove(task)
        return 1.0

    assert len(played(plays, *range(5), episodes=2)) == 5
    assert max(most) == 2


def test_a_function_that_is_not_async_gets_the_other_client():
    def plays(task, client):
        assert isinstance(client, openai.OpenAI)
        messages: Any = [{"role": "user", "content": "hello"}]
        return (
            client.chat.completions.create(model="any", messages=messages).choices[0].message.content == task
        )

    (right,) = letters((0, 0, 0), 1)
    found = played(plays, right, "wrong")
    assert [trajectory.won for trajectory in found] == [True, False]


def test_a_script_in_another_process_needs_only_the_usual_environment_variables():
    script = (
        "import openai; reply = openai.OpenAI().chat.completions.create("
        "model='any', messages=[{'role': 'user', 'content': 'hello'}]); print(reply.choices[0].message.content)"
    )

    async def plays(task, client):
        own = {**os.environ, "OPENAI_BASE_URL": str(client.base_url), "OPENAI_API_KEY": client.api_key}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, env=own, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        return float(printed.decode().strip() == letters((0, 0, 0), 1)[0])

    (trajectory,) = played(plays)
    assert trajectory.failure is None and trajectory.won


def test_state_keys_come_from_the_result_a_header_or_a_function_of_the_messages():
    async def plays(task, client):
        for number in range(2):
            header = {"X-HGPO-State": f"room {number}"} if task == "header" else None
            await ask(client, f"you are here {number}", extra_headers=header)
        return (1.0, [("a", 1), ("b", 2)]) if task == "result" else 1.0

    def key(messages):
        return len(messages), messages[-1]["content"][-1]

    def keys(trajectory):
        return [step.before.info.state_key for step in trajectory.steps]

    assert list(map(keys, played(plays, "none", "header", "result"))) == [
        ["you are here 0", "you are here 1"],
        ["room 0", "room 1"],
        [("a", 1), ("b", 2)],
    ]
    assert keys(*played(plays, key=key)) == [(1, "0"), (1, "1")]


async def with_sub_agents(task, client):
    await ask(client, "main")

    async def search(name):
        sub = client.with_options(default_headers={"X-HGPO-Branch": name})
        return [await ask(sub, f"{name} {number}") for number in range(2)]

    await asyncio.gather(*map(search, task))
    await ask(client, "main again")
    return 1.0


def test_branches_are_sequences_of_their_own_that_are_compared_with_branches_of_the_same_name():
    found = played(with_sub_agents, ["left", "right"], group_size=2)
    for trajectory in found:
        place = (0, trajectory.group, trajectory.member)
        assert texts_of(trajectory) == letters(place, 2)
        for name, steps in trajectory.branches.items():
            assert [step.command for step in steps] == letters((*place, *name.encode()), 2)
    table = step_table(found, policy_version=0)
    rows = set(zip(table.task_id, table.trajectory_id, table.step_index.tolist(), table.reward, strict=True))
    # The reward of the episode is that of the last step of each branch.
    assert rows == {
        (f"0/t0{branch}", f"0/t0/{member}{branch}", step, float(step))
        for branch in ("", " (left)", " (right)")
        for member in range(2)
        for step in range(2)
    }


def test_kept_rollouts_have_the_rows_of_branches(tmp_path):
    found = played(with_sub_agents, ["left"])
    table = step_table(found, policy_version=0)
    RunLog(tmp_path).rollouts("rollouts", 1, found, table)
    kept = read_rollouts(tmp_path / "rollouts" / "000001.parquet").steps
    assert kept.trajectory_id.tolist() == table.trajectory_id.tolist() and len(kept) == 4


def test_a_branch_may_also_be_named_by_the_path():
    async def plays(task, client):
        url = str(client.base_url).replace("/v1", "/b/helper/v1")
        await ask(client.with_options(base_url=url))
        return {"helper": [0.25]}

    (trajectory,) = played(plays)
    assert trajectory.steps[0].after.reward == 0.25
    assert texts_of(trajectory) == letters((0, 0, 0, *b"helper"), 1)


def test_two_requests_at_the_same_time_in_one_branch_are_refused():
    async def plays(task, client):
        if task == "twice":
            await asyncio.gather(ask(client, "one"), ask(client, "two"))
        await ask(client)
        return 1.0

    # The first request is still being answered when the second comes.
    alone, twice = played(plays, "once", "twice", policy=Letters(0.5))
    assert alone.failure is None and alone.won
    assert "at the same time" in str(twice.failure) and "X-HGPO-Branch" in str(twice.failure)


def test_settings_of_sampling_that_are_not_followed_are_told_once():
    async def plays(task, client):
        for _ in range(2):
            await ask(client, temperature=0.2, top_p=0.9, frequency_penalty=0)
        return 1.0

    said: list[str] = []
    (trajectory,) = played(plays, say=said.append)
    assert texts_of(trajectory) == letters((0, 0, 0), 2)
    assert [line.partition(", which")[0] for line in said] == [
        "the agent asks for top_p 0.9",
        "the agent asks for temperature 0.2",
    ]


class Faulty:
    """An agent that goes wrong after its first request, in the way that its task names."""

    async def __call__(self, task, client):
        if task != "nothing":
            await ask(client, "first")
        await getattr(self, task)(client)
        return None if task == "forgets" else "much" if task == "words" else 1.0

    async def fine(self, client):
        await ask(client, "second")

    nothing = forgets = words = fine

    async def raises(self, client):
        raise OSError(f"no tool for {client.api_key}")

    async def exits(self, client):
        sys.exit("done")

    async def hangs(self, client):
        await asyncio.sleep(1000)

    async def blocks(self, client):
        time.sleep(2)


FAULTS = {
    "raises": r"OSError: no tool for … ",
    "exits": r"SystemExit: done ",
    "hangs": r"no answer within 1 seconds",
    "blocks": r"no answer within 1 seconds",
    "forgets": r"it returned no reward",
    "words": r"'much'",
}


def test_an_agent_that_goes_wrong_loses_its_own_episode_alone():
    games = ["fine", *FAULTS, "fine"]
    found = played(Faulty(), *games, timeout=1.0, wait=0.3)
    for game, trajectory in zip(games, found, strict=True):
        if game in FAULTS:
            assert trajectory.failure is not None and trajectory.failure.kind == "agent", game
            assert re.search(FAULTS[game], str(trajectory.failure)), trajectory.failure
        else:
            assert trajectory.failure is None, trajectory.failure
            assert texts_of(trajectory) == letters((0, trajectory.group, 0), 2)


def test_an_agent_that_never_asks_is_lost():
    async def plays(task, client):
        return 1.0

    (trajectory,) = played(plays)
    assert "no request" in str(trajectory.failure) and not trajectory.won


def test_an_agent_that_leaves_in_the_middle_of_its_response_is_lost():
    # It would have a step that it has never seen.
    async def plays(task, client):
        if task == "leaves":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ask(client, "first"), 0.1)
            await asyncio.sleep(0.5)
        await ask(client, "last")
        return 1.0

    leaves, stays = played(plays, "leaves", "stays", policy=Letters(0.4))
    assert "disconnected before its response was complete" in str(leaves.failure)
    assert texts_of(stays) == letters((0, 1, 0), 1)


def test_a_request_that_is_given_up_before_it_is_answered_is_as_if_it_had_not_been_made():
    async def plays(task, client):
        if task == "leaves":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ask(client, "first"), 0.1)
        # The batch waits for this one.
        await asyncio.sleep(0.5)
        await ask(client, "last")
        return 1.0

    for trajectory in played(plays, "leaves", "stays"):
        assert trajectory.failure is None
        assert texts_of(trajectory) == letters((0, trajectory.group, 0), 1)


def test_garbage_and_a_thousand_connections_harm_nobody():
    async def plays(task, client):
        url = client.base_url
        with contextlib.ExitStack() as opened:
            if task == "garbage":
                noise = opened.enter_context(socket.create_connection((url.host, url.port)))
                noise.sendall(b"\x00\xff\r\n\r\n")
                for body in (b"{", b"[" * 100_000, b'{"messages": 3}', b"null"):
                    with pytest.raises(openai.BadRequestError):
                        await client.post("/chat/completions", cast_to=object, content=body)
                for _ in range(1000):
                    opened.enter_context(socket.create_connection((url.host, url.port)))
            await ask(client, "hello")
        return 1.0

    for trajectory in played(plays, "garbage", "fine", timeout=60.0, wait=60.0):
        assert trajectory.failure is None, trajectory.failure
        assert texts_of(trajectory) == letters((0, trajectory.group, 0), 1)
