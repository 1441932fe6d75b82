"""Reads the reply of a chat server, in any of the formats that servers use, as the model's answer."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hgpo.agents.faults import (
    NO_COMPLETION,
    Fault,
    FaultError,
    Reach,
    error_in,
    json_or_text,
    refusal,
    words_of,
)
from hgpo.policies.answers import Answer, Ended, read_answer


@dataclass(frozen=True)
class Reply:
    """A server's reply, unchanged, and its token counts."""

    choice: Mapping[str, Any]
    """The first choice: a message, and the reason why it ended."""
    usage: Mapping[str, Any]
    """The token counts; empty if the server gives none."""

    @property
    def prompt_tokens(self) -> int:
        """Number of input tokens; 0 if the server did not count."""
        return _count(self.usage, "prompt_tokens")

    @property
    def completion_tokens(self) -> int:
        """Number of output tokens, including hidden thoughts; 0 if the server did not count."""
        return _count(self.usage, "completion_tokens")

    @property
    def answer(self) -> Answer:
        """The model's answer, separated from its thought.

        The thought is in the text of the content, in a part of the content, or in a separate field; or it is
        hidden, and only the number of reasoning tokens shows that there was one.

        Raises:
            FaultError: if the choice is not one of a chat completion.
        """
        written: defaultdict[str, list[str]] = defaultdict(list)
        for kind, words in _written(_message(self.choice)):
            written[kind].append(words)
        thought = "\n".join(filter(None, written["thought"]))
        details = self.usage.get("completion_tokens_details")
        hidden = isinstance(details, dict) and _count(details, "reasoning_tokens") > 0
        answer = read_answer(
            "".join(written["text"]) or "".join(written["refusal"]),
            reasoning=thought or None,
            ended=_ended(self.choice, called="call" in written, refused=any(written["refusal"])),
        )
        if answer.thought is None and (hidden or written["thought"]):
            return replace(answer, thought="")
        return answer


