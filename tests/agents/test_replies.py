"""Replies and errors of servers in every known form: the answer that is read from them, or the fault."""

from __future__ import annotations

import json
import socket
import ssl
import time
from email.utils import formatdate
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgpo.agents.faults import FaultError, Reach, asked_wait, failure, refusal
from hgpo.agents.replies import Reply, read_reply
from hgpo.policies.answers import Answer
from hgpo.rollouts.prompts import ThinkAction


def reply(choice, usage=None):
    return read_reply(json.dumps({"choices": [choice], "usage": usage}), {})


def message(finish_reason: object = "stop", **fields):
    return {"message": {"role": "assistant", **fields}, "finish_reason": finish_reason}


TEXT = {"type": "text", "text": "go"}
CALL = [{"id": "1", "type": "function", "function": {"name": "act", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("choice", "answer"),
    [
        (message(content="go"), Answer("go")),
        (message(content=None), Answer("")),
        (message(), Answer("")),
        ({"message": {}}, Answer("")),
        ({"message": None}, Answer("")),
        # A legacy completion, and what journals of older versions kept.
        ({"text": "<think>near</think>go", "finish_reason": "stop"}, Answer("go", "near")),
        ({"message": None, "text": "go"}, Answer("go")),
        # A proxy that names the message as in a stream.
        ({"delta": {"content": "go"}}, Answer("go")),
        # Thoughts in the content, with their opening tag only in the prompt, or in a field of their own.
        (message(content="near</think>go"), Answer("go", "near")),
        (message(content="go", reasoning_content="near"), Answer("go", "near")),
        (message(content="go", reasoning="near"), Answer("go", "near")),
        (message(content="go", reasoning="near", reasoning_content="near"), Answer("go", "near")),
        (message(content="go", reasoning_content="", reasoning="near"), Answer("go", "near")),
        (message(content="<think>b</think>go", reasoning_content="a"), Answer("go", "a\nb")),
        (message(content="go", reasoning_content=None), Answer("go")),
        (message(content="go", reasoning_content=""), Answer("go", "")),
        (message(content="near</think>", reasoning_content=""), Answer("", "near")),
        (message(content="go", reasoning_details=[]), Answer("go")),
        (message(content="go", reasoning_details=[{"type": "reasoning.text", "text": "near"}]), Answer("go", "near")),
        (message(content="go", reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}]), Answer("go", "")),
        (message(content="go", reasoning=[{"type": "text", "text": "near"}]), Answer("go", "near")),
        # Contents in parts.
        (message(content=[TEXT]), Answer("go")),
        (message(content=[TEXT, {"type": "text", "text": " on"}]), Answer("go on")),
        (message(content=["go", " on"]), Answer("go on")),
        (message(content=[{"text": "go"}]), Answer("go")),
        (message(content=[{"type": None, "text": "go"}]), Answer("go")),
        (message(content=TEXT), Answer("go")),
        (message(content=[{"type": "output_text", "text": "go"}]), Answer("go")),
        (message(content=[{"type": "thinking", "thinking": "near"}, TEXT]), Answer("go", "near")),
        (message(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "near"}]}, TEXT]), Answer("go", "near")),
        (message(content=[{"type": "reasoning", "summary": [{"text": "near"}]}, TEXT]), Answer("go", "near")),
        (message(content=[{"type": "redacted_thinking", "data": "x"}, TEXT]), Answer("go", "")),
        (message(content=[TEXT, {"type": "image_url", "image_url": {"url": "x"}}, None]), Answer("go")),
        (message(content=[]), Answer("")),
        (message(content=[{"type": "refusal", "refusal": "I cannot"}]), Answer("I cannot", None, "refused")),
        (message(content=[{"type": "tool_use", "name": "act", "input": {}}]), Answer("", None, "tool_call")),
        # How it ended.
        (message("length", content=None, reasoning_content="still"), Answer("", "still", "length")),
        (message("length", content="<think>still"), Answer("", "still", "length")),
        (message("MAX_TOKENS", content="g"), Answer("g", None, "length")),
        (message("content_filter", content=""), Answer("", None, "refused")),
        (message("SAFETY", content=None), Answer("", None, "refused")),
        (message(content=None, refusal="I cannot"), Answer("I cannot", None, "refused")),
        (message(content="go", refusal=""), Answer("go")),
        (message("tool_calls", content=None, tool_calls=CALL), Answer("", None, "tool_call")),
        (message(content="go", tool_calls=CALL), Answer("go", None, "tool_call")),
        (message(content=None, function_call={"name": "act", "arguments": "{}"}), Answer("", None, "tool_call")),
        (message(content="go", tool_calls=[], function_call=None), Answer("go")),
        (message("eos", content="go"), Answer("go")),
        (message(None, content="go"), Answer("go")),
        (message(["stop"], content="go"), Answer("go")),
        # JSON may hold what no encoding can: it would break the next request.
        (message(content="go \ud83d"), Answer("go ?")),
    ],
)  # fmt: skip
def test_each_shape_of_a_reply_gives_its_answer(choice, answer):
    assert reply(choice).answer == answer


