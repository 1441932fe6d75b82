"""Chat templates: how a tokenizer's template takes a user's message, and what it writes around the answer."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import product
from typing import Any

from hgpo.errors import SettingError
from hgpo.policies.answers import begun_by

_PROBE, _REPLY = "asked by hgpo", "answered by hgpo"
"""Messages to test a template with; no template contains their words itself."""
_SYSTEM = "You play a text game."
"""The system message, for templates that require one."""
_TODAY = datetime(2025, 1, 1)
"""The date for templates that write today's date, so that the same seed gives the same run on any day."""


def template_text(tokenizer: Any) -> str | None:
    """The source of a tokenizer's chat template, or of the default one of several; None if it has none.

    Raises:
        SettingError: if it has several and none of them is the default.
    """
    found = tokenizer.chat_template
    if isinstance(found, list | tuple):
        found = {named["name"]: named["template"] for named in found}
    if isinstance(found, Mapping):
        if len(found) > 1 and "default" not in found:
            raise SettingError(
                f"{_name(tokenizer)} has the chat templates {', '.join(found)}, and none is called default: "
                "give its tokenizer one chat_template"
            )
        found = found.get("default", next(iter(found.values()), None))
    return found if found and found.strip() else None


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template, and the form in which it takes a user's message."""

    tokenizer: Any
    """A tokenizer of transformers, which renders the template."""
    text: str
    """The template's source."""
    arguments: Mapping[str, Any]
    """Further arguments of the template, such as enable_thinking."""
    system: bool
    """Whether a system message comes first."""
    parts: bool
    """Whether the content of a message is a list of parts rather than a text."""

    @classmethod
    def of(cls, tokenizer: Any, arguments: Mapping[str, Any]) -> ChatTemplate | None:
        """The template of a tokenizer, with the first form in which the prompt contains the message.

        The message alone is tried first, then its text as a part of the content, then both of these after a
        system message.

        Returns:
            None if the tokenizer has no template.

        Raises:
            SettingError: if no form works; the message quotes the template's own error.
        """
        text = template_text(tokenizer)
        if text is None:
            return None
        refusals = []
        for system, parts in product((False, True), repeat=2):
            found = cls(tokenizer, text, arguments, system, parts)
            try:
                found.prompt(_PROBE)
            except SettingError as refusal:
                refusals.append(refusal)
            else:
                return found
        raise refusals[0]

    def prompt(self, message: str) -> str:
        """The text of the prompt with this user's message, up to where the answer begins.

        Raises:
            SettingError: if the template raises an error, or leaves out part of the message.
        """
        try:
            prompt = self._rendered(message)
        # Templates can raise errors of Jinja and of Python.
        except Exception as error:
            raise self._refusal(" ".join(str(error).split())) from None
        if message not in prompt and _words(message) not in _words(prompt):
            raise self._refusal("it leaves out or changes part of the message")
        return prompt

    def conversation(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()) -> str:
        """The text of the prompt with these messages, up to where the next answer begins.

        Args:
            messages: in the form of OpenAI's chat completions, each content a text.
            tools: the tools that the model may call, in the same form.

        Raises:
            SettingError: if the template raises an error, or has no place for tools.
        """
        if tools and "tools" not in self.text:
            raise SettingError(f"the chat template of {_name(self.tokenizer)} has no place for tools")
        said = [{**message, **_arguments_read(message)} for message in messages]
        if self.system and said[0]["role"] != "system":
            said.insert(0, {"role": "system", "content": _SYSTEM})
        try:
            return self._template_applied(said, tools=list(tools) or None, add_generation_prompt=True)
        # Templates can raise errors of Jinja and of Python.
        except Exception as error:
            raise SettingError(
                f"the chat template of {_name(self.tokenizer)} does not take these messages: "
                f"{' '.join(str(error).split())}"
            ) from None

    @cached_property
    def begun(self) -> str:
        """The part of the answer's thought that the template writes; see `begun_by`."""
        return begun_by(self._rendered(_PROBE))

    @cached_property
    def behind(self) -> str:
        """The text that the template writes after an answer; empty if it takes no answers."""
        try:
            return self._rendered(_PROBE, _REPLY).rpartition(_REPLY)[2]
        except Exception:
            return ""

    def _rendered(self, message: str, reply: str | None = None) -> str:
        said = [("system", _SYSTEM)] if self.system else []
        said += [("user", message)] if reply is None else [("user", message), ("assistant", reply)]
        messages = [{"role": role, "content": text} for role, text in said]
        return self._template_applied(messages, add_generation_prompt=reply is None)

    def _template_applied(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The text that the template makes of messages whose contents are texts."""
        if self.parts:
            messages = [
                {**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages
            ]
        return self.tokenizer.apply_chat_template(
            messages,
            chat_template=self.text,
            tokenize=False,
            strftime_now=_TODAY.strftime,
            **options,
            **self.arguments,
        )

    def _refusal(self, reason: str) -> SettingError:
        return SettingError(
            f"the chat template of {_name(self.tokenizer)} does not take the prompt as a user's message: "
            f"{reason}; give its tokenizer another chat_template"
        )


def _name(tokenizer: Any) -> str:
    """The name of a tokenizer's model, for error messages."""
    return tokenizer.name_or_path or "this tokenizer"


def _arguments_read(message: Mapping[str, Any]) -> dict[str, Any]:
    """The tool calls of a message with their arguments as values, as templates expect them, not as JSON."""
    if not message.get("tool_calls"):
        return {}
    calls = [dict(call) for call in message["tool_calls"]]
    for call in calls:
        called = dict(call["function"])
        # The model's own malformed arguments are shown as they are.
        with suppress(ValueError):
            called["arguments"] = json.loads(called["arguments"])
        call["function"] = called
    return {"tool_calls": calls}


def _words(text: str) -> str:
    """A text without the differences that templates may make: spaces, and characters that HTML escapes."""
    return " ".join(html.unescape(text).split())
