"""Parses the s-expressions in which PDDL is written."""

from __future__ import annotations

import re
from typing import TypeAlias

from hgpo.envs.textgame.errors import GameFormatError

Expression: TypeAlias = "str | list[Expression]"
"""A word, or a list of expressions."""

DEEPEST = 100
"""Largest nesting depth of lists; official games need 10."""

_TOKEN = re.compile(r"[()]|\?[^\s()?;]*|[^\s()?;]+|;[^\n]*")


def parse(text: str) -> list[Expression]:
    """The one list in a text, in lower case because PDDL ignores case; `;` starts a comment.

    Raises GameFormatError if a parenthesis is missing or if there is text outside the list.
    """
    top: list[Expression] = []
    # The lists that are still open, outermost first.
    open_lists = [top]
    for match in _TOKEN.finditer(text.lower()):
        token = match.group()
        if token == "(":
            inner: list[Expression] = []
            open_lists[-1].append(inner)
            open_lists.append(inner)
            if len(open_lists) > DEEPEST:
                raise GameFormatError(f"parentheses nest deeper than {DEEPEST}: no game needs that")
        elif token == ")":
            if len(open_lists) == 1:
                line = text.count("\n", 0, match.start()) + 1
                raise GameFormatError(f"line {line}: ')' has no matching '('")
            open_lists.pop()
        elif token[0] != ";":
            open_lists[-1].append(token)
    if len(open_lists) > 1:
        raise GameFormatError(f"{len(open_lists) - 1} parentheses are not closed at the end of the text")
    if len(top) != 1 or isinstance(top[0], str):
        raise GameFormatError("expected one list in parentheses, as (define …)")
    return top[0]
