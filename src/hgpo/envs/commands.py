"""Matches texts with listed commands; a command with a place for words stands for all ways to fill it.

An environment that accepts words of the agent's choice lists a command with `<words>`, "search[<words>]". An
environment whose only command is `<words>` accepts any text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

WORDS = "<words>"
"""The place in a listed command that the agent fills with its own words."""


ANY_TEXT = (WORDS,)
"""The listed commands if any text is a command; the text is passed on without surrounding white space."""


def takes_words(command: str) -> bool:
    """Whether a listed command has a place for words."""
    return WORDS in command


def fill(command: str, words: str) -> str:
    """The command with words in its place for words; a command without such a place is returned unchanged."""
    return command.replace(WORDS, words, 1)


def filled_by_chance(command: str, instruction: str, chance: Callable[[], float]) -> str:
    """The command, with a place for words filled with one to four consecutive words of the instruction.

    Args:
        command: a listed command.
        instruction: the task's instruction.
        chance: draws a number from 0 up to 1.
    """
    if not takes_words(command):
        return command
    words = instruction.split()
    first = int(chance() * len(words))
    return fill(command, " ".join(words[first : first + 1 + int(chance() * 4)]))


def random_command(commands: Sequence[str], instruction: str, rng: np.random.Generator) -> str:
    """One of the listed commands, all equally probable; a place for words is filled at random."""
    command = commands[int(rng.integers(len(commands)))]
    return filled_by_chance(command, instruction, rng.random)


def listed(text: str, commands: Sequence[str]) -> tuple[int, str] | None:
    """The listed command that a text names, ignoring case and spaces, and the command to carry out.

    Spaces are ignored unless another command differs by spaces only, because a model with whole words as
    tokens writes "click [ red ]".

    Returns:
        Position in the list and the command, with the text's words filled in; None if no command matches.
    """
    for form in (_single_spaced, _unspaced):
        said = form(text)
        for place, command in enumerate(commands):
            if form(command) == said and not takes_words(command):
                return place, command
    for place, command in enumerate(commands):
        if takes_words(command) and (words := _words(text, command)):
            return place, fill(command, words)
    return None


def _words(text: str, command: str) -> str:
    """The part of a text at a command's place for words; empty if the text does not match."""
    if command == WORDS:
        return text.strip()
    head, _, tail = map(_unspaced, command.partition(WORDS))
    # Compared from both ends, character by character, because a text may be long and consist of spaces only.
    rest = text.lower()
    for mark in head:
        rest = rest.lstrip()
        if not rest.startswith(mark):
            return ""
        rest = rest[1:]
    for mark in reversed(tail):
        rest = rest.rstrip()
        if not rest.endswith(mark):
            return ""
        rest = rest[:-1]
    return _single_spaced(rest)


def _single_spaced(text: str) -> str:
    return " ".join(text.lower().split())


def _unspaced(text: str) -> str:
    return "".join(text.lower().split())
