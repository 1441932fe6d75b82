"""The words of the household: kinds of receptacles, things and rooms, and which of them go together.

Everything that a game can contain is a row of one of these tables. Names are single lower-case words, so
that a policy with a small vocabulary can read all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ReceptacleKind:
    """A kind of furniture or appliance that holds things."""

    hollow: bool = False
    """Whether things go in it rather than on it."""
    closed: bool = False
    """Whether it is closed at the start; its content is shown only after it has been opened."""
    does: str | None = None
    """What an appliance does to a thing: clean, heat or cool."""


@dataclass(frozen=True)
class ThingKind:
    """A kind of thing that can be found in rooms."""

    home: tuple[str, ...]
    """Its usual places."""
    other: tuple[str, ...] = ()
    """Other places where it may be or be put."""
    treatments: tuple[str, ...] = ()
    """Its possible treatments: clean, heat, cool."""
    portable: bool = True
    """Whether it can be taken; only lamps cannot."""

    @property
    def places(self) -> tuple[str, ...]:
        """Every kind of receptacle that may hold it."""
        return self.home + self.other


@dataclass(frozen=True)
class RoomKind:
    """A kind of room: its receptacles and things."""

    fixed: tuple[tuple[str, ...], ...]
    """Sets of receptacles; each room has exactly one receptacle of each set."""
    more: tuple[str, ...]
    """Receptacles from which all others are drawn."""
    things: tuple[str, ...]
    """Things that can be found in it."""


NEW_WORDS = {
    **{"mug": "cup", "plate": "bowl", "fork": "spoon", "apple": "orange", "tomato": "potato", "egg": "onion"},
    **{
        "book": "magazine",
        "pen": "crayon",
        "phone": "watch",
        "pillow": "blanket",
        "ball": "vase",
        "key": "coin",
    },
}
"""Words for portable things that occur in no usual game, by the usual words. Their articles are the same."""

RECEPTACLES: dict[str, ReceptacleKind] = {
    # Open surfaces.
    "counter": ReceptacleKind(),
    "table": ReceptacleKind(),
    "shelf": ReceptacleKind(),
    "desk": ReceptacleKind(),
    "bed": ReceptacleKind(),
    "sofa": ReceptacleKind(),
    # Open, but things go in them.
    "sink": ReceptacleKind(hollow=True, does="clean"),
    "bin": ReceptacleKind(hollow=True),
    # Closed.
    "drawer": ReceptacleKind(hollow=True, closed=True),
    "cabinet": ReceptacleKind(hollow=True, closed=True),
    "chest": ReceptacleKind(hollow=True, closed=True),
    "fridge": ReceptacleKind(hollow=True, closed=True, does="cool"),
    "microwave": ReceptacleKind(hollow=True, closed=True, does="heat"),
}

THINGS: dict[str, ThingKind] = {
    # The kitchen.
    "mug": ThingKind(
        ("counter", "cabinet", "shelf"), ("table", "sink", "microwave", "fridge"), ("clean", "heat", "cool")
    ),
    "plate": ThingKind(
        ("counter", "cabinet", "table"), ("shelf", "sink", "microwave", "fridge"), ("clean", "heat", "cool")
    ),
    "fork": ThingKind(("drawer", "counter"), ("table", "sink"), ("clean",)),
    "apple": ThingKind(
        ("fridge", "counter", "table"), ("sink", "bin", "microwave", "shelf"), ("clean", "heat", "cool")
    ),
    "tomato": ThingKind(
        ("fridge", "counter", "table"), ("sink", "bin", "microwave"), ("clean", "heat", "cool")
    ),
    "egg": ThingKind(("fridge", "counter"), ("sink", "bin", "microwave", "table"), ("heat", "cool")),
    # The other rooms.
    "book": ThingKind(("shelf", "desk", "sofa"), ("bed", "table", "drawer", "chest")),
    "pen": ThingKind(("desk", "drawer"), ("shelf", "table", "bin", "bed")),
    "phone": ThingKind(("desk", "sofa", "table"), ("bed", "drawer", "shelf")),
    "pillow": ThingKind(("bed", "sofa"), ("chest", "cabinet", "desk")),
    "ball": ThingKind(("chest", "cabinet"), ("bed", "sofa", "shelf", "bin")),
    "key": ThingKind(("drawer", "table", "desk"), ("chest", "sofa", "cabinet", "shelf")),
    "lamp": ThingKind(("desk", "table"), ("shelf",), portable=False),
}

ROOMS: dict[str, RoomKind] = {
    "kitchen": RoomKind(
        fixed=(
            ("sink", "fridge", "microwave"),
            ("fridge", "microwave"),
            ("sink", "microwave"),
            ("sink", "fridge"),
        ),
        more=("counter", "table", "cabinet", "drawer", "shelf", "bin"),
        things=("mug", "plate", "fork", "apple", "tomato", "egg"),
    ),
    "bedroom": RoomKind(
        fixed=(("bed",),),
        more=("desk", "table", "shelf", "drawer", "cabinet", "chest", "bin"),
        things=("book", "pen", "phone", "pillow", "ball", "key", "lamp"),
    ),
    "lounge": RoomKind(
        fixed=(("sofa",),),
        more=("desk", "table", "shelf", "drawer", "cabinet", "chest", "bin"),
        things=("book", "pen", "phone", "pillow", "ball", "key", "lamp"),
    ),
    "office": RoomKind(
        fixed=(("desk",),),
        more=("table", "shelf", "drawer", "cabinet", "chest", "bin", "sofa"),
        things=("book", "pen", "phone", "ball", "key", "lamp"),
    ),
}


def in_new_words(text: str) -> str:
    """The text with `NEW_WORDS` in the place of the usual ones."""
    return re.sub("[a-z]+", lambda word: NEW_WORDS.get(word[0], word[0]), text)
