"""What a listed command stands for: itself or, where it has a place for words, all that is had by filling it.

An environment that takes words of the agent's own lists a command with `<words>` in it, "search[<words>]".
One whose only command is `<words>` takes any text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

WORDS = "<words>"
"""The place in a listed command that the agent fills with words of its own."""


ANY_TEXT = (WORDS,)
"""The listed commands where any text is one: it is given as it was written, but for the space around it."""


def takes_words(command: str) -> bool:
    """Whether a listed command has a place for words."""
    return WORDS in command


def fill(command: str, words: str) -> str:
    """The command with words in its place for them; a command that has none stays as it is."""
    return command.replace(WORDS, words, 1)


def filled_by_chance(command: str, instruction: str, chance: Callable[[], float]) -> str:
    """The command; in its place for words, if it has one, one to four neighbouring ones of the instruction.

    Args:
        command: a listed one.
        instruction: what is to be achieved.
        chance: draws a number from 0 up to 1.
    """
    if not takes_words(command):
        return command
    words = instruction.split()
    first = int(chance() * len(words))
    return fill(command, " ".join(words[first : first + 1 + int(chance() * 4)]))


def random_command(commands: Sequence[str], instruction: str, rng: np.random.Generator) -> str:
    """One of the listed commands, all equally probable; one that takes words is filled by chance."""
    command = commands[int(rng.integers(len(commands)))]
    return filled_by_chance(command, instruction, rng.random)


def listed(text: str, commands: Sequence[str]) -> tuple[int, str] | None:
    """Which listed command a text names, whatever its case and spaces, and the command to be given.

    Spaces count for nothing where no other command differs by them alone: a model whose tokens are words
    writes "click [ red ]".

    Returns:
        Place in the list and the command, with the text's words in its place for them; None if there is none.
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
    """What stands in a text where a command has its place for words; empty if the text does not fit."""
    if command == WORDS:
        return text.strip()
    head, _, tail = map(_unspaced, command.partition(WORDS))
    # From both ends, mark by mark: a text may be long and hold nothing but spaces.
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
