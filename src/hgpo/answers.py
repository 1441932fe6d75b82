"""What a model wrote: what it thought, what it answered, how that ended, and why it is not a valid action.

Reasoning models give their thoughts in several ways: between tags in the text, with the opening tag (or an
empty thought) already in the prompt, or in a field of their own that a server fills. `read_answer` turns all
of them into one `Answer`; response formats look at its text alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Ended = Literal["stop", "length", "refused", "tool_call"]
"""How an answer ended: by itself, at the length limit, as the server refused it, or in a call of a tool."""


class InvalidReason(StrEnum):
    """Why an answer is not a valid action."""

    TOOL_CALL = "tool_call"
    """It calls a tool, and no tool was offered."""
    REFUSED = "refused"
    """The model or a content filter refuses to answer."""
    CUT_OFF = "cut_off"
    """It reached the length limit before its action was complete."""
    NO_CONTENT = "no_content"
    """It is empty."""
    NO_THOUGHT = "no_thought"
    """It has an action but no closed thought before it, which the format asks for."""
    NO_ACTION = "no_action"
    """Nothing in it is marked as an action, or only within the thought."""
    TWO_ACTIONS = "two_actions"
    """It gives more than one action."""
    NOT_LISTED = "not_listed"
    """Its action is not one of the admissible commands."""


@dataclass(frozen=True)
class Answer:
    """An answer with its thought taken out."""

    text: str
    """What was written outside the thought."""
    thought: str | None = None
    """What was thought, possibly nothing; None if there was no thought."""
    ended: Ended = "stop"
    """How the answer ended."""

    @property
    def words(self) -> str:
        """The text, or the thought if there is nothing else."""
        return self.text.strip() or (self.thought or "").strip()

    @property
    def transcript(self) -> str:
        """Thought and text as a person reads them."""
        return self.text if self.thought is None else f"<think>{self.thought}</think>{self.text}"

    @property
    def missing(self) -> InvalidReason | None:
        """Why there is no answer in which to look for an action; None if there is one."""
        return _REASON_OF_END.get(self.ended, None if self.words else InvalidReason.NO_CONTENT)


_REASON_OF_END: dict[Ended, InvalidReason] = {
    "tool_call": InvalidReason.TOOL_CALL,
    "refused": InvalidReason.REFUSED,
}

_THINK = r"think|thinking|thought|seed:think"
OPENING = rf"<\s*(?:{_THINK})\s*>|\[THINK\]|<\|START_THINKING\|>"
"""Regular expression of the tags that open a thought: <think> and its relatives (Qwen, DeepSeek, Seed-OSS and
others), [THINK] (Mistral), <|START_THINKING|> (Cohere)."""
CLOSING = rf"<\s*/\s*(?:{_THINK})\s*>|\[/THINK\]|<\|END_THINKING\|>"
"""Regular expression of the tags that close a thought."""
_TAG = re.compile(rf"(?P<opening>{OPENING})|(?P<closing>{CLOSING})", re.IGNORECASE)
_BEGUN = re.compile(rf"(?:(?:{OPENING})\s*(?:{CLOSING})?|{CLOSING})\s*\Z", re.IGNORECASE)


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
    """The answer with every thought taken out of its text.

    A closing tag without an opening one closes a thought that the prompt has opened: everything before it is
    thought. A thought that is never closed lasts to the end.

    Args:
        written: what the model wrote, special tokens that are no mark of the end included.
        begun: what the prompt already contains of the answer; see `begun_by`.
        reasoning: a thought that came apart from the text, in a server's field of its own.
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
            # A stray closing tag at the very end, behind a thought that was closed before.
            text += between
    rest = written[place:]
    if inside:
        thoughts[-1] += rest
    else:
        text += rest
    thought = "\n".join(filter(None, (thought.strip() for thought in thoughts))) if thoughts else None
    return Answer(text.strip(), thought, ended)
