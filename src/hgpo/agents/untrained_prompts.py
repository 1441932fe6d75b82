"""How an untrained chat model is asked to play: the published prompt, ReAct, Reflexion.

Pure functions from situations to conversations. The ideas are of arXiv 2210.03629 (ReAct) and 2303.11366
(Reflexion); the wording is our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from hgpo.policies.answers import Answer, InvalidReason
from hgpo.rollouts.agent import Situation
from hgpo.rollouts.episodes import Trajectory
from hgpo.rollouts.prompts import Action, ThinkAction, as_answer, hint_on_words, invalid_action, listed_action

Message = dict[str, str]
"""One message of a conversation: "role" and "content"."""
PromptingName = Literal["plain", "react", "reflexion"]

NO_ANSWER = "(no answer)"
"""Stands for an answer that is empty; some servers refuse conversations with an empty message."""


class Prompting(Protocol):
    """How a situation becomes a conversation, and the reply an action."""

    @property
    def prompt_history(self) -> int | None:
        """Number of past steps that a conversation shows; None shows all."""
        ...

    def messages(self, situation: Situation, lessons: Sequence[str], shown: int) -> list[Message]:
        """The messages that are sent to the model.

        Args:
            situation: the current situation of the episode.
            lessons: the model's texts about earlier trials of the task.
            shown: number of past steps that the conversation shows.
        """
        ...

    def parse(self, reply: Answer | str, commands: Sequence[str]) -> Action:
        """The action that a reply names; a plain text is read by `read_answer`."""
        ...


@dataclass(frozen=True)
class Plain:
    """The prompt of training: one message with the last K steps, answered in think and action tags."""

    prompt_history: int | None
    """K; None shows the whole episode."""

    def messages(self, situation: Situation, lessons: Sequence[str], shown: int) -> list[Message]:
        """One user message: the lessons, then the prompt of training with the last `shown` steps."""
        return [_user(_after_lessons(ThinkAction().prompt(situation.turn(shown)), lessons))]

    def parse(self, reply: Answer | str, commands: Sequence[str]) -> Action:
        """The action in the answer's only pair of action tags; valid if it is listed and has a thought."""
        return ThinkAction().parse(reply, commands)


@dataclass(frozen=True)
class ReAct:
    """Thought, action and observation in turn, as a conversation in which the model sees its earlier answers.

    A reasoning model's thought, within its tags or in a separate field, is not part of its answer: it is
    neither searched for actions nor sent back.
    """

    prompt_history: int | None
    """Number of last exchanges that the conversation shows; None shows all."""

    def messages(self, situation: Situation, lessons: Sequence[str], shown: int) -> list[Message]:
        """The rules, the task, earlier observations and answers, and the current observation and commands."""
        steps = situation.steps
        messages: list[Message] = [{"role": "system", "content": _REACT_RULES}]
        for step in steps[len(steps) - shown :]:
            messages += [
                _user(f"You see: {step.before.observation}"),
                {"role": "assistant", "content": step.decision.completion.answer.text or NO_ANSWER},
            ]
        listed = (f"- {command}" for command in situation.commands)
        commands = "\n".join([*listed, *hint_on_words(situation.commands)])
        messages.append(_user(f"You see: {situation.observation}\nPossible commands:\n{commands}"))
        task = _after_lessons(f"Your task: {situation.task.instruction}", lessons)
        if shown < len(steps):
            task += f"\nYou have taken {len(steps)} steps; the first {len(steps) - shown} are left out."
        messages[1]["content"] = f"{task}\n{messages[1]['content']}"
        return messages

    def parse(self, reply: Answer | str, commands: Sequence[str]) -> Action:
        """The text after the first "Action:" in its line, without quotes; valid if it is listed."""
        answer = as_answer(reply)
        found = re.search(r"^\W*action\W*:(.*)$", answer.text, re.IGNORECASE | re.MULTILINE)
        if found is None:
            return invalid_action(answer, answer.text, InvalidReason.NO_ACTION)
        # The length limit can only have cut off the last line.
        complete = replace(answer, ended="stop") if found.end() < len(answer.text) else answer
        return listed_action(found[1].strip(" \t.*`'\""), commands, complete)


_REACT_RULES = (
    "You play a text game. Each time you are told what you see and which commands are possible. Answer with "
    "two lines:\n"
    "Thought: what you conclude and plan to do\n"
    "Action: one of the possible commands, word for word"
)


def reflection_messages(trajectory: Trajectory, lessons: Sequence[str], shown: int) -> list[Message]:
    """A conversation that asks for the lesson from an episode that was not won.

    Args:
        trajectory: the episode.
        lessons: the model's texts about earlier trials of the task.
        shown: number of past steps that the conversation shows.
    """
    first = len(trajectory.steps) - shown
    lines = [f"You played a text game. Your task: {trajectory.task.instruction}"]
    if first:
        lines.append(f"You took {len(trajectory.steps)} steps; the first {first} are left out.")
    for number, step in enumerate(trajectory.steps[first:], first + 1):
        lines += [f"You saw: {step.before.observation}", f"Step {number}: {step.command or NO_ANSWER}"]
    lines += [
        f"You saw: {trajectory.final_observation}",
        "You did not achieve the task in time. In at most four sentences, say what went wrong and what you "
        "will do instead when you try the same task again.",
    ]
    return [_user(_after_lessons("\n".join(lines), lessons))]


def lesson_in(answer: Answer) -> str | None:
    """The lesson in an answer, without its thought; None if the answer is empty."""
    return None if answer.missing else answer.text or None


def without_system_role(messages: Sequence[Message]) -> list[Message]:
    """The same conversation without a system message: its text begins the user's first message."""
    if messages[0]["role"] != "system":
        return list(messages)
    system, user, *rest = messages
    return [_user(f"{system['content']}\n\n{user['content']}"), *rest]


def _after_lessons(text: str, lessons: Sequence[str]) -> str:
    if not lessons:
        return text
    told = "\n".join(f"- {lesson.strip()}" for lesson in lessons)
    return f"You have failed this task before, and wrote of it:\n{told}\n{text}"


def _user(text: str) -> Message:
    return {"role": "user", "content": text}
