"""Experts for lakes: one that knows how slippery the ice is, and one that knows every slip in advance."""

from __future__ import annotations

from collections import deque
from functools import lru_cache

from hgpo.envs.frozenlake.lake import SLIPS, Lake, State
from hgpo.envs.grids import inside_of

DISCOUNT = 0.97
"""Of the expert's values, so that of two safe ways the shorter one is better."""
PRECISION = 1e-6
"""Value iteration ends when no value changes by more than this."""


def next_command(lake: Lake, state: State) -> str | None:
    """The command of the best policy; None where the goal is out of reach."""
    return policy(lake).get(state._replace(time=0))


@lru_cache(4096)
def policy(lake: Lake) -> dict[State, str]:
    """The command with the highest value in each state, by value iteration; a win is worth 1.

    States from which the goal cannot be reached are left out. Where time matters only through the slips, the
    best command does not depend on it.
    """
    slips = (0,) if lake.slips is None else SLIPS
    keys = (False,) if lake.key is None else (False, True)
    states = [State(cell, has_key) for cell in inside_of(lake.width) for has_key in keys]
    values = {state: float(lake.outcome(state) == "won") for state in states}
    leads = {
        state: {
            command: [lake.arrived(state, command, slip) for slip in slips]
            for command in lake.commands(state)
        }
        for state in states
        if lake.outcome(state) == "playing"
    }

    def value(after: list[State]) -> float:
        return DISCOUNT * sum(values[each] for each in after) / len(after)

    change = 1.0
    while change > PRECISION:
        change = 0.0
        for state, commands in leads.items():
            best = max(map(value, commands.values()))
            change, values[state] = max(change, abs(best - values[state])), best
    return {
        state: max(commands, key=lambda command: value(commands[command]))
        for state, commands in leads.items()
        if values[state] > 0
    }


def walk(lake: Lake, state: State, most: int) -> tuple[str, ...] | None:
    """What the expert does from a state; None if it does not win in `most` steps, as it slips too badly."""
    commands: list[str] = []
    while lake.outcome(state) == "playing" and len(commands) < most:
        command = next_command(lake, state)
        after = None if command is None else lake.after(state, command)
        if command is None or after is None:
            return None
        commands.append(command)
        state = after
    return tuple(commands) if lake.outcome(state) == "won" else None


def foreseen(lake: Lake, state: State, most: int) -> tuple[str, ...] | None:
    """The fewest commands that win for somebody who knows every slip; None if `most` are not enough."""
    came: dict[State, tuple[str, ...]] = {state: ()}
    queue = deque([state])
    while queue:
        here = queue.popleft()
        if lake.outcome(here) == "won":
            return came[here]
        if lake.outcome(here) == "lost" or len(came[here]) == most:
            continue
        for command in lake.commands(here):
            there = lake.after(here, command)
            if there is not None and there not in came:
                came[there] = (*came[here], command)
                queue.append(there)
    return None
