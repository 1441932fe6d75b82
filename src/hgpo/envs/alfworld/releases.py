"""Finds the release of ALFWorld that a game is from: games have no version number, but differ in wording."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from hgpo.envs.textgame.grammar import Words, parse_grammar

RELEASES = {"move … to …": "release 0.4.0 or later", "put … in/on …": "a release before 0.4.0"}
"""The command that puts a thing down, and the releases whose games word it this way. (From the alfred.twl2 in
the packages 0.2.1 to 0.4.2: the text is the same up to 0.3.5, and differs from 0.4.0 on.)"""

_TASK = re.compile(r"Your task is to: [^\"]*")


def wording_of(grammar: str) -> str:
    """The command of a grammar that puts a thing down, such as "move … to …"; "" if there is none.

    Raises GameFormatError if the grammar cannot be read.
    """
    # The grammars of a release differ only in the task, so each is read only once.
    return _wording(_TASK.sub("", grammar))


@lru_cache(maxsize=16)
def _wording(grammar: str) -> str:
    action = parse_grammar(grammar).actions.get("putobject")
    parts = action.template if action is not None else ()
    return "".join(part.text if isinstance(part, Words) else "…" for part in parts)


def named(wordings: Mapping[str, int]) -> str:
    """A description of the games' releases, from the number of games with each wording."""
    names = {
        wording: f'{RELEASES.get(wording, "no known release")} (things are put down by "{wording}")'
        for wording in wordings
    }
    if len(names) == 1:
        return f"games of {next(iter(names.values()))}"
    return "games of several releases: " + ", ".join(
        f"{count:,} of {names[wording]}" for wording, count in wordings.items()
    )
