"""Lakes: how a walk over the ice goes, and maps that can be won.

Cells are numbered as in `hgpo.envs.grids`; the border is the shore, which cannot be entered.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from hgpo.envs.grids import as_set, cells, distance, inside_of, inside_set, steps_of
from hgpo.envs.rules import Outcome

MOST_HOLES = 0.4
"""At most this share of the cells are holes."""
SLIPS = (-1, 0, 1)
"""On slippery ice a step goes to the left of its direction, straight on or to the right, equally often."""
CLOCKWISE = ("up", "right", "down", "left")


class State(NamedTuple):
    """Where an episode stands."""

    player: int
    """The player's cell."""
    has_key: bool = False
    """Whether the player has the key."""
    time: int = 0
    """Number of steps taken; always 0 where the ice is not slippery."""


@dataclass(frozen=True)
class Lake:
    """A map with everything that decides how a walk on it goes."""

    width: int
    """Rows and columns, with the shore on both sides."""
    holes: int
    """The set of holes."""
    start: int
    """The player's first cell."""
    goal: int
    """The cell to reach."""
    key: int | None = None
    """The cell of the key, if there is one."""
    door: int | None = None
    """The cell of the door that needs the key."""
    slips: int | None = None
    """Seed of the slips; None if the ice is not slippery."""

    def after(self, state: State, command: str) -> State | None:
        """The state after a command; None if there is no such command, or if the shore is in the way."""
        if command not in moves(self.width)[state.player]:
            return None
        if self.slips is None:
            return self.arrived(state, command, 0)
        # A function of the time, so that a state determines what comes after it.
        slip = SLIPS[crc32(b"%d %d" % (self.slips, state.time)) % len(SLIPS)]
        return self.arrived(state, command, slip)._replace(time=state.time + 1)

    def arrived(self, state: State, command: str, slip: int) -> State:
        """The state after a step that slips left of its direction (-1), right of it (1) or not (0)."""
        direction = CLOCKWISE[(CLOCKWISE.index(command) + slip) % 4]
        cell = state.player + steps_of(self.width)[direction]
        if not inside_set(self.width) >> cell & 1:
            cell = state.player
        return state._replace(player=cell, has_key=state.has_key or cell == self.key)

    def commands(self, state: State) -> tuple[str, ...]:
        """The directions in which the player is not on the shore at once."""
        return moves(self.width)[state.player]

    def outcome(self, state: State) -> Outcome:
        """Won at the goal; lost in a hole, or at the door without the key."""
        if state.player == self.goal:
            return "won"
        if self.holes >> state.player & 1 or (state.player == self.door and not state.has_key):
            return "lost"
        return "playing"


@lru_cache
def moves(width: int) -> dict[int, tuple[str, ...]]:
    """For each cell the directions in which there is another one."""
    inside = inside_set(width)
    return {
        cell: tuple(name for name, step in steps_of(width).items() if inside >> (cell + step) & 1)
        for cell in inside_of(width)
    }


def draw_lake(rng: random.Random, size: int, most: int, *, slippery: bool, key: bool) -> Lake:
    """A map on which the goal can be reached in `most` steps, if the player does not slip."""
    draw = _with_key if key else _without_key
    while (lake := draw(rng, size, most)) is None:
        pass
    return replace(lake, slips=rng.getrandbits(32)) if slippery else lake


def _without_key(rng: random.Random, size: int, most: int) -> Lake | None:
    """A map whose goal is size − 1 steps away or more; None if a draw gives none."""
    width, inside = size + 2, inside_of(size + 2)
    start, goal, *others = rng.sample(inside, len(inside))
    holes = as_set(others[: rng.randint(1, int(MOST_HOLES * len(inside)))])
    way = distance(start, goal, inside_set(width) & ~holes, width)
    return None if way is None or not size - 1 <= way <= most else Lake(width, holes, start, goal)


def _with_key(rng: random.Random, size: int, most: int) -> Lake | None:
    """A map with a fork that has to be passed twice, before and after the key is fetched; None as above.

    Start, key and door lie next to the fork. Start and key have no other neighbours than the fork and holes.
    """
    width = size + 2
    inside = inside_set(width)
    steps = steps_of(width).values()
    fork = rng.choice(inside_of(width))
    around = [fork + step for step in steps if inside >> (fork + step) & 1]
    if len(around) < 3:
        return None
    start, key, door, *closed = rng.sample(around, len(around))
    closed += [end + step for end in (start, key) for step in steps if end + step != fork]
    holes = as_set({*closed}) & inside
    special = as_set((fork, start, key, door))
    rest = [*cells(inside & ~holes & ~special)]
    if holes & special or not rest:
        return None
    goal, *others = rng.sample(rest, len(rest))
    holes |= as_set(others[: rng.randint(0, int(MOST_HOLES * len(rest)))])
    way = distance(door, goal, inside & ~holes & ~(1 << fork), width)
    # To the fork, to the key, back, and to the door.
    return None if way is None or 4 + way > most else Lake(width, holes, start, goal, key, door)


def way_from_start(lake: Lake) -> int:
    """The fewest steps from the start to the goal, as if the door were open."""
    way = distance(lake.start, lake.goal, inside_set(lake.width) & ~lake.holes, lake.width)
    assert way is not None, "the goal of every lake can be reached"
    return way
