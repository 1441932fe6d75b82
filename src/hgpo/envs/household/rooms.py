"""The fixed list of rooms and their receptacles: training rooms and held-out rooms.

Drawn once from a constant seed, so every installation has the same rooms.
Two rooms are the same if their kind and receptacles are the same; no room is in both lists.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import cache

from hgpo.envs.household.words import RECEPTACLES, ROOMS

SEED = 20_250
"""The seed of the rooms. Another number would make another benchmark."""

COUNTS = {"kitchen": (24, 8), "bedroom": (9, 3), "lounge": (9, 3), "office": (9, 3)}
"""Number of training rooms and of held-out rooms of each kind.
There are most kitchens, because three of the six task types need one."""


@dataclass(frozen=True)
class Room:
    """One room layout: the kind of room and the receptacles in it."""

    id: str
    """The identifier, such as kitchen_07; training and held-out rooms are numbered together."""
    kind: str
    """The kind of room, a key of ROOMS."""
    receptacles: tuple[tuple[str, str], ...]
    """Pairs of identifier and kind; the identifier has a number only if the kind occurs more than once."""

    def kinds(self) -> Counter[str]:
        """Number of receptacles of each kind in the room."""
        return Counter(kind for _, kind in self.receptacles)

    def appliances(self, treatment: str) -> list[str]:
        """Identifiers of the receptacles that clean, heat or cool."""
        return [name for name, kind in self.receptacles if RECEPTACLES[kind].does == treatment]


def named(kinds: list[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of identifier and kind, numbered from 1 only where a kind occurs more than once."""
    counts, seen = Counter(kinds), Counter[str]()
    pairs = []
    for kind in sorted(kinds):
        seen[kind] += 1
        pairs.append((f"{kind}_{seen[kind]}" if counts[kind] > 1 else kind, kind))
    return tuple(pairs)


def _draw(rng: random.Random, kind: str, fewest: int, most: int) -> tuple[str, ...]:
    """The receptacle kinds of one room, `fewest` to `most`: at least one open surface and one closed one."""
    room = ROOMS[kind]
    while True:
        chosen = list(rng.choice(room.fixed))
        chosen += rng.sample(room.more, max(0, rng.randint(fewest, most) - len(chosen)))
        surfaces = sum(not RECEPTACLES[name].hollow for name in chosen)
        closed = sum(RECEPTACLES[name].closed for name in chosen)
        if surfaces >= 1 and closed >= 1:
            return tuple(sorted(chosen))


@cache
def rooms() -> tuple[tuple[Room, ...], tuple[Room, ...]]:
    """The training rooms and the held-out rooms, with 3 to 4 receptacles."""
    return _drawn(SEED, 3, 4)


@cache
def larger_rooms() -> tuple[tuple[Room, ...], tuple[Room, ...]]:
    """The same numbers of rooms with twice as many receptacles, 6 to 8."""
    return _drawn(SEED + 1, 6, 8)


def _drawn(seed: int, fewest: int, most: int) -> tuple[tuple[Room, ...], tuple[Room, ...]]:
    rng = random.Random(seed)
    train: list[Room] = []
    apart: list[Room] = []
    for kind, (for_training, kept_apart) in COUNTS.items():
        drawn: dict[tuple[str, ...], None] = {}
        while len(drawn) < for_training + kept_apart:
            drawn.setdefault(_draw(rng, kind, fewest, most))
        for number, kinds in enumerate(drawn):
            room = Room(f"{kind}_{number:02d}", kind, named(list(kinds)))
            (train if number < for_training else apart).append(room)
    return tuple(train), tuple(apart)
