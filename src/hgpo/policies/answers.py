"""A model's answer: its thought, its text, how it ended, and why it may not be a valid action.

Reasoning models give their thoughts in several ways: between tags in the text, with the opening tag (or an
empty thought) already in the prompt, or in a separate field of a server's reply. `read_answer` turns all
of them into one `Answer`. Response formats read only its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Ended = Literal["stop", "length", "refused", "tool_call"]
"""How an answer ended: by itself, at the length limit, by a refusal, or with a tool call."""


class InvalidReason(StrEnum):
    """Why an answer is not a valid action."""

    TOOL_CALL = "tool_call"
    """It calls a tool, although no tool was offered."""
    REFUSED = "refused"
    """The model or a content filter refuses to answer."""
    CUT_OFF = "cut_off"
    """It reached the length limit before its action was complete."""
    NO_CONTENT = "no_content"
    """It is empty."""
    NO_THOUGHT = "no_thought"
    """It has an action, but not the closed thought before it that the format requires."""
    NO_ACTION = "no_action"
    """Nothing outside the thought is marked as an action."""
    TWO_ACTIONS = "two_actions"
    """It gives more than one action."""
    NOT_LISTED = "not_listed"
    """Its action is not one of the admissible commands."""


@dataclass(frozen=True)
class Answer:
    """An answer, with its thought separated from its text."""

    text: str
    """The text outside the thought."""
    thought: str | None = None
    """The text of the thought, possibly empty; None if there was no thought."""
    ended: Ended = "stop"
    """How the answer ended."""

    @property
    def transcript(self) -> str:
        """Thought and text together, for people to read."""
        return self.text if self.thought is None else f"<think>{self.thought}</think>{self.text}"

    @property
    def missing(self) -> InvalidReason | None:
        """Why the answer has no text in which to look for an action; None if it has."""
        return _REASON_OF_END.get(self.ended, None if self.text or self.thought else InvalidReason.NO_CONTENT)


_REASON_OF_END: dict[Ended, InvalidReason] = {
    "tool_call": InvalidReason.TOOL_CALL,
    "refused": InvalidReason.REFUSED,
}

_CLOSING_TAG = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel>thought": "<channel|>",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
}
"""The tags around a model's thoughts: each opening tag with its closing tag. In this order, they belong to
most models (Qwen, DeepSeek, GLM and others), models that follow instructions, EXAONE, Seed-OSS, Mistral,
Kimi, OpenThinker, Cohere, Gemma 4 and gpt-oss."""
_MARKS = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|channel|>final<|message|>")
"""Marks that Cohere's models and gpt-oss put around an answer; they are not part of it."""


def _any_of(tags: Iterable[str]) -> str:
    """A regular expression for any of these tags, also with spaces inside them."""
    words = (re.findall(r"\w+|\W", tag) for tag in tags)
    return "|".join(r"\s*".join(map(re.escape, tag)) for tag in words)


_OPENING, _CLOSING = _any_of(_CLOSING_TAG), _any_of(_CLOSING_TAG.values())
_TAG = re.compile(rf"(?P<opening>{_OPENING})|(?P<closing>{_CLOSING})", re.IGNORECASE)
_BEGUN = re.compile(rf"(?:(?:{_OPENING})\s*(?:{_CLOSING})?|{_CLOSING})\s*\Z", re.IGNORECASE)
_MARK = re.compile(_any_of(_MARKS))


def begun_by(prompt: str) -> str:
    """The part of a prompt that already belongs to the answer's thought: "<think>", or "<think></think>".

    Chat templates of reasoning models end the prompt with an opening tag, or with an empty thought where
    thinking is switched off. Empty for other prompts.

    Args:
        prompt: the whole prompt as text, special tokens included, or its end.
    """
    found = _BEGUN.search(prompt)
    return found[0] if found else ""


def read_answer(
    written: str, *, begun: str = "", reasoning: str | None = None, ended: Ended = "stop"
) -> Answer:
    """The answer, with every thought removed from its text.

    A closing tag without an opening tag closes a thought that the prompt has opened: everything before it is
    part of the thought. A thought that is never closed extends to the end.

    Args:
        written: the text that the model wrote, including special tokens except those that mark the end.
        begun: the part of the answer that the prompt already contains; see `begun_by`.
        reasoning: a thought from a separate field of a server's reply.
        ended: how the answer ended.
    """
    text, thoughts, inside = "", [] if reasoning is None else [reasoning], False
    written, place = begun + written, 0
    for tag in _TAG.finditer(written):
        between, place = written[place : tag.start()], tag.end()
        if inside:
            thoughts[-1] += between if tag["closing"] else between + tag[0]
            inside = not tag["closing"]
        elif tag["opening"]:
            text, inside = text + between, True
            thoughts.append("")
        elif not thoughts or written[place:].strip():
            thoughts, text = [*thoughts, text + between], ""
        else:
            # A stray closing tag at the very end, after a thought that has been closed before.
            text += between
    rest = written[place:]
    if inside:
        thoughts[-1] += rest
    else:
        text += rest
    thought = "\n".join(filter(None, (thought.strip() for thought in thoughts))) if thoughts else None
    return Answer(_MARK.sub("", text).strip(), thought, ended)


def left_to_write(written: str, begun: str) -> str:
    """The rest of an answer that the prompt has begun.

    If the prompt opens a thought, the rest is the thought, its closing tag and the text. If the prompt
    contains a complete thought, the rest is the text alone.

    Args:
        written: the whole answer.
        begun: the part of the answer that the prompt already contains; see `begun_by`.
    """
    tags = list(_TAG.finditer(begun))
    if not tags:
        return written
    answer = read_answer(written)
    if tags[-1]["closing"]:
        return answer.text
    closing = next(
        closing
        for opening, closing in _CLOSING_TAG.items()
        if re.fullmatch(_any_of([opening]), tags[-1][0], re.IGNORECASE)
    )
    return f"{answer.thought or ''}{closing}\n\n{answer.text}"
