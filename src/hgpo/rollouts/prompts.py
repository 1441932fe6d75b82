"""Prompts and response formats: pure functions from turns to prompts, and from answers to actions.

Which of an episode's last steps a turn holds is decided in `hgpo.rollouts.episodes`. The markup of a chat is
added by `hgpo.policies.templates`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hgpo.envs.commands import ANY_TEXT, WORDS, fill, listed, takes_words
from hgpo.errors import SettingError
from hgpo.policies.answers import Answer, InvalidReason, read_answer


@dataclass(frozen=True)
class Turn:
    """The content of a prompt: the task, the last K steps, the observation and the admissible commands."""

    instruction: str
    history: tuple[tuple[str, str], ...]
    """(observation, action) of the last steps, oldest first."""
    observation: str
    commands: tuple[str, ...]
    """The admissible commands, in the order in which they are listed (see `hgpo.envs.commands`)."""
    step: int = 0
    """Number of steps taken so far, including those that the history does not show."""


@dataclass(frozen=True)
class Action:
    """The action that was read from an answer."""

    command: str
    """The text sent to the environment; for an invalid answer, the answer itself without its thought."""
    invalid: InvalidReason | None = None
    """Why the answer names none of the listed commands; None if it names one."""

    @property
    def valid(self) -> bool:
        """Whether the command is one of those listed."""
        return self.invalid is None


class ResponseFormat(Protocol):
    """How a turn is shown to the agent and how it names the command it wants."""

    def prompt(self, turn: Turn) -> str:
        """The prompt that shows the turn to the agent."""
        ...

    def answer(self, command: str, commands: Sequence[str]) -> str:
        """The response that names `command`; ValueError if it is not listed."""
        ...

    def parse(self, response: Answer | str, commands: Sequence[str]) -> Action:
        """The action that a response names; a plain text is read by `read_answer`."""
        ...


@dataclass(frozen=True)
class CommandNumber:
    """The answer is the number of a listed command: "#3".

    The number comes after its command: a causal model has read the whole command when it reaches the number,
    so it only has to copy one token to answer.
    """

    def prompt(self, turn: Turn) -> str:
        """The turn in short form; one command per line, followed by its number, counted from 1."""
        return _terse_prompt(
            turn, [f"{command} #{number}" for number, command in enumerate(turn.commands, 1)]
        )

    def answer(self, command: str, commands: Sequence[str]) -> str:
        """The number of the command, "#3"; for a command that takes words, they follow: "#3 red mug"."""
        place, words = _place_and_words(command, commands)
        return f"#{place + 1} {words}".rstrip()

    def parse(self, response: Answer | str, commands: Sequence[str]) -> Action:
        """The listed command whose number, "#3" or "3", is the whole response, with its own words if any."""
        answer = as_answer(response)
        match = re.fullmatch(r"\s*#?\s?([0-9]{1,4})(|\s.*)", answer.text, re.DOTALL)
        if match is None:
            # More tokens would not turn other text into a number; only a thought can be cut off.
            whole = replace(answer, ended="stop") if answer.text and answer.ended == "length" else answer
            return invalid_action(whole, answer.text, InvalidReason.NO_ACTION)
        if 1 <= int(match[1]) <= len(commands):
            command, words = commands[int(match[1]) - 1], " ".join(match[2].split())
            if takes_words(command) == bool(words):
                return Action(fill(command, words))
        return Action(answer.text, InvalidReason.NOT_LISTED)


@dataclass(frozen=True)
class CommandText:
    """The answer is the command itself: "take mug from shelf"."""

    def prompt(self, turn: Turn) -> str:
        """The turn in short form; one command per line."""
        return _terse_prompt(turn, turn.commands)

    def answer(self, command: str, commands: Sequence[str]) -> str:
        """The command, which must be a listed one."""
        _place_and_words(command, commands)
        return command

    def parse(self, response: Answer | str, commands: Sequence[str]) -> Action:
        """The response in lower case with single spaces; valid if it is listed."""
        answer = as_answer(response)
        if not answer.text:
            return invalid_action(answer, answer.text, InvalidReason.NO_ACTION)
        return listed_action(answer.text, commands, answer)


@dataclass(frozen=True)
class ThinkAction:
    """For chat models: the agent thinks within <think> tags and gives its command within <action> tags.

    The parts of the prompt, and the tags, are those of the published runs (arXiv 2602.22817, 2505.10978): the
    task, the number of steps taken, the last K observations and actions, the current observation, the
    admissible commands, and how to answer. The wording is our own.
    """

    def prompt(self, turn: Turn) -> str:
        """The turn in sentences; one command per line."""
        lines = ["You play a text game, one command at a time.", f"Your task: {turn.instruction}"]
        if turn.history:
            lines.append(f"You have taken {turn.step} steps. The last {len(turn.history)}:")
        for number, (observation, action) in enumerate(turn.history, turn.step - len(turn.history) + 1):
            lines += [f"Step {number} saw: {observation}", f"Step {number} did: {action}"]
        lines.append(f"Now, at step {turn.step + 1}, you see: {turn.observation}")
        if turn.commands == ANY_TEXT:
            return "\n".join([*lines, "Think within <think> </think>, then act within <action> </action>."])
        lines += ["Possible commands:", *(f"- {command}" for command in turn.commands)]
        lines.append(
            "Think about what to do next within <think> </think>. "
            "Then give one of the possible commands within <action> </action>."
        )
        return "\n".join([*lines, *hint_on_words(turn.commands)])

    def answer(self, command: str, commands: Sequence[str]) -> str:
        """The command, which must be a listed one, in its tags, after an empty thought."""
        _place_and_words(command, commands)
        return f"<think> </think> <action>{command}</action>"

    def parse(self, response: Answer | str, commands: Sequence[str]) -> Action:
        """The text in the only pair of action tags outside the thought; valid if it is listed.

        An answer without a thought is invalid, as in the published runs. The thought may be in the answer,
        partly or completely in the prompt, or in a separate field of a server's reply (see `read_answer`).
        """
        answer = as_answer(response)
        found = _ACTION.findall(answer.text)
        if len(found) != 1:
            reason = InvalidReason.TWO_ACTIONS if found else InvalidReason.NO_ACTION
            return invalid_action(answer, found[-1] if found else answer.text, reason)
        if answer.thought is None:
            return invalid_action(answer, found[0], InvalidReason.NO_THOUGHT)
        return listed_action(found[0], commands)


_ACTION = re.compile(r"<\s*action\s*>(.*?)<\s*/\s*action\s*>", re.DOTALL | re.IGNORECASE)


def action_span(written: str) -> slice | None:
    """The span of the text between the last pair of action tags in a response; None without a pair.

    The span excludes the spaces next to the tags, because many tokenizers merge a space and a tag.
    """
    pairs = list(_ACTION.finditer(written))
    if not pairs:
        return None
    words = pairs[-1][1]
    start = pairs[-1].start(1) + len(words) - len(words.lstrip())
    return slice(start, start + len(words.strip()))


RESPONSE_FORMATS: dict[str, ResponseFormat] = {
    "number": CommandNumber(),
    "text": CommandText(),
    "think_action": ThinkAction(),
}
"""Response formats, by the name that the settings use."""


def require_choices(response_format: ResponseFormat) -> None:
    """Check that an answer can be chosen from a list.

    Raises:
        SettingError: if answers contain a thought.
    """
    if isinstance(response_format, ThinkAction):
        raise SettingError(
            "--constrain-answers needs --response text or number: a thought cannot be chosen from a list"
        )


def choices(response_format: ResponseFormat, commands: Sequence[str]) -> tuple[str, ...]:
    """The answers that name the listed commands, in their order.

    Raises:
        SettingError: if the agent chooses words of its own for a command.
    """
    if any(map(takes_words, commands)):
        raise SettingError(
            "the agent chooses words of its own for a command of this environment, so its answers cannot be "
            "restricted to a list: leave out --constrain-answers"
        )
    return tuple(response_format.answer(command, commands) for command in commands)


def hint_on_words(commands: Sequence[str]) -> tuple[str, ...]:
    """An extra line of the prompt, if the agent chooses some words of a command itself."""
    return (f"Write words of your own in place of {WORDS}.",) if any(map(takes_words, commands)) else ()


def as_answer(response: Answer | str) -> Answer:
    """A response as an answer; a plain text is one that ended by itself."""
    return read_answer(response) if isinstance(response, str) else response


def invalid_action(answer: Answer, words: str, reason: InvalidReason) -> Action:
    """The invalid action for an answer that names no command.

    Args:
        answer: the answer; if it is empty or cut off, that is usually the reason given.
        words: the text that is sent to the environment.
        reason: why a complete answer is invalid.
    """
    if answer.ended == "length" and reason != InvalidReason.TWO_ACTIONS:
        return Action(words.strip(), InvalidReason.CUT_OFF)
    return Action(words.strip(), answer.missing or reason)


def listed_action(text: str, commands: Sequence[str], answer: Answer | None = None) -> Action:
    """The command that a text names, ignoring case and extra spaces; valid if it is listed.

    Args:
        text: names a command.
        commands: the listed commands.
        answer: the answer that contains the text, if it may have been cut off.
    """
    found = listed(text, commands)
    if found is not None:
        return Action(found[1])
    words = " ".join(text.lower().split())
    return invalid_action(answer or Answer(text), words, InvalidReason.NOT_LISTED)


def _place_and_words(command: str, commands: Sequence[str]) -> tuple[int, str]:
    """The index of a command in the list, and the agent's own words if the listed command takes words.

    Raises:
        ValueError: if it is not listed.
    """
    found = listed(command, commands)
    if found is None:
        raise ValueError(f"{command!r} is not in the list of commands")
    place, given = found
    before, _, after = commands[place].partition(WORDS)
    return place, given.removeprefix(before).removesuffix(after) if takes_words(commands[place]) else ""


def _terse_prompt(turn: Turn, commands: Sequence[str]) -> str:
    """The task, the steps of the history, the observation, the commands, and "answer:"."""
    lines = [f"task: {turn.instruction}"]
    for observation, action in turn.history:
        lines += [f"saw: {observation}", f"did: {action}"]
    return "\n".join([*lines, f"now: {turn.observation}", *commands, "answer:"])


class PromptTooLongError(ValueError):
    """The task, the observation and the commands do not fit into the prompt, even without history."""


def fit_prompts(
    turns: Sequence[Turn],
    response_format: ResponseFormat,
    encode: Callable[[Sequence[str]], list[tuple[int, ...]]],
    max_tokens: int,
) -> list[tuple[int, ...]]:
    """The tokens of each turn's prompt, with as much of the history as fits into `max_tokens`.

    The oldest steps are left out first; the task and the current observation are never cut.

    Raises:
        PromptTooLongError: if not even a prompt without history fits.
    """
    prompts = encode([response_format.prompt(turn) for turn in turns])
    too_long = [number for number, tokens in enumerate(prompts) if len(tokens) > max_tokens]
    for number in too_long:
        if not turns[number].history:
            raise PromptTooLongError(
                f"the prompt needs {len(prompts[number])} tokens without any history, but may have "
                f"{max_tokens}: raise --max-prompt-tokens"
            )
    if too_long:
        shorter = [replace(turns[number], history=turns[number].history[1:]) for number in too_long]
        fitted = fit_prompts(shorter, response_format, encode, max_tokens)
        for number, tokens in zip(too_long, fitted, strict=True):
            prompts[number] = tokens
    return prompts
