"""Describes what a random shopper happened to buy, in the words of instructions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hgpo.envs.episode import Transition
from hgpo.envs.webshop.goals import NO_BOUND, PRICES, instruction
from hgpo.envs.webshop.pages import Place
from hgpo.envs.webshop.shop import Shop


def purchases(shop: Shop, steps: Sequence[Transition[Any]]) -> Iterator[tuple[int, str]]:
    """Each purchase: the number of steps after which it happened, and an instruction that asks for it.

    The instruction asks for the product with the chosen options, at less than the next round price. Products
    without an instruction are left out.
    """
    place = Place()
    for number, step in enumerate(steps, 1):
        place = shop.after(place, step.command) or place
        product = shop.catalogue.by_asin[place.asin] if place.bought and place.asin else None
        if product is not None and product.instruction is not None:
            bound = float(min((price for price in PRICES if price > product.price), default=NO_BOUND))
            yield number, instruction(product, sorted(place.chosen), bound)
