"""Grids of square cells: a cell is a number, row × width + column, and a set of cells an integer with a bit
for each of them.

The outermost cells are a border that nobody enters, so that a step never leaves the grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

Form = Literal["grid", "coordinates"]
"""How a grid is shown: as a grid of signs, or by where everything is, seen from the player."""


@lru_cache
def steps_of(width: int) -> dict[str, int]:
    """What each command adds to a cell."""
    return {"up": -width, "down": width, "left": -1, "right": 1}


@lru_cache
def inside_of(width: int) -> tuple[int, ...]:
    """The cells within the border."""
    return tuple(row * width + column for row in range(1, width - 1) for column in range(1, width - 1))


@lru_cache
def inside_set(width: int) -> int:
    """The cells within the border, as a set."""
    return as_set(inside_of(width))


def as_set(of: Iterable[int]) -> int:
    """The set of some different cells."""
    bits = 0
    for cell in of:
        bits |= 1 << cell
    return bits


def cells(bits: int) -> Iterator[int]:
    """The cells of a set, in ascending order."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


@lru_cache(2**14)
def reachable(start: int, free: int, width: int) -> int:
    """The set of free cells that are connected with a free cell."""
    seen = 1 << start
    while (grown := _grown(seen, free, width)) != seen:
        seen = grown
    return seen


def distance(start: int, goal: int, free: int, width: int) -> int | None:
    """The fewest steps from one free cell to another; None if they are not connected."""
    seen, steps = 1 << start, 0
    while not seen >> goal & 1:
        grown = _grown(seen, free, width)
        if grown == seen:
            return None
        seen, steps = grown, steps + 1
    return steps


def _grown(seen: int, free: int, width: int) -> int:
    return (seen | seen << 1 | seen >> 1 | seen << width | seen >> width) & free


def rows_of(signs: Iterable[str], columns: int) -> str:
    """The signs of cells row by row, with spaces between them, so that each sign is a word."""
    every = [*signs]
    return "\n".join(" ".join(every[first : first + columns]) for first in range(0, len(every), columns))


def places_from(player: int, bits: int, width: int) -> str:
    """Where the cells of a set are, seen from another cell, the nearest first: "1 up 2 left", or "none"."""
    row, column = divmod(player, width)
    steps = sorted(
        ((cell // width - row, cell % width - column) for cell in cells(bits)),
        key=lambda step: abs(step[0]) + abs(step[1]),
    )
    places = (
        f"{abs(down)} {'up' if down < 0 else 'down'} {abs(right)} {'left' if right < 0 else 'right'}"
        for down, right in steps
    )
    return ", ".join(places) or "none"