def read_reply(body: str, headers: Mapping[str, str]) -> Reply:
    """The reply in the body of a response with status 200, whole or streamed.

    Args:
        body: the body of the response.
        headers: headers of the response; they may say when to retry.

    Raises:
        FaultError: if it is an error or not a chat completion.
    """
    text = body.strip("\ufeff \t\r\n")
    values = _joined(text) if re.match(r"(data|event|id|retry)?:", text) else json_or_text(text)
    if error_in(values):
        raise FaultError(refusal(200, values, headers))
    choices = values.get("choices") if isinstance(values, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _no_completion(f"{words_of(values)[:100]!r}" if text else "it is empty")
    if choices[0].get("finish_reason") == "error":
        raise FaultError(refusal(200, "the model ended with an error", headers))
    usage = values.get("usage")
    reply = Reply(choices[0], usage if isinstance(usage, dict) else {})
    # Faults in the message are raised here, before the reply is stored or used.
    _ = reply.answer
    return reply


def _no_completion(why: str) -> FaultError:
    advice = "check --base-url, which often ends in /v1"
    return FaultError(Fault(NO_COMPLETION, f"its reply is no chat completion: {why}", Reach.MOMENT, advice))


def _message(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message of a choice: whole, a part of a streamed one, or the text of a plain completion."""
    message = choice.get("message") or choice.get("delta")
    if message is None and isinstance(choice.get("text"), str):
        return {"content": choice["text"]}
    if message is None and ("message" in choice or "delta" in choice):
        message = {}
    if not isinstance(message, dict):
        raise _no_completion(f"there is no message in {words_of(dict(choice))[:100]!r}")
    return message


def _written(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The parts of a message, as pairs of kind ("text", "thought", "refusal" or "call") and text."""
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield "text", _words(part)
        elif isinstance(part, dict):
            name = str(part.get("type") or "text").lower()
            kind = next((kind for mark, kind in _KINDS if mark in name), None)
            if kind is not None:
                yield kind, _words(part)
        elif part is not None:
            raise _no_completion(f"its content is not text but of type {type(part).__name__}")
    fields = (message.get(name) for name in _THOUGHT_FIELDS)
    thoughts = [value for value in fields if isinstance(value, str) or value]
    if thoughts:
        # Some servers repeat the thought in a second field.
        yield "thought", next(filter(None, map(_words, thoughts)), "")
    if message.get("refusal"):
        yield "refusal", _words(message["refusal"])
    if message.get("tool_calls") or message.get("function_call"):
        yield "call", ""


_KINDS = (
    ("refus", "refusal"),
    ("think", "thought"),
    ("reason", "thought"),
    ("tool", "call"),
    ("function", "call"),
    ("text", "text"),
)
"""The kind of a content part, by a substring of its type; other parts, such as images, have no text."""
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
_WORD_FIELDS = ("text", "thinking", "reasoning", "refusal", "summary", "content", "value")


def _words(value: Any) -> str:
    """The text in a value, also a nested one; lone surrogates, which cannot be encoded, are replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return "".join(map(_words, value))
    if isinstance(value, dict):
        return next(filter(None, (_words(value.get(name)) for name in _WORD_FIELDS)), "")
    return ""


_ENDS: dict[str, Ended] = {
    **dict.fromkeys(("length", "max_tokens", "model_length", "max_output_tokens"), "length"),
    **dict.fromkeys(
        ("content_filter", "content-filter", "refusal", "safety", "recitation", "blocklist", "sensitive"),
        "refused",
    ),
    "prohibited_content": "refused",
    **dict.fromkeys(("tool_calls", "function_call", "tool_use"), "tool_call"),
}
"""How an answer ended, by the server's finish_reason; others mean that it ended by itself."""


def _ended(choice: Mapping[str, Any], *, called: bool, refused: bool) -> Ended:
    ended = _ENDS.get(str(choice.get("finish_reason")).lower(), "stop")
    if ended == "refused" or refused:
        return "refused"
    return "tool_call" if called else ended


def _joined(text: str) -> Any:
    """The reply that a stream of events adds up to, as if it had not been streamed, or the error in it."""
    message: dict[str, Any] = {}
    choices: list[dict[str, Any]] = []
    usage, finish_reason, complete = None, None, False
    for event in _events(text):
        if event == "[DONE]":
            complete = True
            break
        if not isinstance(event, dict):
            raise _no_completion(f"an event of its stream is {words_of(event)[:100]!r}")
        if error_in(event):
            return event
        usage = event.get("usage") or usage
        listed = event["choices"] if isinstance(event.get("choices"), list) else []
        parts = [c for c in listed if isinstance(c, dict) and not c.get("index")]
        for part in parts[:1]:
            for name, value in _message(part).items():
                message[name] = _appended(message.get(name), value)
            finish_reason = part.get("finish_reason") or finish_reason
            choices = [{"message": message, "finish_reason": finish_reason}]
    if not complete and finish_reason is None:
        raise _no_completion("its stream breaks off")
    return {"choices": choices, "usage": usage}


def _appended(before: Any, value: Any) -> Any:
    if type(before) is type(value) and isinstance(value, str | list):
        return before + value
    return before if value is None else value


def _events(text: str) -> Iterator[Any]:
    """The data of server-sent events (WHATWG HTML, section 9.2): JSON values, or text that is not JSON."""
    pending = ""
    for line in [*re.split(r"\r\n|\r|\n", text), ""]:
        if line.startswith("data:"):
            pending += ("\n" if pending else "") + line.removeprefix("data:").strip()
            # Some servers leave out the empty line that ends an event.
            if pending == "[DONE]" or not isinstance(json_or_text(pending), str):
                yield json_or_text(pending)
                pending = ""
        elif not line and pending:
            yield pending
            pending = ""


def _count(counts: Mapping[str, Any], name: str) -> int:
    count = counts.get(name)
    return int(count) if isinstance(count, int | float) and 0 <= count < 1e15 else 0
