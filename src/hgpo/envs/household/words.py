"""The words of the household: kinds of receptacles, things and rooms, and which of them go together.

Everything a game can contain is a row of one of these tables. Names are single lower-case words,
so that a policy with a small vocabulary can read all of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReceptacleKind:
    """A kind of furniture or appliance that holds things."""

    hollow: bool = False
    """Things go in it rather than on it."""
    closed: bool = False
    """It starts closed: what is in it shows only once it has been opened."""
    does: str | None = None
    """What an appliance does to a thing: clean, heat or cool."""
    most: int = 1
    """How many of the kind one room may have; more than one are numbered."""


@dataclass(frozen=True)
class ThingKind:
    """A kind of thing that lies about in rooms."""

    home: tuple[str, ...]
    """Where it usually lies."""
    other: tuple[str, ...] = ()
    """Where it may lie or be put as well."""
    treatments: tuple[str, ...] = ()
    """Which of clean, heat and cool can be done to it."""
    portable: bool = True
    """Whether it can be taken; only lamps cannot."""

    @property
    def places(self) -> tuple[str, ...]:
        """Every kind of receptacle that may hold it."""
        return self.home + self.other


@dataclass(frozen=True)
class RoomKind:
    """A kind of room: what stands in it and what lies about."""

    fixed: tuple[tuple[str, ...], ...]
    """Sets of receptacles of which each room has exactly one."""
    more: tuple[str, ...]
    """Receptacles that the rest is drawn from."""
    things: tuple[str, ...]
    """Things that are found here."""


RECEPTACLES: dict[str, ReceptacleKind] = {
    # Open surfaces.
    "counter": ReceptacleKind(most=2),
    "table": ReceptacleKind(most=2),
    "shelf": ReceptacleKind(most=3),
    "desk": ReceptacleKind(most=2),
    "dresser": ReceptacleKind(),
    "nightstand": ReceptacleKind(most=2),
    "bed": ReceptacleKind(most=2),
    "sofa": ReceptacleKind(),
    "chair": ReceptacleKind(most=2),
    # Open, but things go in them.
    "sink": ReceptacleKind(hollow=True, does="clean"),
    "bathtub": ReceptacleKind(hollow=True),
    "basket": ReceptacleKind(hollow=True),
    "bin": ReceptacleKind(hollow=True),
    # Closed.
    "drawer": ReceptacleKind(hollow=True, closed=True, most=3),
    "cabinet": ReceptacleKind(hollow=True, closed=True, most=2),
    "chest": ReceptacleKind(hollow=True, closed=True),
    "closet": ReceptacleKind(hollow=True, closed=True),
    "safe": ReceptacleKind(hollow=True, closed=True),
    "fridge": ReceptacleKind(hollow=True, closed=True, does="cool"),
    "microwave": ReceptacleKind(hollow=True, closed=True, does="heat"),
    "oven": ReceptacleKind(hollow=True, closed=True, does="heat"),
}

THINGS: dict[str, ThingKind] = {
    # Dishes and tools of the kitchen.
    "mug": ThingKind(
        ("counter", "cabinet", "shelf", "desk"),
        ("table", "sink", "microwave", "fridge", "nightstand"),
        ("clean", "heat", "cool"),
    ),
    "cup": ThingKind(
        ("counter", "cabinet", "table"), ("shelf", "sink", "microwave", "fridge"), ("clean", "heat", "cool")
    ),
    "plate": ThingKind(
        ("counter", "cabinet", "table"), ("shelf", "sink", "microwave", "fridge"), ("clean", "heat", "cool")
    ),
    "bowl": ThingKind(
        ("counter", "cabinet", "shelf"), ("table", "sink", "microwave", "fridge"), ("clean", "heat", "cool")
    ),
    "pan": ThingKind(("counter", "oven", "cabinet"), ("table", "sink", "fridge"), ("clean", "cool")),
    "pot": ThingKind(("counter", "cabinet", "shelf"), ("table", "sink", "fridge"), ("clean", "cool")),
    "fork": ThingKind(("drawer", "counter"), ("table", "sink"), ("clean",)),
    "spoon": ThingKind(("drawer", "table"), ("counter", "sink"), ("clean",)),
    "knife": ThingKind(("drawer", "counter"), ("table", "sink"), ("clean",)),
    # Food.
    "apple": ThingKind(
        ("fridge", "counter", "table"), ("sink", "bin", "microwave", "shelf"), ("clean", "heat", "cool")
    ),
    "tomato": ThingKind(
        ("fridge", "counter", "table"), ("sink", "bin", "microwave"), ("clean", "heat", "cool")
    ),
    "potato": ThingKind(
        ("counter", "cabinet", "oven"),
        ("sink", "bin", "microwave", "fridge", "table"),
        ("clean", "heat", "cool"),
    ),
    "egg": ThingKind(("fridge", "counter"), ("sink", "bin", "microwave", "table"), ("heat", "cool")),
    "pie": ThingKind(("counter", "table", "shelf"), ("fridge", "oven", "bin"), ("heat", "cool")),
    # The bathroom.
    "comb": ThingKind(("sink", "counter", "bathtub"), ("cabinet", "shelf", "drawer"), ("clean",)),
    "towel": ThingKind(("shelf", "basket"), ("bathtub", "cabinet", "counter")),
    "cloth": ThingKind(("bathtub", "counter", "cabinet"), ("sink", "basket", "drawer", "shelf"), ("clean",)),
    "sponge": ThingKind(("sink", "bathtub"), ("counter", "cabinet", "shelf", "bin"), ("clean",)),
    "brush": ThingKind(("cabinet", "counter", "drawer"), ("shelf", "sink", "dresser"), ("clean",)),
    "bottle": ThingKind(("cabinet", "shelf"), ("counter", "bin", "bathtub", "table")),
    "candle": ThingKind(("shelf", "counter"), ("cabinet", "table", "dresser", "drawer")),
    # Everywhere else.
    "book": ThingKind(("shelf", "desk", "nightstand"), ("bed", "sofa", "table", "drawer", "chest", "chair")),
    "pen": ThingKind(("desk", "drawer"), ("shelf", "nightstand", "bin", "table", "dresser")),
    "pencil": ThingKind(("desk", "drawer"), ("shelf", "table", "bin", "chair")),
    "phone": ThingKind(("nightstand", "desk", "sofa"), ("bed", "table", "dresser", "drawer", "chair")),
    "laptop": ThingKind(("desk", "bed"), ("sofa", "table", "chair", "closet")),
    "pillow": ThingKind(("bed", "sofa"), ("chair", "closet", "chest")),
    "shirt": ThingKind(("closet", "basket"), ("bed", "chair", "dresser", "chest")),
    "hat": ThingKind(("closet", "chair", "shelf"), ("bed", "dresser", "sofa", "chest")),
    "watch": ThingKind(("dresser", "nightstand", "safe"), ("desk", "drawer", "table", "shelf", "sofa")),
    "ring": ThingKind(("safe", "drawer", "dresser"), ("nightstand", "table", "chest")),
    "key": ThingKind(("drawer", "table", "desk"), ("safe", "dresser", "sofa", "cabinet", "nightstand")),
    "card": ThingKind(("desk", "safe", "table"), ("drawer", "shelf", "bin", "sofa")),
    "vase": ThingKind(("table", "shelf"), ("cabinet", "dresser", "desk", "chest")),
    "remote": ThingKind(("sofa", "table"), ("drawer", "chair", "shelf", "cabinet")),
    "ball": ThingKind(("chest", "basket", "closet"), ("bed", "chair", "sofa", "shelf", "bin")),
    "box": ThingKind(("table", "shelf", "closet"), ("sofa", "desk", "cabinet", "chair", "safe")),
    "lamp": ThingKind(("desk", "nightstand", "table"), ("dresser", "shelf"), portable=False),
}

ROOMS: dict[str, RoomKind] = {
    "kitchen": RoomKind(
        fixed=(
            ("sink", "fridge", "microwave"),
            ("sink", "fridge", "oven"),
            ("fridge", "microwave"),
            ("sink", "oven"),
            ("sink", "fridge"),
        ),
        more=("counter", "counter", "table", "cabinet", "cabinet", "drawer", "drawer", "shelf", "bin"),
        things=(
            *("mug", "cup", "plate", "bowl", "pan", "pot", "fork", "spoon", "knife"),
            *("apple", "tomato", "potato", "egg", "pie"),
        ),
    ),
    "bathroom": RoomKind(
        fixed=(("sink",),),
        more=(
            "counter",
            "cabinet",
            "cabinet",
            "shelf",
            "shelf",
            "bathtub",
            "basket",
            "drawer",
            "drawer",
            "bin",
        ),
        things=("comb", "towel", "cloth", "sponge", "brush", "bottle", "candle", "cup"),
    ),
    "bedroom": RoomKind(
        fixed=(("bed", "nightstand"), ("bed", "desk"), ("bed", "dresser")),
        more=(
            *("bed", "nightstand", "desk", "dresser", "chair", "shelf", "basket"),
            *("drawer", "drawer", "drawer", "closet", "chest", "safe"),
        ),
        things=(
            *("book", "pen", "phone", "laptop", "pillow", "shirt", "hat", "watch", "ring", "key", "ball"),
            *("mug", "lamp"),
        ),
    ),
    "lounge": RoomKind(
        fixed=(("sofa", "table"),),
        more=(
            "table",
            "shelf",
            "shelf",
            "chair",
            "chair",
            "cabinet",
            "drawer",
            "drawer",
            "chest",
            "desk",
            "safe",
        ),
        things=(
            *("book", "remote", "phone", "laptop", "pillow", "hat", "watch", "key", "card", "vase", "box"),
            *("candle", "ball", "bottle", "lamp"),
        ),
    ),
    "office": RoomKind(
        fixed=(("desk", "chair"),),
        more=(
            "desk",
            "shelf",
            "shelf",
            "table",
            "cabinet",
            "drawer",
            "drawer",
            "drawer",
            "safe",
            "bin",
            "chair",
        ),
        things=(
            "book",
            "pen",
            "pencil",
            "phone",
            "laptop",
            "mug",
            "key",
            "card",
            "box",
            "watch",
            "vase",
            "lamp",
        ),
    ),
}
