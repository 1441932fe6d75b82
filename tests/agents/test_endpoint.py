"""Prompted models behind a server: their prompts, temporary faults, kept replies and costs."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from chat_server import FAULTS, ChatServer, Pauses, Raw, contents, echo, refused, serving
from toy import ToySuite

from hgpo.agents import Situation
from hgpo.agents.chat import Server, open_chat
from hgpo.agents.endpoint import EndpointAgent
from hgpo.agents.untrained_prompts import Plain, ReAct, reflection_messages
from hgpo.cli import main
from hgpo.envs.base import Info
from hgpo.envs.episode import TimeStep
from hgpo.errors import RunError
from hgpo.policies.answers import Answer, read_answer
from hgpo.policies.base import Completion
from hgpo.rollouts.episodes import Decision, Failure, Step, Trajectory
from hgpo.rollouts.evaluate import PublishedProtocol, evaluate_published, evaluate_split, play
from hgpo.rollouts.prompts import Action

SUITE = ToySuite()
PANEL = SUITE.tasks("held_out")


def player(messages):
    """Plays the toy game well: takes the coin where it sees it, and looks for the purse once it has it."""
    last = messages[-1]["content"]
    commands = re.findall(r"^- (.*)$", last, re.MULTILINE)
    now = last[last.rfind("you are in the") :]
    if "take coin" in commands and "a purse is here" not in now.split("\n")[0]:
        choice = "take coin"
    elif "drop coin" in commands and "a purse is here" in now.split("\n")[0]:
        choice = "drop coin"
    else:
        # Round and round: hall, attic, cellar.
        after = {"hall": "attic", "attic": "cellar", "cellar": "hall"}
        choice = f"go to {after[re.findall('you are in the ([a-z]+)', now)[0]]}"
    return f"Thought: {choice} is next.\n<think>so</think> <action>{choice}</action>\nAction: {choice}"


def test_the_key_is_in_the_requests_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-and-secret")
    with serving(ChatServer(player, key="sk-right")) as server:
        args = ["evaluate", "--policy", "endpoint", "--model", "m", "--base-url", server.url]
        assert main([*args, "--tasks", "1", "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr()
    assert "Incorrect key: …" in shown.err and "OPENAI_API_KEY" not in shown.out
    assert "secret" not in shown.out + shown.err
    for path in (tmp_path / "out").rglob("*"):
        assert b"secret" not in path.read_bytes()


def test_it_plays_by_each_way_of_prompting(tmp_path):
    # The player wins all six tasks within seven steps; every way shows it what it needs.
    for prompting in (Plain(0), Plain(2), ReAct(None), ReAct(1)):
        with (
            serving(ChatServer(player)) as server,
            open_chat(Server("m", server.url, "k"), tmp_path) as client,
        ):
            result = evaluate_split(
                SUITE, EndpointAgent(client, prompting), "held_out", temperature=0.0, seed=[0]
            )
        assert result.success.rate == 1.0
        assert result.answers.valid_action_rate == 1.0


def test_an_evaluation_that_was_stopped_goes_on_without_paying_again(tmp_path):
    def run(server):
        with open_chat(Server("m", server.url, "k", attempts=1), tmp_path) as client:
            result = evaluate_split(
                SUITE, EndpointAgent(client, ReAct(None)), "held_out", temperature=1.0, seed=[0]
            )
        return result, client.usage

    with serving(ChatServer(player)) as whole:
        expected, usage = run(whole)
    (tmp_path / "replies.jsonl").unlink()
    with serving(ChatServer(player, faults=[None] * 15 + ["broken"] * 99)) as stops, pytest.raises(RunError):
        run(stops)
    with serving(ChatServer(player)) as server:
        result, resumed = run(server)
    assert result == expected
    assert resumed.replayed == 15 and resumed.replayed + resumed.asked == usage.asked
    assert resumed.prompt_tokens == usage.prompt_tokens


def situation(steps, commands=("drop coin", "go to attic"), task=PANEL[0]):
    lived = [
        Step(
            TimeStep(f"saw {n}", Info(commands, n)),
            f"did {n}",
            TimeStep(f"saw {n + 1}", Info(commands, n + 1)),
            Decision(Action(f"did {n}"), Completion.of_answer(Answer(f"thought {n}"))),
        )
        for n in range(steps)
    ]
    now = TimeStep("now this", Info(commands, steps))
    return Situation(task, "0/x/0", lived, now, np.random.default_rng(0))


def test_react_shows_its_own_thoughts_in_turn_and_the_commands_of_now_alone():
    messages = ReAct(None).messages(situation(2), (), 2)
    assert [message["role"] for message in messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert messages[1]["content"] == f"Your task: {PANEL[0].instruction}\nYou see: saw 0"
    assert [m["content"] for m in messages if m["role"] == "assistant"] == ["thought 0", "thought 1"]
    assert messages[-1]["content"] == "You see: now this\nPossible commands:\n- drop coin\n- go to attic"
    assert sum("drop coin" in message["content"] for message in messages) == 1


def test_react_with_a_limit_keeps_task_and_present_and_says_what_is_left_out():
    messages = ReAct(1).messages(situation(3), ("look first",), 1)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    head = messages[1]["content"]
    assert "- look first" in head and PANEL[0].instruction in head
    assert "3 steps; the first 2 are left out" in head and head.endswith("saw 2")
    assert ReAct(0).messages(situation(3), (), 0)[-1]["content"].count("now this") == 1


@pytest.mark.parametrize(
    ("reply", "command", "valid"),
    [
        ("Thought: hm.\nAction: go to attic", "go to attic", True),
        ("**Action:** `Go  to attic`.", "go to attic", True),
        (
            'Thought: the action: unclear\nAction: "drop coin"\nObservation: …\nAction: go to attic',
            "drop coin",
            True,
        ),
        ("Action: fly", "fly", False),
        ("I would go to attic", "I would go to attic", False),
        ("", "", False),
    ],
)
def test_react_takes_the_first_action_named(reply, command, valid):
    action = ReAct(None).parse(reply, ("drop coin", "go to attic"))
    assert (action.command, action.valid) == (command, valid)


def test_what_was_thought_is_not_sent_back_and_no_message_is_empty():
    # The first answer is a thought and a text, the second a thought alone, the third is empty.
    answers = [read_answer("<think>Action: fly</think>Thought: a\nAction: look"), Answer("", "b"), Answer("")]
    there = situation(3)
    decisions = [Decision(ReAct(None).parse(a, ("look",)), Completion.of_answer(a)) for a in answers]
    lived = [
        replace(step, command=decision.action.command, decision=decision)
        for step, decision in zip(there.steps, decisions, strict=True)
    ]
    messages = ReAct(None).messages(replace(there, steps=lived), (), 3)
    assert [m["content"] for m in messages if m["role"] == "assistant"] == [
        "Thought: a\nAction: look",
        "(no answer)",
        "(no answer)",
    ]
    failed = Trajectory(PANEL[0], 0, 0, tuple(lived), "end", won=False)
    [reflection] = reflection_messages(failed, (), 3)
    assert re.findall(r"^Step \d: (.*)$", reflection["content"], re.MULTILINE) == [
        "look",
        "(no answer)",
        "(no answer)",
    ]
    # With fewer steps, their numbers stay.
    [reflection] = reflection_messages(failed, (), 1)
    assert (
        "the first 2 are left out" in reflection["content"] and "Step 3: (no answer)" in reflection["content"]
    )
    assert "Step 2" not in reflection["content"]


def test_react_leaves_brackets_alone():
    assert ReAct(None).parse("Action: click[buy now]", ("click[buy now]",)) == Action("click[buy now]")


def test_reflexion_tries_again_what_it_has_not_won_and_is_told_what_it_wrote(tmp_path):
    # Where it does not see the coin at the start, the model needs a lesson to do anything that is understood.
    def learns_late(messages):
        if "what went wrong" in messages[-1]["content"]:
            return "next time i play as in the book"
        start = messages[1]["content"]
        knows_how = "a coin is here" in start or "play as in the book" in start
        return player(messages) if knows_how else "Action: nonsense"

    with (
        serving(ChatServer(learns_late)) as server,
        open_chat(Server("m", server.url, "k"), tmp_path) as client,
    ):
        once = play(SUITE, EndpointAgent(client, ReAct(None), 1), PANEL, temperature=0.0, seed=[0])
        twice = play(SUITE, EndpointAgent(client, ReAct(None), 2), PANEL, temperature=0.0, seed=[0])
    # The coin lies in the hall, where every episode starts, in two of the six tasks.
    assert [trajectory.won for trajectory in once] == [task.game[0] == "hall" for task in PANEL]
    assert all(trajectory.won for trajectory in twice)
    assert [trajectory.task for trajectory in twice] == list(PANEL)
    reflections = [r for r in server.requests if "what went wrong" in r["messages"][-1]["content"]]
    assert len(reflections) == 4
    assert all("You saw: nothing happens." in r["messages"][-1]["content"] for r in reflections)


def test_the_last_three_lessons_are_kept_each_with_its_task(tmp_path):
    count = iter(range(100))
    failed = [Trajectory(task, n, 0, (), "end", won=False) for n, task in enumerate(PANEL[:2])]
    with (
        serving(ChatServer(lambda m: f"{next(count)}")) as server,
        open_chat(Server("m", server.url, "k", 1), tmp_path) as c,
    ):
        agent = EndpointAgent(c, ReAct(None), 5)
        for _ in range(4):
            agent = agent.reflect(failed, 0.0)
    # Eight lessons were written, for the two tasks in turn; of each task's four the last three are kept.
    assert agent.lessons == {PANEL[0].id: ("2", "4", "6"), PANEL[1].id: ("3", "5", "7")}


def test_the_command_tells_tokens_and_cost_and_goes_on_in_the_same_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    with serving(ChatServer(lambda m: "<think></think><action>look</action>")) as server:
        args = ["evaluate", "--policy", "endpoint", "expert", "--model", "a/b", "--base-url", server.url]
        args += ["--tasks", "1", "--split", "valid_seen", "--price-input", "2", "--price-output", "50"]
        args += ["--request", '{"max_tokens": null, "top_p": 0.5}', "env:household", "--env.max-steps", "4"]
        assert main(args) == 0
        first = " ".join(capsys.readouterr().out.split())
        assert main(args) == 0
        second = " ".join(capsys.readouterr().out.split())
    # 4 steps at 100 and 10 tokens: 400 · 2 + 40 · 50 = 2,800 millionths.
    assert "4 replies requested, 0 taken from" in first and "400 input tokens, 40 output tokens" in first
    assert "0.0028 in all" in first
    assert "0 replies requested, 4 taken from" in second and "0.0028 in all" in second
    assert len(server.requests) == 4
    assert all(r["top_p"] == 0.5 and "max_tokens" not in r and r["model"] == "a/b" for r in server.requests)
    assert (tmp_path / "runs/evaluate-household-a-b-plain/replies.jsonl").exists()
    record = json.loads(
        (tmp_path / "runs/evaluate-household-a-b-plain/replies.jsonl").read_text().splitlines()[0]
    )
    assert set(record) == {"question", "choice", "usage"}
    assert record["choice"]["message"]["content"] == "<think></think><action>look</action>"


@pytest.mark.parametrize(
    ("reply", "lesson"),
    [
        ("take the coin first", "take the coin first"),
        ("<think>hm, the coin</think>\ntake the coin first", "take the coin first"),
        ("hm, the coin</think>take the coin first", "take the coin first"),
        ({"message": {"content": "take the coin first", "reasoning_content": "hm"}}, "take the coin first"),
        ("<think>hm, the coin", None),
        ("", None),
        (None, None),
        ({"message": {"content": "", "refusal": "I cannot reflect"}}, None),
        ({"message": {"content": "I cannot"}, "finish_reason": "content_filter"}, None),
        ({"message": {"content": None, "tool_calls": [{"id": "1"}]}, "finish_reason": "tool_calls"}, None),
        (refused(400, "not this", "content_filter"), None),
        (Raw(500, b"oops"), None),
    ],
)
def test_a_lesson_is_what_the_model_says_not_what_it_thinks(reply, lesson, tmp_path):
    failed = [Trajectory(task, n, 0, (), "end", won=False) for n, task in enumerate(PANEL[:2])]
    first = PANEL[0].instruction
    with (
        serving(ChatServer(lambda m: "of old" if m[0]["content"] == "hello" else reply)) as server,
        open_chat(Server("m", server.url, None, attempts=2), tmp_path, **Pauses().opening) as client,
    ):
        client.ask([[{"role": "user", "content": "hello"}]], 0.0)
        agent = EndpointAgent(client, ReAct(None), 5, {PANEL[0].id: ("of old",)}).reflect(failed, 0.0)
    assert first == PANEL[1].instruction
    told = () if lesson is None else (lesson,)
    assert agent.lessons.get(PANEL[0].id) == ("of old", *told)
    assert agent.lessons.get(PANEL[1].id, ()) == told


def limited(characters, otherwise=player, where=""):
    """Plays, but takes no conversation of more characters, if these words stand in it."""

    def reply(messages):
        words = "".join(message["content"] for message in messages)
        return FAULTS["too_long"] if len(words) > characters and where in words else otherwise(messages)

    return reply


def played(server, folder, prompting, panel=PANEL, **settings):
    with open_chat(Server("m", server.url, None, **settings), folder) as client:
        return play(SUITE, EndpointAgent(client, prompting), panel, temperature=0.0, seed=[0]), client.usage


def lives(trajectories):
    return [(t.won, t.failure, [step.decision.action for step in t.steps]) for t in trajectories]


def shown_steps(request):
    return sum(message["role"] == "assistant" for message in request["messages"])


def test_a_conversation_that_is_too_long_leaves_out_its_oldest_exchanges(tmp_path):
    with serving(ChatServer(player)) as free:
        expected, _ = played(free, tmp_path / "free", ReAct(None))
    # The longest conversations have four exchanges; about three fit.
    lengths = [sum(len(m["content"]) for m in request["messages"]) for request in free.requests]
    limit = sorted(lengths)[int(0.8 * len(lengths))]
    with serving(ChatServer(limited(limit))) as server:
        trajectories, usage = played(server, tmp_path / "limited", ReAct(None))
        assert lives(trajectories) == lives(expected)
        short = [r for r in server.requests if "are left out" in r["messages"][1]["content"]]
        assert short and max(map(shown_steps, server.requests)) > max(map(shown_steps, short))
        # Prompts that fit are the same as without a limit.
        fit = [r for r in server.requests if "are left out" not in r["messages"][1]["content"]]
        assert all(request in free.requests for request in fit)
        # The same command asks for nothing more and plays the same.
        count = len(server.requests)
        again, resumed = played(server, tmp_path / "limited", ReAct(None))
        assert lives(again) == lives(trajectories) and len(server.requests) == count
        assert (resumed.replayed, resumed.asked) == (usage.asked, 0)


def test_what_was_too_long_at_one_step_is_not_tried_at_the_next(tmp_path):
    # Each conversation may hold two exchanges; the model goes on walking until its eight steps are over.
    def reply(messages):
        if sum(message["role"] == "assistant" for message in messages) > 2:
            return FAULTS["too_long"]
        return "Action: go to attic" if "in the hall" in messages[-1]["content"] else "Action: go to hall"

    with serving(ChatServer(reply)) as server:
        [trajectory], usage = played(server, tmp_path, ReAct(None), PANEL[:1])
    assert len(trajectory.steps) == 8 and usage.asked == 8
    # Steps 4 to 8 have three exchanges behind what is left out, of which the oldest is one too many.
    assert [shown_steps(request) for request in server.requests] == [0, 1, 2, *[3, 2] * 5]


@pytest.mark.parametrize("prompting", [Plain(2), Plain(None), ReAct(None), ReAct(1)])
def test_what_is_too_long_without_any_history_loses_its_episode_alone(prompting, tmp_path):
    with serving(ChatServer(player)) as free:
        expected, _ = played(free, tmp_path / "free", prompting)
    # Where the coin lies in the attic, what is seen there is too long.
    with serving(ChatServer(limited(0, where="you are in the attic. a coin is here"))) as server:
        trajectories, _ = played(server, tmp_path / "limited", prompting)
    for task, trajectory, other in zip(PANEL, trajectories, expected, strict=True):
        if task.game[0] == "attic":
            assert trajectory.failure == Failure("too_long", "maximum context length is 8 tokens")
            assert not trajectory.won and len(trajectory.steps) == 1
        else:
            assert lives([trajectory]) == lives([other])


def test_a_reflection_that_is_too_long_leaves_out_the_first_steps(tmp_path):
    lived = tuple(situation(6).steps)
    failed = [Trajectory(PANEL[0], 0, 0, lived, "end", won=False)]

    def reply(messages):
        return FAULTS["too_long"] if messages[-1]["content"].count("\nStep ") > 4 else "look first"

    with (
        serving(ChatServer(reply)) as server,
        open_chat(Server("m", server.url, None), tmp_path) as client,
    ):
        client.ask([[{"role": "user", "content": "hello"}]], 0.0)
        agent = EndpointAgent(client, ReAct(None), 2).reflect(failed, 0.0)
    assert agent.lessons == {PANEL[0].id: ("look first",)}
    assert [text.count("\nStep ") for text in contents(server)] == [0, 6, 5, 4]


def test_lost_episodes_are_counted_by_kind_and_not_won(tmp_path):
    def reply(messages):
        words = messages[-1]["content"]
        if "you are in the attic. a coin" in words:
            return FAULTS["filter"]
        return FAULTS["bad"] if "you are in the cellar. a coin" in words else player(messages)

    with serving(ChatServer(reply)) as server, open_chat(Server("m", server.url, None), tmp_path) as client:
        agent = EndpointAgent(client, ReAct(None))
        result = evaluate_split(SUITE, agent, "held_out", temperature=0.0, seed=[0])
        protocol = PublishedProtocol(seeds=2, draws=12)
        published = evaluate_published(SUITE, agent, "held_out", protocol, [0])
    # Two tasks have their coin in the attic, two in the cellar.
    assert result.failed == {"content_filter": 2, "http_400": 2}
    assert (result.success.won, result.success.tasks) == (2, 6)
    assert result.tasks_won == tuple(task.game[0] == "hall" for task in PANEL)
    drawn = [task for n in range(2) for task in np.random.default_rng([0, n]).integers(6, size=12)]
    kinds = {"attic": "content_filter", "cellar": "http_400"}
    expected = Counter(kinds[PANEL[i].game[0]] for i in drawn if PANEL[i].game[0] in kinds)
    assert published.failed == expected


def evaluated(server, folder, *args):
    base = ["evaluate", "--policy", "endpoint", "--model", "m", "--base-url", server.url, "--tasks", "2"]
    base += ["--split", "valid_unseen", "--out", str(folder), *args, "env:household", "--env.max-steps", "4"]
    return main(base)


def test_the_command_goes_on_without_a_lost_episode_and_says_how_many_and_why(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def reply(messages):
        words = messages[-1]["content"]
        command = re.findall(r"^- (.*)$", words, re.MULTILINE)[0]
        good = f"<think></think><action>{command}</action>"
        return FAULTS["filter"] if "at step 3" in words else good

    with serving(ChatServer(reply)) as server:
        # Both episodes fail, so the command measured nothing and says so by its code.
        assert evaluated(server, tmp_path) == 1
        first, count = " ".join(capsys.readouterr().out.split()), len(server.requests)
        assert evaluated(server, tmp_path) == 1
        assert len(server.requests) == count
        assert evaluated(server, tmp_path, "--ask-refused-again", "--published") == 2
        assert evaluated(server, tmp_path, "--ask-refused-again") == 1
        assert len(server.requests) > count
    assert "valid_unseen: 2 failed before the end, counted as not won (content_filter 2)" in first
    assert "failed: " in first and "it triggers the policy" in first
    [record] = json.loads((tmp_path / "results.json").read_text())
    assert record["failed"] == {"content_filter": 2} and record["success"] == {"won": 0, "tasks": 2}
    # One that another server answers is played to its end.
    with serving(ChatServer(lambda m: "<think></think><action>look</action>")) as server:
        assert evaluated(server, tmp_path, "--ask-refused-again") == 0
    [record] = json.loads((tmp_path / "results.json").read_text())
    assert record["failed"] == {} and record["mean_steps"] == 4


@pytest.mark.parametrize(
    "key",
    ["sk-abc”", "“sk-abc”", "sk a", "sk-\nabc", "'sk-abc'", '"sk-abc"', "sk-é", "sk-\u200babc", "Bearer sk-abc"],
)  # fmt: skip
def test_a_key_that_no_header_can_hold_is_a_wrong_setting(key, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with serving(ChatServer(echo)) as server:
        assert evaluated(server, tmp_path) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "OPENAI_API_KEY" in error and "abc" not in error
    assert server.requests == []


def test_a_key_with_a_line_break_at_its_end_is_taken_without(tmp_path, monkeypatch):
    monkeypatch.setenv("MINE", " sk-right\n")
    with serving(ChatServer(echo, key="sk-right")) as server:
        assert evaluated(server, tmp_path, "--key-variable", "MINE") == 0
        monkeypatch.setenv("MINE", "  ")
        assert evaluated(server, tmp_path, "--key-variable", "MINE") == 2


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "htp://localhost/v1",
        "ftp://localhost/v1",
        "//localhost/v1",
        "/v1",
        "http://",
        "",
        "http://[::1/v1",
        "http://127.0.0.1:99999/v1",
        "http://a b/v1",
        "http://a..b/v1",
        "http://a\nb/v1",
    ],
)
def test_an_address_that_is_none_is_a_wrong_setting(url, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert evaluated(ChatServer(echo, url=url), tmp_path) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--base-url" in error and "http://localhost:8000/v1" in error
