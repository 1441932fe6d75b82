"""An expert that knows the wanted product: it searches with the goal's words, chooses options and buys."""

from __future__ import annotations

from collections.abc import Iterator

from hgpo.envs.webshop.goals import Goal
from hgpo.envs.webshop.pages import BUY, NEXT, PAGE_SIZE, Place
from hgpo.envs.webshop.shop import CLICK_ACTION, SEARCH_ACTION, Shop


def solve(shop: Shop, goal: Goal) -> tuple[str, ...] | None:
    """Commands that buy the wanted product; None if it is not found, or if the reward is not the full one."""
    found = (_way_to_product(shop, goal, words) for words in _queries(goal))
    way = min((way for way in found if way is not None), key=len, default=None)
    if way is None:
        return None
    commands = (
        *way,
        *(f"{CLICK_ACTION}[{value}]" for _, value in goal.goal_options),
        f"{CLICK_ACTION}[{BUY.lower()}]",
    )
    return commands if _wins(shop, goal, commands) else None


def _queries(goal: Goal) -> Iterator[str]:
    """Search words to try: the attributes with the kind of product, the instruction, the product's title."""
    yield f"{' '.join(goal.attributes)} {goal.query}"
    yield goal.instruction_text.partition(", and price lower than")[0]
    yield goal.name


def _way_to_product(shop: Shop, goal: Goal, words: str) -> tuple[str, ...] | None:
    """A search, clicks to the right page, and a click on the product; None if it is not found."""
    for page, first in enumerate(range(0, len(found := shop.index.search(words)), PAGE_SIZE)):
        asins = [shop.catalogue.products[number].asin for number in found[first : first + PAGE_SIZE]]
        if goal.asin in asins:
            turns = (f"{CLICK_ACTION}[{NEXT.lower()}]",) * page
            return f"{SEARCH_ACTION}[{words.lower()}]", *turns, f"{CLICK_ACTION}[{goal.asin.lower()}]"
    return None


def _wins(shop: Shop, goal: Goal, commands: tuple[str, ...]) -> bool:
    """Whether the commands end in a purchase with the full reward."""
    place = Place()
    for command in commands:
        place = shop.after(place, command) or place
    return place.bought and shop.reward(place, goal) == 1
