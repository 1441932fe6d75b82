"""Recipe books: what has to be crafted, from what, and the shortest way to it from any inventory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

MATERIALS = tuple(
    "bone clay coal cotton flint gold gravel iron leather salt sand stone water wood wool".split()
)
"""Things that can be got."""
THINGS = tuple(
    """
    anchor arrow barrel basket bell bench bottle bowl bow box brick bridge bucket candle carpet chain chair
    chest clock cloth compass cup door drum fence flag flute frame glass glue hammer handle hat hook jar kite
    knife ladder lamp lens lock map mask mirror nail needle net oven paint paper pipe plank plate pot pulley
    rail ring rod rope saddle sail saw shield shovel spear spring stove table tile tower whistle wheel
    """.split()
)
"""Things that can be crafted."""
MOST_OF_EACH = 20
"""Largest number of one thing that fits into the inventory."""
MOST_PER_RECIPE = 2
"""Largest number of one ingredient in a recipe."""
SECOND_INGREDIENT = 0.5
"""Share of the recipes with a second ingredient."""
DISTRACTORS = 2
"""Recipes in a book that do not help."""


@dataclass(frozen=True)
class RecipeBook:
    """A task: the recipes, and the thing to be crafted."""

    target: str
    """The thing to be crafted."""
    depth: int
    """The longest chain of recipes from a material to the target."""
    recipes: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    """Each thing that can be crafted with its ingredients and their numbers, in the order of the book."""

    @cached_property
    def ingredients(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """The ingredients of each thing that can be crafted."""
        return dict(self.recipes)

    def text(self) -> str:
        """The recipes in words."""
        return "; ".join(f"1 {thing} from {listing(parts)}" for thing, parts in self.recipes)


def listing(numbers: Iterable[tuple[str, int]]) -> str:
    """Things with their numbers, as "2 sand, 1 coal"."""
    return ", ".join(f"{number} {thing}" for thing, number in numbers)


def draw_book(rng: random.Random, depth: int, most: int) -> RecipeBook:
    """A book whose target is `depth` recipes away from the materials, and takes at most `most` commands."""
    while True:
        things = iter(rng.sample(THINGS, depth + DISTRACTORS))
        materials = rng.sample(MATERIALS, 3)
        recipes: dict[str, tuple[tuple[str, int], ...]] = {}
        last = rng.choice(materials)
        for _ in range(depth):
            thing = next(things)
            recipes[thing] = _parts(rng, last, [*materials, *recipes])
            last = thing
        for thing in things:
            recipes[thing] = _parts(rng, rng.choice(materials), [*materials, *recipes])
        shuffled = tuple(rng.sample([*recipes.items()], len(recipes)))
        book = RecipeBook(last, depth, shuffled)
        needed = total(book, Counter())
        if len(plan(book, Counter())) <= most and max(needed.values()) <= MOST_OF_EACH:
            return book


def _parts(rng: random.Random, first: str, others: list[str]) -> tuple[tuple[str, int], ...]:
    """The ingredients of a recipe: one that is given, and perhaps one of the others."""
    parts = {first: rng.randint(1, MOST_PER_RECIPE)}
    if rng.random() < SECOND_INGREDIENT:
        parts.setdefault(rng.choice(others), rng.randint(1, MOST_PER_RECIPE))
    return tuple(parts.items())


def total(book: RecipeBook, inventory: Mapping[str, int]) -> Counter[str]:
    """How many of each thing have to be got or crafted until the inventory holds the target."""
    wanted, missing = Counter({book.target: 1}), Counter[str]()
    # When a thing's turn comes, everything that needs it has been counted.
    for thing in needed_for(book):
        missing[thing] = max(0, wanted[thing] - inventory.get(thing, 0))
        for part, count in book.ingredients.get(thing, ()):
            wanted[part] += count * missing[thing]
    return missing


def needed_for(book: RecipeBook) -> list[str]:
    """The target and all that it needs, each thing before its ingredients."""
    order: dict[str, None] = {}

    def visit(thing: str) -> None:
        if thing not in order:
            for part, _ in book.ingredients.get(thing, ()):
                visit(part)
            order[thing] = None

    visit(book.target)
    return [*reversed(order)]


def depth_of(book: RecipeBook, thing: str) -> int:
    """The longest chain of recipes from a material to a thing; 0 for a material."""
    parts = book.ingredients.get(thing, ())
    return 1 + max(depth_of(book, part) for part, _ in parts) if parts else 0


def plan(book: RecipeBook, inventory: Mapping[str, int]) -> tuple[str, ...]:
    """The fewest commands that craft the target: what is lacking of each material and thing, once each."""
    missing = total(book, inventory)
    order = [thing for thing in reversed(needed_for(book)) if missing[thing]]
    gets = [f"get {missing[thing]} {thing}" for thing in order if thing not in book.ingredients]
    crafts = [f"craft {missing[thing]} {thing}" for thing in order if thing in book.ingredients]
    return *gets, *crafts
