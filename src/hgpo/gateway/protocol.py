"""Requests and replies of OpenAI's chat completions, as far as a policy that learns can follow them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from hgpo.policies.tool_calls import ToolCall

MODEL = "policy"
"""The model's name; requests may give any other."""


class Refusal(Exception):
    """A request that gets an error instead of a response."""

    def __init__(self, status: int, words: str, code: str = "invalid_request", retry_after: int = 0):
        """Take the HTTP status, a line for the user, OpenAI's code, and seconds until a retry may help."""
        super().__init__(words)
        self.status, self.code, self.retry_after = status, code, retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The body of the response."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.code}}


def _text_of(content: Any) -> Any:
    """A content as one text; content parts of other kinds than text are refused.

    Lone surrogates, which neither tokenizers nor files take, are replaced.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content.encode("utf-8", "replace").decode()
    if not isinstance(content, list):
        return content
    parts: list[Any] = [part.get("text") if isinstance(part, dict) else part for part in content]
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("this model reads text alone, no images, sounds or files")
    return _text_of("\n".join(parts))


Text = Annotated[str, BeforeValidator(_text_of)]


class CalledFunction(BaseModel):
    """The function of a tool call."""

    name: str
    arguments: str = "{}"


class MessageToolCall(BaseModel):
    """A tool call in an earlier message of the model."""

    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(BaseModel):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text = ""
    name: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates expect it."""
        values = self.model_dump(exclude_none=True)
        return {**values, "role": "system" if self.role == "developer" else self.role}


class ToolFunction(BaseModel):
    """The function that a tool is."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(BaseModel):
    """A tool that the model may call."""

    type: Literal["function"] = "function"
    function: ToolFunction


class StreamOptions(BaseModel):
    """How a streamed response ends."""

    include_usage: bool | None = None


class TextFormat(BaseModel):
    """The form of a response; only text can be promised."""

    type: Literal["text"]


class ChatRequest(BaseModel):
    """A request for a response."""

    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    tool_choice: Any = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Literal[0] | None = None
    n: Literal[1] | None = None
    response_format: TextFormat | None = None
    top_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools that the model is shown."""
        if self.tool_choice == "none":
            return []
        return [tool.model_dump(exclude_none=True) for tool in self.tools or ()]

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts before which a response ends."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or ()
        return tuple(text for text in given if text)

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """The messages as chat templates expect them."""
        return [message.for_template() for message in self.messages]

    def limit(self, most: int) -> int:
        """Largest number of response tokens, at most `most`."""
        return min(most, self.max_completion_tokens or self.max_tokens or most)

    def not_followed(self, temperature: float | None) -> list[str]:
        """The sampling settings of the request that the gateway does not follow.

        Args:
            temperature: the run's temperature; None follows the request's.
        """
        neutral = {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}, "seed": None}
        if temperature is not None:
            neutral["temperature"] = temperature
        given = ((name, getattr(self, name)) for name in neutral)
        return [f"{name} {value}" for name, value in given if value is not None and value != neutral[name]]


def read_request(body: bytes) -> ChatRequest:
    """The request in a body.

    Raises:
        Refusal: if it is none, or asks for something that this server cannot do.
    """
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(values, dict):
        raise Refusal(400, f"the body is a {type(values).__name__}: expected a JSON object")
    try:
        return ChatRequest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        more = "; response_format cannot be promised" if place.startswith("response_format") else ""
        raise Refusal(400, f"{place}: {first['msg']}{more}") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None


@dataclass(frozen=True)
class Written:
    """A response as the agent reads it."""

    id: str
    text: str
    thought: str | None
    calls: tuple[ToolCall, ...]
    cut_off: bool
    """Whether it reached the limit of tokens."""
    prompt_tokens: int
    tokens: tuple[tuple[str, float], ...] | None
    """Text and log-probability of each token, if the request asks for them."""
    completion_tokens: int

    @property
    def finish_reason(self) -> str:
        """Why the response ended."""
        return "tool_calls" if self.calls else "length" if self.cut_off else "stop"

    @property
    def message(self) -> dict[str, Any]:
        """The message of the response."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or (None if self.calls else "")}
        if self.thought is not None:
            message["reasoning_content"] = self.thought
        if self.calls:
            message["tool_calls"] = [
                {
                    "id": f"call-{self.id}-{number}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for number, call in enumerate(self.calls)
            ]
        return message

    @property
    def said(self) -> str:
        """Text and tool calls, for people to read."""
        calls = (f"{call.name}({call.arguments})" for call in self.calls)
        return "\n".join(filter(None, (self.text, *calls)))

    @property
    def _logprobs(self) -> dict[str, Any] | None:
        if self.tokens is None:
            return None
        content = [
            {"token": text, "bytes": list(text.encode()), "logprob": logprob, "top_logprobs": []}
            for text, logprob in self.tokens
        ]
        return {"content": content, "refusal": None}

    @property
    def _usage(self) -> dict[str, int]:
        prompt, completion = self.prompt_tokens, self.completion_tokens
        total = prompt + completion
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}

    def whole(self, created: int) -> dict[str, Any]:
        """The body of a response that is not streamed.

        Args:
            created: the time in seconds since 1970.
        """
        choice = {
            "index": 0,
            "message": self.message,
            "finish_reason": self.finish_reason,
            "logprobs": self._logprobs,
        }
        return {**self._head("chat.completion", created), "choices": [choice], "usage": self._usage}

    def events(self, created: int, *, usage: bool) -> Iterator[str]:
        """The server-sent events of a streamed response.

        Args:
            created: the time in seconds since 1970.
            usage: whether the last event has the token counts.
        """
        head = self._head("chat.completion.chunk", created)
        delta = self.message
        for number, call in enumerate(delta.get("tool_calls", ())):
            call["index"] = number
        parts: Sequence[dict[str, Any]] = (
            {"index": 0, "delta": delta, "finish_reason": None, "logprobs": self._logprobs},
            {"index": 0, "delta": {}, "finish_reason": self.finish_reason, "logprobs": None},
        )
        for part in parts:
            yield _event({**head, "choices": [part]})
        if usage:
            yield _event({**head, "choices": [], "usage": self._usage})
        yield "data: [DONE]\n\n"

    def _head(self, kind: str, created: int) -> dict[str, Any]:
        return {"id": f"chatcmpl-{self.id}", "object": kind, "created": created, "model": MODEL}


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"