@pytest.mark.parametrize(
    ("usage", "thought", "read", "written"),
    [
        # Thoughts that the server does not show are thoughts: only their count tells of them.
        ({"prompt_tokens": 9, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 4}}, "", 9, 5),
        ({"prompt_tokens": 9, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 0}}, None, 9, 5),
        ({"prompt_tokens": 9.0, "completion_tokens": None, "completion_tokens_details": None}, None, 9, 0),
        ({"prompt_tokens": "many", "completion_tokens": -1, "completion_tokens_details": []}, None, 0, 0),
        (None, None, 0, 0),
        ("free", None, 0, 0),
    ],
)  # fmt: skip
def test_counts_are_read_and_tell_of_hidden_thoughts(usage, thought, read, written):
    found = reply(message(content="<action>go</action>"), usage)
    assert (found.prompt_tokens, found.completion_tokens) == (read, written)
    assert found.answer == Answer("<action>go</action>", thought)
    assert ThinkAction().parse(found.answer, ("go",)).valid == (thought is not None)


def stream(*events, end="\n\n", done=True):
    lines = [f"data: {json.dumps(event)}" for event in events]
    return end.join([*lines, *(["data: [DONE]"] if done else []), ""])


def delta(finish_reason=None, index=0, **fields):
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish_reason}]}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (stream(delta(content="g"), delta(content="o")), Answer("go")),
        (stream(delta(content="g"), delta(content="o"), end="\r\n\r\n"), Answer("go")),
        (stream(delta(content="g"), delta(content="o"), end="\n"), Answer("go")),
        (stream(delta(role="assistant", content=""), delta(content="go"), delta("length"), done=False),
         Answer("go", None, "length")),
        (stream(delta(reasoning_content="ne"), delta(reasoning_content="ar", content=None), delta(content="go")),
         Answer("go", "near")),
        (stream(delta(content="go"), {"choices": [], "usage": {"prompt_tokens": 3}}), Answer("go")),
        (stream(delta(content="go"), delta(index=1, content="other")), Answer("go")),
        (stream(delta("tool_calls", tool_calls=CALL)), Answer("", None, "tool_call")),
        (stream({"choices": [{"message": {"content": "go"}, "finish_reason": "stop"}]}), Answer("go")),
        (": waiting\n\nevent: message\n" + stream(delta(content="go \u2028 on")), Answer("go \u2028 on")),
        ('data: {"choices": [{"delta":\ndata: {"content": "go"}}]}\n\ndata: [DONE]\n', Answer("go")),
        ("\ufeff\n\n" + json.dumps({"choices": [message(content="go")], "error": None}), Answer("go")),
        (json.dumps({"choices": [message(content="go")], "error": {"code": None, "message": ""}}), Answer("go")),
    ],
)  # fmt: skip
def test_streams_are_put_together(body, answer):
    assert read_reply(body, {}).answer == answer


