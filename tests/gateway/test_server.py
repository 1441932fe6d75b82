"""The server, as clients see it."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection

import openai
import pytest
from gateway_playing import Letters, ask, letters, played

from hgpo.envs.base import Task
from hgpo.errors import SettingError
from hgpo.gateway.exchange import Exchange, LiveEpisode
from hgpo.gateway.protocol import Refusal, Written, read_request
from hgpo.gateway.server import MOST_BYTES, serving
from hgpo.gateway.settings import GatewaySettings
from hgpo.policies.tool_calls import ToolCall

HELLO = {"model": "any", "messages": [{"role": "user", "content": "hello"}]}
BODY = json.dumps(HELLO)


@contextmanager
def server(capacity=10, **settings):
    exchange = Exchange(capacity=capacity, wait=0.0)
    episode = LiveEpisode(Task("t", "task", "", None), 0, 0, (0,))
    exchange.begin(episode)
    with serving(exchange, GatewaySettings(**settings)) as address:
        yield address, episode


@dataclass(frozen=True)
class Response:
    status: int
    headers: Message
    text: str

    @property
    def error(self):
        return json.loads(self.text)["error"]


def sent(address, path, key=None, body=None):
    """The response to a request, with the run's key unless another is given."""
    headers = {"Authorization": f"Bearer {address.token if key is None else key}"}
    with closing(HTTPConnection(address.url.removeprefix("http://"), timeout=20)) as connection:
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read().decode())


def post(address, path="/t/0-0/v1/chat/completions", key=None, body: str | bytes = BODY):
    return sent(address, path, key, body)


def test_requests_are_refused_in_the_form_that_clients_expect():
    with server() as (address, _):
        assert address.url.startswith("http://127.0.0.1:")
        refused = {
            (401, "invalid_api_key"): post(address, key="wrong"),
            (410, "episode_over"): post(address, "/t/0-7/v1/chat/completions"),
            (404, "not_found"): post(address, "/v1/embeddings"),
            (405, "not_found"): post(address, "/v1/models"),
            (413, "invalid_request"): post(address, body=b" " * (MOST_BYTES + 1)),
            (400, "invalid_request"): post(address, "/v1/chat/completions"),
        }
        for (status, code), response in refused.items():
            assert (response.status, response.error["code"]) == (status, code), response.text
            assert address.token not in response.text
        assert "names an episode" in refused[400, "invalid_request"].error["message"]
        assert post(address, "/v1/chat/completions", f"{address.token}.0-7").status == 410
        for key in ("", "ü", f"{address.token}x", address.token[:-1]):
            assert post(address, key=key).status == 401
        models = json.loads(sent(address, "/v1/models").text)
        assert [model["id"] for model in models["data"]] == ["policy"]


def test_requests_beyond_the_queue_are_told_when_to_try_again():
    with server(capacity=0) as (address, episode):
        response = post(address)
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
        assert not episode.over and not episode.branches


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "reads text alone"),
        ({"messages": "hello"}, "messages"),
        ({"n": 2}, "n: "),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format cannot be promised"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
    ],
)
def test_what_the_policy_cannot_do_is_refused_by_name(changes, words):
    with pytest.raises(Refusal, match=words) as refusal:
        read_request(json.dumps({**HELLO, **changes}).encode())
    assert refusal.value.status == 400


def test_texts_in_parts_and_the_names_of_roles_are_read_as_templates_know_them():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    request = read_request(
        json.dumps(
            {
                "messages": [
                    {"role": "developer", "content": "be brief"},
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}],
                    },
                    {"role": "assistant", "content": None, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "1", "content": "3\ud800"},
                ],
                "stop": "x",
                "max_completion_tokens": 7,
                "max_tokens": 9,
                "user": "someone",
            }
        ).encode()
    )
    assert request.conversation == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "1\n2"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "3?"},
    ]
    assert (request.stops, request.limit(100), request.limit(5)) == (("x",), 7, 5)


def test_the_key_alone_names_the_episode_too():
    async def plays(task, client):
        url = str(client.base_url).partition("/t/")[0] + "/v1"
        return float(await ask(client.with_options(base_url=url)) == task)

    (right,) = letters((0, 0, 0), 1)
    (trajectory,) = played(plays, right)
    assert trajectory.failure is None and trajectory.won


def test_limits_stops_and_log_probabilities():
    found = {}

    async def plays(task, client):
        async def create(**settings):
            return await client.chat.completions.create(**HELLO, **settings)

        (first, second, third) = letters((0, 0, 0), 3)
        found["short"] = (await create(max_tokens=2), first)
        found["stop"] = (await create(stop=["?", second[2]]), second)
        found["whole"] = (await create(logprobs=True), third)
        return 1.0

    (trajectory,) = played(plays, policy=Letters())
    (short, first), (stop, second), (whole, third) = (found[name] for name in ("short", "stop", "whole"))
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == (first[:2], "length")
    assert short.usage.completion_tokens == 2 and short.usage.prompt_tokens == len("hello")
    # The stop is not shown, but it was sampled: its tokens are learned from.
    place = second.index(second[2])
    assert (stop.choices[0].message.content, stop.choices[0].finish_reason) == (second[:place], "stop")
    assert whole.choices[0].message.content == third
    rows = [bytes(step.decision.completion.tokens.tolist()).decode() for step in trajectory.steps]
    assert rows == [first[:2], second[: place + 1], third]
    content = whole.choices[0].logprobs.content
    assert [each.token for each in content] == list(third)
    sampled = trajectory.steps[2].decision.completion.logprobs
    assert [each.logprob for each in content] == pytest.approx(sampled.tolist())


def test_a_stream_holds_the_same_response():
    async def plays(task, client):
        parts = [
            part
            async for part in await client.chat.completions.create(
                **HELLO, stream=True, stream_options={"include_usage": True}
            )
        ]
        text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        ends = [part.choices[0].finish_reason for part in parts if part.choices]
        return float((text, ends[-1], parts[-1].usage.completion_tokens) == (task, "length", 4))

    (right,) = letters((0, 0, 0), 1)
    (trajectory,) = played(plays, right)
    assert trajectory.failure is None and trajectory.won


def test_prompts_that_are_too_long_are_refused_and_the_agent_goes_on():
    async def plays(task, client):
        with pytest.raises(openai.BadRequestError, match="raise --max-prompt-tokens") as refused:
            await ask(client, "x" * 1001)
        assert refused.value.code == "context_length_exceeded"
        return float(await ask(client, "x" * 1000) == task)

    # The refused request takes no random numbers.
    (trajectory,) = played(plays, letters((0, 0, 0), 1)[0])
    assert trajectory.failure is None and trajectory.won and len(trajectory.steps) == 1


def test_a_response_with_tool_calls_is_told_whole_and_in_a_stream():
    written = Written("1", "", "hm", (ToolCall("add", '{"a": 1}'),), False, 5, None, 3)
    assert written.said == 'add({"a": 1})'
    choice = written.whole(0)["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert choice["message"]["reasoning_content"] == "hm"
    called = {"id": "call-1-0", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert choice["message"]["tool_calls"] == [called]
    first, *_, last = written.events(0, usage=False)
    delta = json.loads(first.removeprefix("data: "))["choices"][0]["delta"]
    assert delta["tool_calls"] == [{"index": 0, **called}]
    assert last == "data: [DONE]\n\n"


def test_a_port_that_is_taken_is_told_in_one_line():
    with server() as (address, *_):
        port = int(address.url.rpartition(":")[2])
        with pytest.raises(SettingError, match=f"cannot listen at 127.0.0.1, port {port}"), server(port=port):
            pass
