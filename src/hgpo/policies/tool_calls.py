"""Reads the tool calls in an answer, in the syntax that the model's chat template teaches it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool."""

    name: str
    arguments: str
    """The arguments as a JSON object."""


def read_tool_calls(text: str, template: str) -> tuple[str, tuple[ToolCall, ...]]:
    """The text outside of tool calls, and the calls in order.

    A call that is not valid JSON with a name and arguments remains text, as does everything if the template
    has none of the known syntaxes: those of Hermes and Qwen, Mistral, and Llama 3.

    Args:
        text: an answer without its thought.
        template: the source of the chat template.
    """
    syntax = next((read for mark, read in _SYNTAXES if mark in template), None)
    if syntax is None:
        return text, ()
    rest, calls = syntax(text)
    return (rest, tuple(calls)) if calls else (text, ())


def _hermes(text: str) -> tuple[str, list[ToolCall]]:
    """`<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number of times."""
    calls: list[ToolCall] = []

    def without(found: re.Match[str]) -> str:
        read = _calls_in([_json(found[1])])
        calls.extend(read)
        return "" if read else found[0]

    # Some models leave out the last closing tag.
    rest = re.sub(r"<tool_call>(.*?)(?:</tool_call>|\Z)", without, text, flags=re.DOTALL)
    return rest.strip(), calls


def _mistral(text: str) -> tuple[str, list[ToolCall]]:
    """`[TOOL_CALLS] [{"name": …, "arguments": {…}}, …]` at the end."""
    before, _, listed = text.partition("[TOOL_CALLS]")
    read = _json(listed)
    return before.strip(), _calls_in(read if isinstance(read, list) else [read])


def _llama(text: str) -> tuple[str, list[ToolCall]]:
    """`{"name": …, "parameters": {…}}` as the whole answer."""
    return "", _calls_in([_json(text.strip().removeprefix("<|python_tag|>"))])


_SYNTAXES: tuple[tuple[str, Callable[[str], tuple[str, list[ToolCall]]]], ...] = (
    ("<tool_call>", _hermes),
    ("[TOOL_CALLS]", _mistral),
    ('"parameters"', _llama),
)
"""A mark in templates that teach a syntax, and the function that reads it."""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _calls_in(values: Iterable[Any]) -> list[ToolCall]:
    """The calls that these JSON values describe; others are left out."""
    calls = []
    for value in values:
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            continue
        arguments = value.get("arguments", value.get("parameters", {}))
        if isinstance(arguments, dict):
            calls.append(ToolCall(value["name"], json.dumps(arguments, ensure_ascii=False)))
    return calls
