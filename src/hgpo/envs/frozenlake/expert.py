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
    leads = _leads(lake)
    values = _at_the_end(lake)

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


def best_success(lake: Lake, most: int) -> float:
    """The highest probability to win in `most` steps for somebody who knows no slip in advance.

    It is found by value iteration over the steps that are left:
    V₀(s) = 1 where s is won and 0 elsewhere, Vₜ(s) = max over commands of the mean of Vₜ₋₁ over the slips.
    """
    leads, values = _leads(lake), _at_the_end(lake)
    for _ in range(most):
        values |= {
            state: max(sum(map(values.__getitem__, after)) / len(after) for after in commands.values())
            for state, commands in leads.items()
        }
    return values[State(lake.start)]


def _leads(lake: Lake) -> dict[State, dict[str, list[State]]]:
    """For each state that is still played, and each command, the states to which it can lead.

    All slips are equally probable, so a state is repeated if several slips lead to it. The time is left out.
    """
    slips = (0,) if lake.slips is None else SLIPS
    return {
        state: {
            command: [lake.arrived(state, command, slip) for slip in slips]
            for command in lake.commands(state)
        }
        for state in _states(lake)
        if lake.outcome(state) == "playing"
    }


def _at_the_end(lake: Lake) -> dict[State, float]:
    """1 for each state that is won, 0 for all others."""
    return {state: float(lake.outcome(state) == "won") for state in _states(lake)}


def _states(lake: Lake) -> list[State]:
    """All states without the time."""
    keys = (False,) if lake.key is None else (False, True)
    return [State(cell, has_key) for cell in inside_of(lake.width) for has_key in keys]


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