@given(st.text(max_size=40), st.integers(1, 6))
def test_a_stream_says_what_the_whole_reply_says(text, width):
    parts = [text[start : start + width] for start in range(0, len(text), width)]
    events = stream(delta(role="assistant"), *(delta(content=part) for part in parts), delta("stop"))
    assert read_reply(events, {}).answer == reply(message(content=text)).answer


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("", "no_chat_completion", "it is empty"),
        ("  \n", "no_chat_completion", "it is empty"),
        ("<html><title>Sign in</title><script>var a</script></html>", "no_chat_completion", "'Sign in'"),
        ('{"choices": [{"message": {"conte', "no_chat_completion", "conte"),
        ("null", "no_chat_completion", "null"),
        ("[]", "no_chat_completion", "[]"),
        ("7", "no_chat_completion", "7"),
        # A number that Python does not read.
        (f'{{"created": {"9" * 5000}, "choices": []}}', "no_chat_completion", "created"),
        ("{}", "no_chat_completion", "{}"),
        ('{"choices": []}', "no_chat_completion", "choices"),
        ('{"choices": {"message": {}}}', "no_chat_completion", "choices"),
        ('{"choices": [null]}', "no_chat_completion", "choices"),
        ('{"choices": [{}]}', "no_chat_completion", "no message"),
        ('{"choices": [{"message": "go"}]}', "no_chat_completion", "no message"),
        ('{"choices": [{"message": {"content": 7}}]}', "no_chat_completion", "of type int"),
        ('{"choices": [{"message": {"content": [["go"]]}}]}', "no_chat_completion", "of type list"),
        ('{"model": "m", "message": {"content": "go"}, "done": true}', "no_chat_completion", "go"),
        (stream(delta(content="go"), done=False), "no_chat_completion", "breaks off"),
        (stream(delta(content="go"), done=False) + 'data: {"choi', "no_chat_completion", "choi"),
        ("data: [DONE]\n\n", "no_chat_completion", "choices"),
        (stream({"choices": 5}), "no_chat_completion", "choices"),
        ('{"error": {"message": "loading", "code": 503}}', "http_503", "loading"),
        ('{"error": {"message": "slow down", "code": "429"}}', "http_429", "slow down"),
        ('{"error": "upstream went away"}', "server_error", "upstream went away"),
        ('{"object": "error", "message": "busy", "code": 50001}', "server_error", "busy"),
        ('{"detail": "not ready"}', "server_error", "not ready"),
        ('{"choices": [{"error": {"message": "overloaded", "code": 502}, "message": {"content": ""}}]}', "http_502", "overloaded"),
        ('{"choices": [{"message": {"content": "g"}, "finish_reason": "error"}]}', "server_error", "ended with an error"),
        (stream(delta(content="g"), {"error": {"message": "overloaded"}}), "server_error", "overloaded"),
    ],
)  # fmt: skip
def test_what_is_no_reply_may_be_asked_again_and_says_what_came(body, kind, words):
    with pytest.raises(FaultError) as error:
        read_reply(body, {})
    fault = error.value.fault
    assert (fault.kind, fault.reach) == (kind, Reach.MOMENT)
    assert words in fault.words and "\n" not in fault.words


def test_a_page_of_any_length_is_told_in_one_short_line():
    with pytest.raises(FaultError) as error:
        read_reply("<p>\n" + "so sorry <br>\n" * 5000, {})
    assert len(str(error.value)) < 200 and "so sorry so sorry" in str(error.value)


@pytest.mark.parametrize("form", ["{}", "data: {}\n\ndata: [DONE]\n\n"])
@given(values=st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "message", "content", "error", "delta", "text", "type", "usage", "finish_reason", "tool_calls", "reasoning", "completion_tokens_details"]), inner, max_size=4), max_leaves=12))  # fmt: skip
def test_whatever_json_comes_whole_or_streamed_is_a_reply_or_a_fault(form, values):
    try:
        found = read_reply(form.replace("{}", json.dumps(values)), {})
    except FaultError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(found.answer, Answer) and found.prompt_tokens >= 0
        # What the journal keeps of it says the same.
        assert Reply(**json.loads(json.dumps(vars(found)))).answer == found.answer


