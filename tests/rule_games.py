"""Steps of games that are given by their rules."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from hgpo.envs.rules import RuleGame

S = TypeVar("S")


def after(game: RuleGame[S], state: S, command: str) -> tuple[S, str]:
    """The state after a command that has to be admissible, and what is said to it."""
    found = game.after(state, command)
    assert found is not None, command
    return found


def fewest(
    game: RuleGame[S], start: S, commands: Callable[[S], Iterable[str]], most: float = float("inf")
) -> int | None:
    """The fewest commands that win from a state, by breadth-first search; None if it takes more than `most`."""
    seen, queue = {start}, deque([(start, 0)])
    while queue:
        state, steps = queue.popleft()
        if game.outcome(state) == "won":
            return steps
        if steps < most:
            for command in commands(state):
                there = after(game, state, command)[0]
                if there not in seen:
                    seen.add(there)
                    queue.append((there, steps + 1))
    return None
