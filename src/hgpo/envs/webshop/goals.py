"""Shopping goals, made from the products that have an instruction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from hgpo.envs.webshop.catalogue import Catalogue, Product

PRICES = np.arange(10, 1000, 10)
"""Upper bounds that a goal may have."""
NO_BOUND = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Goal:
    """A wanted product: the instruction, and the facts from which the reward of a purchase is computed."""

    asin: str
    category: str
    query: str
    name: str
    product_category: str
    instruction_text: str
    attributes: tuple[str, ...]
    price_upper: float
    goal_options: tuple[tuple[str, str], ...]
    """Name and wanted value of each option, in the order of the names."""


class Goals(Sequence[Goal]):
    """All goals of a catalogue, one for each way to choose a product's options, shuffled.

    A goal is created when it is requested, because all goals of the full catalogue do not fit into memory.
    """

    def __init__(self, catalogue: Catalogue, seed: int) -> None:
        """Count the goals.

        Args:
            catalogue: the products.
            seed: seed of the price bounds and of the order; the same seed gives the same goals.
        """
        rng = np.random.default_rng(seed)
        self._products = [product for product in catalogue.products if product.instruction is not None]
        counts = [math.prod(map(len, product.options.values())) for product in self._products]
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._bounds = [_price_bound(product, rng) for product in self._products]
        self._order = rng.permutation(int(self._starts[-1]))

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Goal: ...

    @overload
    def __getitem__(self, index: slice) -> list[Goal]: ...

    def __getitem__(self, index: int | slice) -> Goal | list[Goal]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = int(self._order[index])
        place = int(np.searchsorted(self._starts, number, side="right")) - 1
        product = self._products[place]
        return _goal(product, number - int(self._starts[place]), self._bounds[place])


def _price_bound(product: Product, rng: np.random.Generator) -> float:
    """The larger of two bounds drawn from the next four above the price; NO_BOUND if fewer than two exist."""
    above = PRICES[np.searchsorted(PRICES, product.price, side="right") :][:4]
    return float(rng.choice(above, 2, replace=False).max()) if len(above) >= 2 else NO_BOUND


def _goal(product: Product, combination: int, bound: float) -> Goal:
    """The goal for a product's n-th combination of options; the last option varies fastest."""
    options: list[tuple[str, str]] = []
    for name in sorted(product.options, reverse=True):
        combination, value = divmod(combination, len(product.options[name]))
        options.insert(0, (name, product.options[name][value]))
    return Goal(
        asin=product.asin,
        category=product.category,
        query=product.query,
        name=product.title,
        product_category=product.product_category,
        instruction_text=instruction(product, options, bound),
        attributes=product.instruction_attributes,
        price_upper=bound,
        goal_options=tuple(options),
    )


def instruction(product: Product, options: Sequence[tuple[str, str]], bound: float) -> str:
    """The text of an instruction to buy a product.

    Args:
        product: the wanted product, which has an instruction.
        options: name and value of each wanted option.
        bound: the price must be below this; NO_BOUND is not mentioned.
    """
    wanted = ", and ".join(f"{name}: {value}" for name, value in options)
    assert product.instruction is not None
    return (
        product.instruction
        + (f" with {wanted}" if wanted else "")
        + (f", and price lower than {bound:.2f} dollars" if bound != NO_BOUND else "")
    )
