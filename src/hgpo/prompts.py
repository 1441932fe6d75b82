"""What the agent reads and how its answer is understood: pure functions from text to text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True)
class Turn:
    """All that a prompt is made of: the task, the last K steps, and what is seen and possible now."""

    instruction: str
    history: tuple[tuple[str, str], ...]
    """(observation, action) of the last steps, oldest first."""
    observation: str
    commands: tuple[str, ...]
    """The admissible commands, in the order in which they are listed."""


@dataclass(frozen=True)
class Action:
    """What an answer was understood as."""

    command: str
    """Sent to the environment; for an invalid answer, its own words."""
    valid: bool
    """Whether the command was one of those listed."""


class ResponseFormat(Protocol):
    """How the commands are shown and how the agent names the one it wants."""

    def listing(self, commands: Sequence[str]) -> str:
        """The commands as the prompt shows them."""
        ...

    def answer(self, command: str, commands: Sequence[str]) -> str:
        """The response that names `command`; ValueError if it is not listed."""
        ...

    def parse(self, response: str, commands: Sequence[str]) -> Action:
        """The action that a response names."""
        ...


@dataclass(frozen=True)
class CommandNumber:
    """The answer is the number of a listed command: "#3".

    The number stands behind its command: a causal model has read the whole command when it reaches the
    number, so that the answer is a look-up of one token.
    """

    def listing(self, commands: Sequence[str]) -> str:
        """One command a line, its number behind it, counted from 1."""
        return "\n".join(f"{command} #{number}" for number, command in enumerate(commands, start=1))

    def answer(self, command: str, commands: Sequence[str]) -> str:
        """The number of the command, "#3"."""
        return f"#{commands.index(command) + 1}"

    def parse(self, response: str, commands: Sequence[str]) -> Action:
        """The listed command whose number, "#3" or "3", is the whole response."""
        match = re.fullmatch(r"\s*#?\s?([0-9]{1,4})\s*", response)
        if match and 1 <= int(match[1]) <= len(commands):
            return Action(commands[int(match[1]) - 1], valid=True)
        return Action(response.strip(), valid=False)


@dataclass(frozen=True)
class CommandText:
    """The answer is the command itself: "take mug from shelf"."""

    def listing(self, commands: Sequence[str]) -> str:
        """One command a line."""
        return "\n".join(commands)

    def answer(self, command: str, commands: Sequence[str]) -> str:
        """The command, which must be a listed one."""
        return commands[commands.index(command)]

    def parse(self, response: str, commands: Sequence[str]) -> Action:
        """The response in lower case with single spaces; valid if it is listed."""
        command = " ".join(response.lower().split())
        by_key = {" ".join(listed.lower().split()): listed for listed in commands}
        return Action(by_key.get(command, command), valid=command in by_key)


RESPONSE_FORMATS: dict[str, ResponseFormat] = {"number": CommandNumber(), "text": CommandText()}
"""The ways to answer, by the name that the settings use."""


def build_prompt(turn: Turn, response_format: ResponseFormat) -> str:
    """The prompt of one turn: task, the steps of the history, the observation, the commands, "answer:"."""
    lines = [f"task: {turn.instruction}"]
    for observation, action in turn.history:
        lines += [f"saw: {observation}", f"did: {action}"]
    lines += [f"now: {turn.observation}", response_format.listing(turn.commands), "answer:"]
    return "\n".join(lines)


class PromptTooLongError(ValueError):
    """The task, the observation and the commands alone do not fit into the prompt."""


def fit_prompt(
    turn: Turn,
    response_format: ResponseFormat,
    encode: Callable[[str], Sequence[int]],
    max_tokens: int,
) -> Sequence[int]:
    """The tokens of the turn's prompt, with as much of its history as `max_tokens` hold.

    The oldest steps go first; the task and what is seen now are never cut.

    Raises:
        PromptTooLongError: if not even the prompt without history fits.
    """
    tokens = encode(build_prompt(turn, response_format))
    while len(tokens) > max_tokens:
        if not turn.history:
            raise PromptTooLongError(
                f"the prompt needs {len(tokens)} tokens without any history, but may have {max_tokens}: "
                "raise --max-prompt-tokens"
            )
        turn = replace(turn, history=turn.history[1:])
        tokens = encode(build_prompt(turn, response_format))
    return tokens
