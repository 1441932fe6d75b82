"""Steps of games that are given by their rules."""

from __future__ import annotations

from typing import TypeVar

from hgpo.envs.rules import RuleGame

S = TypeVar("S")


def after(game: RuleGame[S], state: S, command: str) -> tuple[S, str]:
    """The state after a command that has to be admissible, and what is said to it."""
    found = game.after(state, command)
    assert found is not None, command
    return found
