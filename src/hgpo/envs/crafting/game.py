"""The game of one recipe book: what is seen, how commands are read and what they do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hgpo.envs.commands import WORDS
from hgpo.envs.crafting.recipes import MATERIALS, MOST_OF_EACH, RecipeBook, listing
from hgpo.envs.rules import Outcome

COMMANDS = (f"get {WORDS}", f"craft {WORDS}", "inventory")
DONE, NO_MATERIAL, NO_RECIPE = "done.", "that cannot be got.", "there is no recipe for that."
LACKING, FULL = "ingredients are lacking:", f"more than {MOST_OF_EACH} of one thing do not fit."
UNREADABLE = "say the number and the name of a thing."
MESSAGES = (DONE, NO_MATERIAL, NO_RECIPE, LACKING, FULL, UNREADABLE)
"""What is said to commands."""

_COMMAND = re.compile(r"(get|craft) (?:([1-9][0-9]?) )?([a-z]+)(?: using (.+))?")


State = tuple[tuple[str, int], ...]
"""The inventory: the things at hand and their numbers, in alphabetical order."""


def held(inventory: State) -> str:
    """The inventory in words."""
    return f"you have: {listing(inventory) or 'nothing'}."


@dataclass(frozen=True)
class CraftingGame:
    """The game of one recipe book."""

    book: RecipeBook
    show_inventory: bool
    """Whether every observation has the inventory, or only the answer to the command inventory."""

    def start(self) -> State:
        """Empty hands."""
        return ()

    def opening(self) -> str:
        """The inventory, where it is not shown anyway."""
        return self._told(self.start())

    def look(self, state: State) -> str:
        """The inventory, if it is always shown."""
        return held(state) if self.show_inventory else ""

    def commands(self, state: State) -> tuple[str, ...]:
        """The three forms of a command."""
        return COMMANDS

    def after(self, state: State, command: str) -> tuple[State, str] | None:
        """The inventory after a command, and how it went; None if it has none of the three forms."""
        if command == "inventory":
            return state, self._told(state)
        if not command.startswith(("get ", "craft ")):
            return None
        read = _COMMAND.fullmatch(command)
        if read is None:
            return state, UNREADABLE
        verb, number, thing, using = read[1], int(read[2] or 1), read[3], read[4]
        inventory = dict(state)
        inventory[thing] = inventory.get(thing, 0) + number
        if verb == "craft":
            refusal = self._take_ingredients(inventory, number, thing, using)
        else:
            refusal = NO_MATERIAL if thing not in MATERIALS or using else None
        if refusal is None and inventory[thing] > MOST_OF_EACH:
            refusal = FULL
        if refusal is not None:
            return state, refusal
        return tuple(sorted((name, count) for name, count in inventory.items() if count)), DONE

    def outcome(self, state: State) -> Outcome:
        """Won with the target at hand."""
        return "won" if any(thing == self.book.target for thing, _ in state) else "playing"

    def score(self, state: State) -> None:
        """None: the target is crafted or not."""

    def _told(self, inventory: State) -> str:
        """What is said when the inventory is asked for; nothing where it is always shown."""
        return "" if self.show_inventory else held(inventory)

    def _take_ingredients(
        self, inventory: dict[str, int], number: int, thing: str, using: str | None
    ) -> str | None:
        """Take what a thing is crafted from; the message if that cannot be, None otherwise."""
        if thing not in self.book.ingredients:
            return NO_RECIPE
        needed = {part: count * number for part, count in self.book.ingredients[thing]}
        if using is not None and sorted(using.split(", ")) != sorted(listing(needed.items()).split(", ")):
            return NO_RECIPE
        for part, count in needed.items():
            inventory[part] = inventory.get(part, 0) - count
        lacking = [(part, -inventory[part]) for part in needed if inventory[part] < 0]
        return f"{LACKING} {listing(lacking)}." if lacking else None
