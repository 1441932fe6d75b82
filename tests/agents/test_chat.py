"""Requests to a chat server: which faults are temporary, which end an episode or the run, and what is kept."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
from email.utils import formatdate

import pytest
from chat_server import FAULTS, ChatServer, Pauses, Raw, contents, echo, refused, serving

from hgpo.agents.chat import Server, open_chat
from hgpo.errors import RunError, SettingError
from hgpo.policies.answers import Answer
from hgpo.rollouts.episodes import Failure


def asked(server, folder, conversations, *, opening=None, **settings):
    """Answers or losses, and what was counted; `opening` are the arguments of `open_chat`."""
    settings = {"longest_pause": 0.05, "key": "secret-key-of-the-test", **settings}
    with open_chat(Server("toy-model", server.url, **settings), folder, **opening or {}) as client:
        return client.ask(conversations, 0.5), client.usage


def ask(server, folder, conversations, **settings):
    """The texts of the answers, none of which is lost, and what was counted."""
    answers, usage = asked(server, folder, conversations, **settings)
    return [answer.text for answer in answers if isinstance(answer, Answer)], usage


def hello(count):
    return [[{"role": "user", "content": f"hello {number}"}] for number in range(count)]


def test_replies_come_in_the_order_of_the_questions_and_never_too_many_at_once(tmp_path):
    with serving(ChatServer(echo, delay=0.03)) as server:
        replies, usage = ask(server, tmp_path, hello(12), concurrency=3)
    assert replies == [f"you said hello {number}" for number in range(12)]
    assert server.most_at_once == 3
    assert (usage.asked, usage.retries) == (12, 0)
    assert (usage.prompt_tokens, usage.completion_tokens) == (1200, 120)


@pytest.mark.parametrize(
    "fault",
    "drop busy broken no_json half nothing page no_chat no_text no_choice loading upstream cut_stream".split(),
)
def test_a_fault_that_passes_is_asked_again(fault, tmp_path):
    with serving(ChatServer(echo, faults=[fault, fault])) as server:
        replies, usage = ask(server, tmp_path, hello(1))
    assert replies == ["you said hello 0"]
    assert (len(server.requests), usage.retries, usage.asked) == (3, 2, 1)
    assert usage.prompt_tokens == 100


def test_two_different_errors_in_turn_are_each_taken_as_they_are(tmp_path):
    faults = ["broken", "loading", "drop", "half"]
    with serving(ChatServer(echo, faults=faults)) as server:
        replies, usage = ask(server, tmp_path, hello(1))
    assert replies == ["you said hello 0"] and usage.retries == 4
    with serving(ChatServer(echo, faults=[None, "broken", "filter"])) as server:
        answers, usage = asked(server, tmp_path, hello(3)[1:], concurrency=1)
    assert answers == [Answer("you said hello 1"), Failure("content_filter", "it triggers the policy")]
    assert usage.retries == 1


@pytest.mark.parametrize(
    ("fault", "words"), [("quota", "quota is used up"), ("too_long", "maximum context length is 8 tokens")]
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
        pytest.raises(RunError, match="failed 4 times in a row"),
    ):
        ask(broken, tmp_path, hello(4), attempts=3, concurrency=1)
    # The first of the two new questions is asked three times, then once what was answered before.
    last = [request["messages"][0]["content"] for request in broken.requests]
    assert last[:3] == ["hello 2"] * 3 and len(last) == 4 and last[3] in ("hello 0", "hello 1")
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


def refusing(words, fault, otherwise=echo):
    """Refuses prompts that contain one of the words."""
    return lambda messages: fault if messages[-1]["content"] in words else otherwise(messages)


def test_before_the_first_answer_requests_go_out_one_by_one(tmp_path):
    # What is wrong with the first is wrong with all: the key is refused once, not sixteen times.
    with (
        serving(ChatServer(echo, key="right", delay=0.02)) as server,
        pytest.raises(RunError, match="Incorrect"),
    ):
        ask(server, tmp_path, hello(16), key="a-wrong-one")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "120"}, {"retry-after-ms": "120000"}, {"Retry-After": "date"}],
    ids=["seconds", "milliseconds", "date"],
)
def test_the_wait_that_a_server_asks_for_is_told_and_kept(headers, tmp_path):
    date = formatdate(time.time() + 120, usegmt=True)
    headers = {name: value.replace("date", date) for name, value in headers.items()}
    pauses = Pauses()
    with serving(ChatServer(echo, faults=[refused(429, "slow down", "rate", **headers)])) as server:
        ask(server, tmp_path, hello(1), opening=pauses.opening)
    assert pauses.seconds == [pytest.approx(120, abs=2)]
    assert len(pauses.lines) == 1 and server.url in pauses.lines[0] and "slow down" in pauses.lines[0]
    assert "in 2 min, attempt 2 of 8" in pauses.lines[0].replace("119 s", "2 min").replace("118 s", "2 min")


@pytest.mark.parametrize("status", [200, 408, 409, 429, 500, 503])
def test_a_wait_of_hours_ends_it_with_what_the_server_asks(status, tmp_path):
    pauses = Pauses()
    # 198,300 s are 55.08 h.
    fault = refused(status, "slow down", 503 if status == 200 else None, Retry_After="198300")
    with (
        serving(ChatServer(echo, faults=[None, None, *[fault] * 9])) as server,
        pytest.raises(RunError, match=r"asks to wait 55 h: slow down.*replies that came are kept") as error,
    ):
        ask(server, tmp_path, hello(9), opening=pauses.opening, concurrency=1)
    assert "\n" not in str(error.value) and server.url in str(error.value)
    assert pauses.seconds == [] and len(server.requests) == 3
    with serving(ChatServer(echo)) as server:
        replies, usage = ask(server, tmp_path, hello(9))
    assert (usage.replayed, usage.asked, len(replies)) == (2, 7, 9)


def test_pauses_grow_and_are_told_but_not_each_of_sixteen_at_once(tmp_path):
    pauses = Pauses()
    faults = [None, *["loading"] * 16]
    with serving(ChatServer(echo, faults=faults)) as server:
        ask(server, tmp_path, hello(17), opening=pauses.opening, longest_pause=60.0)
    assert len(pauses.seconds) == 16 and max(pauses.seconds) <= 60.0
    assert len(pauses.lines) == 1 and "model is loading (http_503); asked again in" in pauses.lines[0]


def test_a_pause_ends_when_another_request_ends_the_evaluation(tmp_path):
    slow = refused(429, "slow down", Retry_After="200")
    key = refused(401, "the key was taken back")
    began = time.monotonic()
    with (
        serving(
            ChatServer(lambda m: {"hello 0": "a", "hello 1": slow}.get(m[-1]["content"], key), delay=0.05)
        ) as server,
        pytest.raises(RunError, match="taken back"),
    ):
        ask(server, tmp_path, hello(3))
    assert time.monotonic() - began < 20


def test_ctrl_c_ends_a_pause_at_once_and_the_replies_are_kept(tmp_path):
    def interrupted(line):
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    try:
        with (
            serving(ChatServer(echo, faults=[None, refused(429, "slow down", Retry_After="200")])) as server,
            pytest.raises(KeyboardInterrupt),
        ):
            ask(server, tmp_path, hello(2), opening={"say": interrupted})
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 20
    with serving(ChatServer(echo)) as server:
        _, usage = ask(server, tmp_path, hello(2))
    assert (usage.replayed, usage.asked) == (1, 1)


def test_bytes_that_never_end_are_no_reply(tmp_path):
    began = time.monotonic()
    with serving(ChatServer(echo, faults=["drip"])) as server:
        replies, usage = ask(server, tmp_path, hello(1), timeout=0.3)
    assert (replies, usage.retries) == (["you said hello 0"], 1)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("filter", "content_filter", "it triggers the policy"),
        ("too_long", "too_long", "maximum context length is 8 tokens"),
        ("bad", "http_400", "I do not like this"),
        (refused(422, "what is this?"), "http_422", "what is this?"),
        (refused(403, "not this"), "http_403", "not this"),
        (refused(400, "limited", "invalid_prompt"), "invalid_prompt", "limited"),
        (Raw(413, b"<h1>Request Entity Too Large</h1>"), "too_long", "Request Entity Too Large"),
        (refused(200, "not that", 400), "http_400", "not that"),
    ],
)
def test_a_prompt_that_is_refused_while_others_are_answered_is_lost_and_not_asked_again(
    fault, kind, words, tmp_path
):
    fault = FAULTS.get(fault, fault) if isinstance(fault, str) else fault
    with serving(ChatServer(refusing(["hello 1", "hello 5"], fault))) as server:
        answers, usage = asked(server, tmp_path, hello(6))
        lost = Failure(kind, words)
        expected = [lost if n in (1, 5) else Answer(f"you said hello {n}") for n in range(6)]
        assert answers == expected
        # Where the server does not say that it is the prompt, what it has answered before is asked for once.
        assert contents(server).count("hello 1") == 1 and usage.asked in (4, 5, 6)
        count = len(server.requests)
        assert asked(server, tmp_path, hello(6))[0] == expected
        assert len(server.requests) == count
        # Unless one wants to ask again.
        asked(server, tmp_path, hello(6), opening={"forget_refusals": True})
        assert {"hello 1", "hello 5"} <= set(contents(server)[count:])
    # Also where nothing else is in the file.
    journal = tmp_path / "replies.jsonl"
    refusals = [line for line in journal.read_text().splitlines(True) if "refused" in line]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "replies.jsonl").write_text("".join(refusals))
    with serving(ChatServer(echo)) as server:
        asked(server, tmp_path / "other", hello(2), opening={"forget_refusals": True})
        assert len(server.requests) == 2
    with serving(ChatServer(echo)) as server:
        answers, usage = asked(server, tmp_path, hello(6), opening={"forget_refusals": True})
        assert answers == [Answer(f"you said hello {n}") for n in range(6)] and usage.asked == 2
        assert asked(server, tmp_path, hello(6))[0] == answers and len(server.requests) == 2


@pytest.mark.parametrize(
    "fault", ["filter", "too_long", "bad", refused(403, "not you"), refused(422, "what?")]
)
def test_a_server_that_refuses_everything_ends_it_with_its_words_and_nothing_is_held_against_it(
    fault, tmp_path
):
    fault = FAULTS[fault] if isinstance(fault, str) else fault
    with serving(ChatServer(lambda messages: fault)) as server, pytest.raises(RunError) as error:
        ask(server, tmp_path, hello(20))
    words = json.loads(fault.body)["error"]["message"]
    assert words in str(error.value) and server.url in str(error.value) and "\n" not in str(error.value)
    # Three prompts say enough.
    assert len(server.requests) == 3
    with serving(ChatServer(echo)) as server:
        replies, usage = ask(server, tmp_path, hello(20))
    assert (len(replies), usage.asked, usage.replayed) == (20, 20, 0)


def test_a_server_that_begins_to_refuse_everything_ends_it_and_loses_nothing(tmp_path):
    with (
        serving(ChatServer(echo, faults=[None] * 3 + ["bad"] * 99)) as server,
        pytest.raises(RunError, match="I do not like this"),
    ):
        ask(server, tmp_path, hello(9), concurrency=1)
    # The fourth prompt is refused, and so is what was answered before.
    assert contents(server) == ["hello 0", "hello 1", "hello 2", "hello 3", "hello 2"]
    with serving(ChatServer(echo)) as server:
        replies, usage = ask(server, tmp_path, hello(9))
    assert (len(replies), usage.asked, usage.replayed) == (9, 6, 3)


@pytest.mark.parametrize("fault", ["broken", "nothing", "page", "half", "no_text", "upstream", "drop"])
def test_a_prompt_at_which_the_server_fails_each_time_is_lost_until_a_later_call(fault, tmp_path):
    attempts = []

    def reply(messages):
        if messages[-1]["content"] != "hello 1":
            return echo(messages)
        attempts.append(1)
        return FAULTS.get(fault, Raw(502, b"lost the connection"))

    with serving(ChatServer(reply)) as server:
        answers, usage = asked(server, tmp_path, hello(3), attempts=3, opening=Pauses().opening)
    assert isinstance(answers[1], Failure) and (len(attempts), usage.retries) == (3, 2)
    assert [answer for answer in answers if isinstance(answer, Answer)] == [
        Answer("you said hello 0"),
        Answer("you said hello 2"),
    ]
    with serving(ChatServer(echo)) as server:
        answers, _ = asked(server, tmp_path, hello(3))
    assert answers[1] == Answer("you said hello 1") and contents(server) == ["hello 1"]


def test_a_server_that_only_fails_from_the_start_is_tried_with_few_prompts(tmp_path):
    with (
        serving(ChatServer(lambda messages: FAULTS["page"])) as server,
        pytest.raises(RunError, match=r"failed 6 times in a row.*Sign in.*--base-url"),
    ):
        ask(server, tmp_path, hello(9), attempts=4, opening=Pauses().opening)
    # The first prompt four times, then two others once.
    assert contents(server) == ["hello 0"] * 4 + ["hello 1", "hello 2"]


def test_a_first_prompt_at_which_the_server_fails_is_lost_alone(tmp_path):
    with serving(ChatServer(refusing(["hello 0"], FAULTS["page"]))) as server:
        answers, _ = asked(server, tmp_path, hello(3), attempts=2, opening=Pauses().opening)
    assert isinstance(answers[0], Failure) and answers[0].kind == "no_chat_completion"
    assert answers[1:] == [Answer("you said hello 1"), Answer("you said hello 2")]
    # A later call asks it again.
    with serving(ChatServer(echo)) as server:
        assert asked(server, tmp_path, hello(3))[0][0] == Answer("you said hello 0")


def test_what_ends_the_evaluation_is_not_held_against_the_prompts_of_the_moment(tmp_path):
    # Four answers, then a refusal without a reason of all that is under way: nothing is lost.
    with (
        serving(ChatServer(echo, faults=[None] * 4 + ["bad"] * 99, delay=0.05)) as server,
        pytest.raises(RunError, match="I do not like this"),
    ):
        ask(server, tmp_path, hello(12), concurrency=3)
    assert "refused" not in (tmp_path / "replies.jsonl").read_text()


def rules(number):
    return [{"role": "system", "content": "play well"}, {"role": "user", "content": f"hello {number}"}]


@pytest.mark.parametrize(
    "fault",
    [
        refused(400, "System role not supported"),
        refused(500, "Conversation roles must alternate user/assistant/user/assistant/..."),
        refused(200, "System role not supported", 400),
        # Without a word of the role: that it passes without tells.
        refused(400, "bad request"),
        refused(422, "template error"),
    ],
)
def test_a_server_without_system_role_gets_the_rules_in_the_users_message(fault, tmp_path):
    def reply(messages):
        return fault if messages[0]["role"] == "system" else echo(messages)

    conversations = [rules(number) for number in range(6)]
    with serving(ChatServer(reply, delay=0.01)) as server:
        replies, _ = ask(server, tmp_path, conversations)
        assert replies == [f"you said play well\n\nhello {number}" for number in range(6)]
        # It is found out once, for all conversations and all later calls.
        assert [r["messages"][0]["role"] for r in server.requests] == ["system"] + ["user"] * 6
        replies, usage = ask(server, tmp_path, [*conversations, rules(6)])
        assert (usage.replayed, len(server.requests)) == (6, 8)
        assert server.requests[-1]["messages"] == [{"role": "user", "content": "play well\n\nhello 6"}]


def test_what_is_refused_with_and_without_system_role_is_told_as_it_was_at_first(tmp_path):
    def reply(messages):
        return refused(400, "no rules" if messages[0]["role"] == "system" else "no users")

    with serving(ChatServer(reply)) as server, pytest.raises(RunError, match="no rules"):
        ask(server, tmp_path, [rules(0)])
    # Once one was answered, a refusal says nothing of the role.
    with serving(ChatServer(refusing(["hello 1"], FAULTS["bad"]))) as server:
        answers, _ = asked(server, tmp_path, [rules(0), rules(1)])
    assert answers == [Answer("you said hello 0"), Failure("http_400", "I do not like this")]
    assert {request["messages"][0]["role"] for request in server.requests} == {"system"}


def test_the_key_is_not_in_what_is_written_of_refusals(tmp_path):
    fault = refused(400, "secret-key-of-the-test may not ask this", "content_filter")
    with serving(ChatServer(refusing(["hello 1"], fault))) as server:
        answers, _ = asked(server, tmp_path, hello(2))
    assert answers[1] == Failure("content_filter", "… may not ask this")
    assert "secret" not in (tmp_path / "replies.jsonl").read_text()
    # Where no key is sent, no word is taken for one.
    with (
        serving(ChatServer(lambda m: refused(400, "either, but not none"))) as server,
        pytest.raises(RunError, match="not none"),
    ):
        ask(server, tmp_path, hello(3)[2:], key=None)


def test_replies_of_older_versions_and_odd_lines_are_read_as_far_as_they_go(tmp_path):
    with serving(ChatServer(echo)) as server:
        ask(server, tmp_path, hello(3), concurrency=1)
        journal = tmp_path / "replies.jsonl"
        questions = [json.loads(line)["question"] for line in journal.read_text().splitlines()]
        old = {"text": "<think>near</think>go", "prompt_tokens": 7, "completion_tokens": 3}
        lines = [
            "null",
            "7",
            "[]",
            "{}",
            "{",
            '{"question": 7}',
            '{"refused": "x"}',
            '{"question": "x", "text": 7}',
        ]
        lines += [json.dumps({"question": questions[1], "choice": {"message": {"content": 7}}, "usage": {}})]
        lines += [json.dumps({"question": questions[0], **old})]
        journal.write_text("\n".join(lines) + "\n")
        answers, usage = asked(server, tmp_path, hello(2))
    assert answers == [Answer("go", "near"), Answer("you said hello 1")]
    assert (usage.replayed, usage.prompt_tokens, usage.completion_tokens) == (1, 107, 13)


def test_replies_that_cannot_be_written_end_it_in_one_line(tmp_path):
    (tmp_path / "replies.jsonl").symlink_to(tmp_path / "nowhere" / "else")
    with (
        serving(ChatServer(echo)) as server,
        pytest.raises(RunError, match=r"replies.jsonl cannot be read or written") as error,
    ):
        ask(server, tmp_path, hello(1))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "attempts", "words"),
    [
        ("http://127.0.0.1:{closed}/v1", 3, "connection refused"),
        ("https://127.0.0.1:{port}/v1", 1, "begins with http://"),
        ("http://nohost.invalid/v1", None, "nohost.invalid"),
    ],
)
def test_a_server_that_cannot_be_reached_ends_it_at_once_with_the_cause(url, attempts, words, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    pauses = Pauses()
    with serving(ChatServer(echo)) as server:
        port = server.url.split(":")[2].removesuffix("/v1")
        server = Server("m", url.format(port=port, closed=closed), None)
        with (
            pytest.raises(RunError, match=words) as error,
            open_chat(server, tmp_path, **pauses.opening) as client,
        ):
            client.ask(hello(4), 0.5)
    assert "Connection error" not in str(error.value) and "\n" not in str(error.value)
    # One that is not up yet is given a moment, with a line; look-ups fail for good or, without network, not.
    if attempts is not None:
        assert (client.usage.retries, len(pauses.lines)) == (attempts - 1, min(1, attempts - 1))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_is_not_trusted_is_named_until_it_is(tmp_path, monkeypatch):
    files = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=own"
    command += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files[1], files[0])
    pauses = Pauses()
    words = r"certificate verify failed: self.signed certificate.*SSL_CERT_FILE"
    with serving(ChatServer(echo), tls) as server:
        with pytest.raises(RunError, match=words):
            ask(server, tmp_path, hello(1), opening=pauses.opening)
        assert pauses.seconds == []
        # What the message says is done.
        monkeypatch.setenv("SSL_CERT_FILE", str(files[1]))
        assert ask(server, tmp_path, hello(1))[0] == ["you said hello 0"]


@pytest.mark.parametrize(
    ("suffix", "path", "azure"),
    [
        ("/openai/deployments/gpt?api-version=2024-02-01", "/openai/deployments/gpt/chat/completions?api-version=2024-02-01", True),
        ("/openai/deployments/gpt/?api-version=1&a=b%20c", "/openai/deployments/gpt/chat/completions?api-version=1&a=b%20c", True),
        ("/openai/deployments/gpt/chat/completions?api-version=1", "/openai/deployments/gpt/chat/completions?api-version=1", True),
        ("/openai/v1/", "/openai/v1/chat/completions", False),
        ("/v1?tenant=7", "/v1/chat/completions?tenant=7", False),
        ("/v1/chat/completions", "/v1/chat/completions", False),
        ("", "/chat/completions", False),
    ],
)  # fmt: skip
def test_a_query_in_the_address_stays_behind_the_path_and_azure_gets_its_key(suffix, path, azure, tmp_path):
    with serving(ChatServer(echo)) as server:
        server.url = server.url.removesuffix("/v1") + suffix
        ask(server, tmp_path, hello(1))
    assert [found.replace("+", "%20") for found in server.paths] == [path]
    headers = {name.lower(): value for name, value in server.headers[0].items()}
    assert headers.get("api-key") == ("secret-key-of-the-test" if azure else None)


def test_redirects_are_followed_or_told(tmp_path):
    with serving(ChatServer(echo)) as target:
        moved = Raw(307, b"", {"Location": f"{target.url}/chat/completions"})
        with serving(ChatServer(lambda m: moved)) as server:
            assert ask(server, tmp_path, hello(1))[0] == ["you said hello 0"]
    with (
        serving(ChatServer(lambda m: Raw(307, b"", {"Location": server.url}))) as server,
        pytest.raises(RunError, match="redirects without end"),
    ):
        ask(server, tmp_path, hello(2)[1:])
    with (
        serving(ChatServer(lambda m: Raw(301, b"moved away"))) as server,
        pytest.raises(RunError, match="moved away"),
    ):
        ask(server, tmp_path, hello(2)[1:])


def test_an_address_or_proxy_that_the_client_cannot_take_is_a_wrong_setting(tmp_path, monkeypatch):
    with (
        pytest.raises(SettingError, match="cannot be used"),
        open_chat(Server("m", "http://[::1/v1", None), tmp_path),
    ):
        pass
    monkeypatch.setenv("ALL_PROXY", "nonsense://x")
    with pytest.raises(SettingError, match="nonsense"), open_chat(Server("m", "http://x/v1", None), tmp_path):
        pass
