"""Which release of ALFWorld a game is of: it carries no number, but its commands are worded differently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from hgpo.envs.textgame.grammar import Words, parse_grammar

RELEASES = {"move … to …": "release 0.4.0 or later", "put … in/on …": "a release before 0.4.0"}
"""The command that puts a thing down, and the release whose games word it so. (From the alfred.twl2 in the
packages 0.2.1 to 0.4.2: it is one text up to 0.3.5, and another one from 0.4.0 on.)"""

_TASK = re.compile(r"Your task is to: [^\"]*")


def wording_of(grammar: str) -> str:
    """The command that puts a thing down in a game with this grammar, as in "move … to …"; "" without one.

    Raises GameFormatError if the grammar cannot be read.
    """
    # All grammars of a release are one but for the task; each is read once.
    return _wording(_TASK.sub("", grammar))


@lru_cache(maxsize=16)
def _wording(grammar: str) -> str:
    action = parse_grammar(grammar).actions.get("putobject")
    parts = action.template if action is not None else ()
    return "".join(part.text if isinstance(part, Words) else "…" for part in parts)


def named(wordings: Mapping[str, int]) -> str:
    """The releases of games in words, from how many of them have each wording."""
    names = {
        wording: f'{RELEASES.get(wording, "no known release")} (things are put down by "{wording}")'
        for wording in wordings
    }
    if len(names) == 1:
        return f"games of {next(iter(names.values()))}"
    return "games of several releases: " + ", ".join(
        f"{count:,} of {names[wording]}" for wording, count in wordings.items()
    )