def error(message, code=None, **fields):
    return {"error": {"message": message, "code": code, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "reach"),
    [
        # Contexts that are too short, in the words of many servers.
        (400, error("This model's maximum context length is 8 tokens", "context_length_exceeded"), "too_long", Reach.PROMPT),
        (400, {"object": "error", "message": "The decoder prompt (length 9) is longer than the maximum model length of 8", "code": 400}, "too_long", Reach.PROMPT),
        (400, error("The input (9 tokens) is longer than the model's context length (8 tokens)."), "too_long", Reach.PROMPT),
        (500, {"detail": "The prompt (total length 9) is too long to fit into the model"}, "too_long", Reach.PROMPT),
        (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8", "error_type": "validation"}, "too_long", Reach.PROMPT),
        (400, error("the request exceeds the available context size", type="exceed_context_size_error"), "too_long", Reach.PROMPT),
        (400, error("prompt is too long: 9 tokens > 8 maximum"), "too_long", Reach.PROMPT),
        (400, [error("The input token count (9) exceeds the maximum number of tokens allowed (8).", 400)], "too_long", Reach.PROMPT),
        (400, error("Your request exceeded model token limit: 8"), "too_long", Reach.PROMPT),
        (400, error("Please reduce the length of the messages or completion."), "too_long", Reach.PROMPT),
        (413, "<html><h1>413 Request Entity Too Large</h1></html>", "too_long", Reach.PROMPT),
        (429, error("Request too large for gpt-4 on tokens per min: Limit 8, Requested 9", "rate_limit_exceeded"), "too_long", Reach.PROMPT),
        # Filters.
        (400, error("The response was filtered", "content_filter"), "content_filter", Reach.PROMPT),
        (400, error("Input data may contain inappropriate content.", "data_inspection_failed"), "content_filter", Reach.PROMPT),
        (403, error("Your chosen model requires moderation and your input was flagged", 403), "content_filter", Reach.PROMPT),
        (400, error("Invalid prompt: limited access", "invalid_prompt"), "invalid_prompt", Reach.PROMPT),
        # The system role.
        (400, error("System role not supported"), "no_system_role", Reach.UNCLEAR),
        (500, error("Conversation roles must alternate user/assistant/user"), "no_system_role", Reach.UNCLEAR),
        (422, {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user'", "type": "enum"}]}, "no_system_role", Reach.UNCLEAR),
        (400, error("Developer instruction is not enabled for this model", 400), "no_system_role", Reach.UNCLEAR),
        (500, error("Jinja Exception: the first message must be a user's", 500), "http_500", Reach.UNCLEAR),
        # Other refusals: of this prompt or of all.
        (400, error("Unsupported parameter: 'max_tokens'", "unsupported_parameter"), "unsupported_parameter", Reach.UNCLEAR),
        (400, error("max_tokens is too large: this model supports at most 8 completion tokens"), "http_400", Reach.UNCLEAR),
        (422, {"detail": "what?"}, "http_422", Reach.UNCLEAR),
        (400, "", "http_400", Reach.UNCLEAR),
        (403, error("not allowed"), "http_403", Reach.UNCLEAR),
        # Of all.
        (401, error("Incorrect key", "invalid_api_key"), "invalid_api_key", Reach.EVERY),
        (400, [error("API key not valid. Please pass a valid API key.", 400)], "http_400", Reach.EVERY),
        (402, error("Insufficient Balance"), "http_402", Reach.EVERY),
        (429, error("You exceeded your current quota", "insufficient_quota"), "insufficient_quota", Reach.EVERY),
        (404, error("The model does not exist", "model_not_found"), "model_not_found", Reach.EVERY),
        (404, {"detail": "Not Found"}, "http_404", Reach.EVERY),
        (405, "<h1>Method Not Allowed</h1>", "http_405", Reach.EVERY),
        (302, "", "http_302", Reach.EVERY),
        (999, "", "http_999", Reach.UNCLEAR),
        # Of now.
        (429, error("Rate limit reached: limit 9 tokens per min, please try again in 6s", "rate_limit_exceeded"), "rate_limit_exceeded", Reach.MOMENT),
        (500, "<html><h1>Internal Server Error</h1></html>", "http_500", Reach.MOMENT),
        (503, error("overloaded"), "http_503", Reach.MOMENT),
        (529, error("Overloaded", type="overloaded_error"), "http_529", Reach.MOMENT),
        (408, "", "http_408", Reach.MOMENT),
        # An error in a reply counts as its code says.
        (200, error("too many", 429), "http_429", Reach.MOMENT),
        (200, error("no such model", 404), "http_404", Reach.EVERY),
        (200, error("maximum context length is 8 tokens", 400), "too_long", Reach.PROMPT),
        (200, error("maximum context length is 8 tokens"), "too_long", Reach.PROMPT),
        (200, error("what?", 400), "http_400", Reach.UNCLEAR),
    ],
)  # fmt: skip
def test_what_a_server_reports_tells_which_requests_it_concerns(status, body, kind, reach):
    fault = refusal(status, body, {})
    assert (fault.kind, fault.reach) == (kind, reach)
    assert fault.words and "<" not in fault.words.replace("<=", "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (error("no\n such   thing"), "no such thing"),
        ({"error": "no such thing"}, "no such thing"),
        ({"detail": "no such thing"}, "no such thing"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too big", "input": "secret"}]}, "['body', 'n']: too big"),
        ({"errors": ["no such thing"]}, '["no such thing"]'),
        (error("Provider returned error", metadata={"raw": "no such thing"}), "Provider returned error no such thing"),
        ("<html><style>a {}</style><h1>no such</h1> thing", "no such thing"),
        ("", "HTTP 418 without a word"),
        ("x" * 999, "x" * 299 + "…"),
    ],
)  # fmt: skip
def test_the_servers_own_words_are_told_in_one_line(body, words):
    assert refusal(418, body, {}).words == words


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"Retry-After-Ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After": "198300"}, 198300.0),
        ({"Retry-After": "0"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": formatdate(0, usegmt=True)}, None),
        ({"retry-after-ms": "soon", "Retry-After": "3"}, 3.0),
    ],
)
def test_how_long_a_server_asks_to_wait(headers, seconds):
    assert asked_wait(headers) == seconds
    assert refusal(429, "", headers).wait == seconds


def test_a_server_may_ask_to_wait_until_a_date():
    # Dates have no fractions of a second.
    wait = asked_wait({"Retry-After": formatdate(time.time() + 90, usegmt=True)})
    assert wait is not None and 88 < wait <= 90


def named(name, words="x"):
    """An exception of the HTTP library, which goes by different names in its versions."""
    return type(name, (Exception,), {})(words)


REQUEST: Any = None


def caused_by(*causes):
    error = openai.APIConnectionError(request=REQUEST)
    last: BaseException = error
    for cause in causes:
        last.__cause__ = cause
        last = cause
    return error


CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed")
CERTIFICATE.verify_message = "self-signed certificate"


@pytest.mark.parametrize(
    ("error", "reach", "words"),
    [
        (caused_by(named("ConnectError", "x"), CERTIFICATE), Reach.EVERY, "certificate verify failed: self-signed certificate"),
        (caused_by(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]")), Reach.EVERY, "no secure connection: [SSL: WRONG_VERSION_NUMBER]"),
        (caused_by(ssl.SSLEOFError(8, "EOF occurred")), Reach.MOMENT, "EOF occurred"),
        (caused_by(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), Reach.EVERY, "the name is not known: Name or service not known"),
        (caused_by(socket.gaierror(socket.EAI_AGAIN, "Temporary failure")), Reach.MOMENT, "Temporary failure"),
        (caused_by(named("UnsupportedProtocol", "unsupported protocol 'htp://'")), Reach.EVERY, "unsupported protocol 'htp://'"),
        (caused_by(named("TooManyRedirects", "x")), Reach.EVERY, "redirects without end"),
        (caused_by(named("ConnectError", "All connection attempts failed"), OSError("All connection attempts failed"), ExceptionGroup("x", [ConnectionRefusedError(111, "x")])), Reach.MOMENT, "connection refused"),
        (caused_by(named("RemoteProtocolError", "Server disconnected without sending a response.")), Reach.MOMENT, "Server disconnected"),
        (caused_by(named("ReadError", "")), Reach.MOMENT, "ReadError"),
        (openai.APITimeoutError(request=REQUEST), Reach.MOMENT, "no reply within 7 s"),
        (TimeoutError(), Reach.MOMENT, "no reply within 7 s"),
        (caused_by(named("ConnectTimeout")), Reach.MOMENT, "nothing answers at its address"),
    ],
)  # fmt: skip
def test_the_cause_of_a_connection_that_fails_is_told(error, reach, words):
    fault = failure(error, 7.0)
    assert fault.reach is reach and words in fault.words and "Connection error" not in fault.words
