"""A command in a generated game that is admissible."""

from __future__ import annotations

from typing import Any


def taken(game: Any, state: Any, command: str) -> tuple[Any, str]:
    """The state after the command, and what is said."""
    after = game.after(state, command)
    assert after is not None, command
    return after
