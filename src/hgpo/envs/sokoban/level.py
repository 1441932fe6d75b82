"""Levels of Sokoban: what a move does, and levels that are made by playing in reverse.

Cells are numbered as in `hgpo.envs.grids`; the border is made of walls.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from hgpo.envs.grids import as_set, cells, distance, inside_of, inside_set, reachable, steps_of

State = tuple[int, int]
"""The player's cell and the set of the boxes' cells."""

MOST_INNER_WALLS = 0.25
"""At most this share of the inner cells are walls, too."""


@dataclass(frozen=True)
class Level:
    """A level of Sokoban with its start."""

    size: int
    """Rows and columns, with the outer walls."""
    walls: int
    """The set of walls."""
    targets: int
    """The set of targets."""
    boxes: int
    """The set of the boxes' cells at the start."""
    player: int
    """The player's cell at the start."""


def moved(level: Level, state: State, step: int) -> State | None:
    """The state after the player's step, which may push a box; None if something is in the way."""
    player, boxes = state
    player += step
    here = 1 << player
    if here & level.walls:
        return None
    if here & boxes:
        ahead = 1 << (player + step)
        if ahead & (boxes | level.walls):
            return None
        boxes ^= here | ahead
    return player, boxes


def draw_level(rng: random.Random, size: int, boxes: int, most: int) -> Level:
    """A level that can be solved in `most` moves but not in one, with no box on a target at the start.

    The boxes stand on the targets first and are pulled away; the same moves in reverse order, with pushes for
    pulls, solve the level.
    """
    inside = inside_of(size)
    while True:
        count = rng.randint(0, int(MOST_INNER_WALLS * len(inside)))
        drawn = rng.sample(inside, count + boxes)
        free = inside_set(size) ^ as_set(drawn[:count])
        targets = as_set(drawn[count:])
        if reachable(drawn[-1], free, size) != free or free == targets:
            continue
        player, where = _pulled(rng, size, free, targets, most)
        level = Level(size, ((1 << size * size) - 1) ^ free, targets, where, player)
        if not where & targets and not _one_move_solves(level):
            return level


def _one_move_solves(level: Level) -> bool:
    after = (moved(level, (level.player, level.boxes), step) for step in steps_of(level.size).values())
    return any(state is not None and state[1] == level.targets for state in after)


def _pulled(rng: random.Random, size: int, free: int, boxes: int, most: int) -> State:
    """The player and the boxes after random pulls and the walks between them, of `most` moves in all."""
    region = free & ~boxes
    player = rng.choice([*cells(region)])
    reached = reachable(player, region, size)
    moves = 0
    for number in range(rng.randint(2 * boxes.bit_count(), 4 * boxes.bit_count() + size)):
        pulls = [
            (box, step)
            for box in cells(boxes)
            for step in steps_of(size).values()
            if reached >> (box + step) & 1 and region >> (box + 2 * step) & 1
        ]
        if not pulls:
            break
        box, step = rng.choice(pulls)
        # The level is solved with the first pull in reverse: no walk comes after it.
        walk = distance(player, box + step, region, size) if number else 0
        if walk is None or moves + walk + 1 > most:
            break
        moves += walk + 1
        boxes ^= 1 << box | 1 << (box + step)
        player = box + 2 * step
        region = free & ~boxes
        reached = reachable(player, region, size)
    start = rng.choice([*cells(reached)])
    walk = distance(player, start, region, size)
    return start if walk is not None and moves + walk <= most else player, boxes
