"""Prompted models behind a server: what they are asked, how faults pass, what is kept and what it costs."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from chat_server import ChatServer, serving
from toy import ToySuite

from hgpo.agents import Situation
from hgpo.agents.chat import Server, open_chat
from hgpo.agents.endpoint import EndpointAgent
from hgpo.agents.prompting import Plain, ReAct
from hgpo.answers import Answer
from hgpo.cli import main
from hgpo.episodes import Step, Trajectory
from hgpo.errors import RunError
from hgpo.evaluate import evaluate_panel, play
from hgpo.policies.base import Completion
from hgpo.prompts import Action

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


def ask(server, folder, conversations, **settings):
    settings = {"longest_wait": 0.05, "key": "secret-key-of-the-test", **settings}
    with open_chat(Server("toy-model", server.url, **settings), folder) as client:
        return client.ask(conversations, 0.5), client.usage


def hello(count):
    return [[{"role": "user", "content": f"hello {number}"}] for number in range(count)]


def echo(messages):
    return f"you said {messages[-1]['content']}"


def test_replies_come_in_the_order_of_the_questions_and_never_too_many_at_once(tmp_path):
    with serving(ChatServer(echo, delay=0.03)) as server:
        replies, usage = ask(server, tmp_path, hello(12), concurrency=3)
    assert replies == [f"you said hello {number}" for number in range(12)]
    assert server.most_at_once == 3
    assert (usage.asked, usage.retries) == (12, 0)
    assert (usage.prompt_tokens, usage.completion_tokens) == (1200, 120)


@pytest.mark.parametrize("fault", ["drop", "busy", "broken", "no json", "no chat", "no text"])
def test_a_fault_that_passes_is_asked_again(fault, tmp_path):
    with serving(ChatServer(echo, faults=[fault, fault])) as server:
        replies, usage = ask(server, tmp_path, hello(1))
    assert replies == ["you said hello 0"]
    assert (len(server.requests), usage.retries, usage.asked) == (3, 2, 1)
    assert usage.prompt_tokens == 100


def test_the_server_says_how_long_to_wait(tmp_path):
    # Our own first pause is at most longest_wait, a 20th of a second; the server asks for 0.2.
    with serving(ChatServer(echo, faults=["busy"])) as server:
        ask(server, tmp_path, hello(1))
    assert server.arrivals[1] - server.arrivals[0] >= 0.2


@pytest.mark.parametrize(
    ("fault", "words"), [("quota", "quota is used up"), ("too long", "maximum context length is 8 tokens")]
)
def test_a_fault_that_does_not_pass_ends_it_at_once_with_the_cure(fault, words, tmp_path):
    with serving(ChatServer(echo, faults=[fault] * 9)) as server, pytest.raises(RunError, match=words):
        ask(server, tmp_path, hello(1))
    assert len(server.requests) == 1


def test_a_server_that_only_fails_ends_it_and_what_came_before_is_kept(tmp_path):
    with serving(ChatServer(echo)) as server:
        ask(server, tmp_path, hello(2))
    with (
        serving(ChatServer(echo, faults=["broken"] * 99)) as broken,
        pytest.raises(RunError, match="failed 3 times in a row"),
    ):
        ask(broken, tmp_path, hello(4), attempts=3, concurrency=1)
    # The first of the two new questions is asked three times; then nothing more is sent.
    assert len(broken.requests) == 3
    with serving(ChatServer(echo)) as server:
        replies, usage = ask(server, tmp_path, hello(4))
    assert replies == [f"you said hello {number}" for number in range(4)]
    assert (usage.replayed, usage.asked) == (2, 2)


def test_equal_questions_are_each_paid_for_once_and_each_replayed_once(tmp_path):
    # Draws from a distribution: two equal questions have two replies, and a third call finds both.
    count = iter(range(100))
    with serving(ChatServer(lambda messages: f"draw {next(count)}")) as server:
        first, _ = ask(server, tmp_path, [*hello(1), *hello(1)])
        again, usage = ask(server, tmp_path, [*hello(1), *hello(1), *hello(1)])
    assert sorted(first) == ["draw 0", "draw 1"]
    assert sorted(again) == ["draw 0", "draw 1", "draw 2"]
    assert (usage.replayed, usage.asked) == (2, 1)


def test_a_reply_cut_off_in_writing_is_asked_again(tmp_path):
    with serving(ChatServer(echo)) as server:
        ask(server, tmp_path, hello(2), concurrency=1)
        journal = tmp_path / "replies.jsonl"
        journal.write_text(journal.read_text()[:-20])
        _, usage = ask(server, tmp_path, hello(2))
        assert (usage.replayed, usage.asked) == (1, 1)
        # What was written behind the stump is whole.
        _, usage = ask(server, tmp_path, hello(2))
        assert (usage.replayed, usage.asked) == (2, 0)


def test_two_processes_do_not_share_a_folder(tmp_path):
    server = Server("m", "http://127.0.0.1:1/v1", "k")
    with (
        open_chat(server, tmp_path),
        pytest.raises(RunError, match="another process"),
        open_chat(server, tmp_path),
    ):
        pass


def test_the_key_is_in_the_requests_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-and-secret")
    with serving(ChatServer(player, key="sk-right")) as server:
        args = ["evaluate", "--policy", "endpoint", "--model", "m", "--base-url", server.url]
        assert main([*args, "--games", "1", "--out", str(tmp_path / "out")]) == 1
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
            result = evaluate_panel(
                SUITE, EndpointAgent(client, prompting), "held_out", temperature=0.0, seed=[0]
            )
        assert result.success.rate == 1.0
        assert result.answers.valid_share == 1.0


def test_an_evaluation_that_was_stopped_goes_on_without_paying_again(tmp_path):
    def run(server):
        with open_chat(Server("m", server.url, "k", attempts=1), tmp_path) as client:
            result = evaluate_panel(
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
            f"saw {n}",
            n,
            commands,
            (),
            Completion.of_answer(Answer(f"thought {n}")),
            Action(f"did {n}"),
            0.0,
            False,
            False,
        )
        for n in range(steps)
    ]
    return Situation(task, "0/x/0", lived, "now this", commands, np.random.default_rng(0))


def test_react_shows_its_own_thoughts_in_turn_and_the_commands_of_now_alone():
    messages = ReAct(None).messages(situation(2), ())
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
    messages = ReAct(1).messages(situation(3), ("look first",))
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    head = messages[1]["content"]
    assert "- look first" in head and PANEL[0].instruction in head
    assert "3 steps; the first 2 are left out" in head and head.endswith("saw 2")
    assert ReAct(0).messages(situation(3), ())[-1]["content"].count("now this") == 1


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
    failed = [Trajectory(task, str(n), (), "end", won=False) for n, task in enumerate(PANEL[:2])]
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
        args += ["--games", "1", "--panel", "valid_seen", "--price-input", "2", "--price-output", "50"]
        args += ["--request", '{"max_tokens": null, "top_p": 0.5}', "env:household", "--env.max-steps", "4"]
        assert main(args) == 0
        first = " ".join(capsys.readouterr().out.split())
        assert main(args) == 0
        second = " ".join(capsys.readouterr().out.split())
    # 4 steps at 100 and 10 tokens: 400 · 2 + 40 · 50 = 2,800 millionths.
    assert "4 replies asked for, 0 taken from" in first and "400 tokens read, 40 written" in first
    assert "0.0028 in all" in first
    assert "0 replies asked for, 4 taken from" in second and "0.0028 in all" in second
    assert len(server.requests) == 4
    assert all(r["top_p"] == 0.5 and "max_tokens" not in r and r["model"] == "a/b" for r in server.requests)
    assert (tmp_path / "runs/evaluate-household-a-b-plain/replies.jsonl").exists()
    record = json.loads(
        (tmp_path / "runs/evaluate-household-a-b-plain/replies.jsonl").read_text().splitlines()[0]
    )
    assert set(record) == {"question", "text", "prompt_tokens", "completion_tokens"}
