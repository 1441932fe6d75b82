"""What shoppers want: goals made from the products that have an instruction."""

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
    """A thing that is wanted, in words and in the facts by which a purchase is judged."""

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

    A goal is made when it is asked for: the full catalogue has more of them than memory.
    """

    def __init__(self, catalogue: Catalogue, seed: int) -> None:
        """Count the goals.

        Args:
            catalogue: the products.
            seed: of the bounds of prices and of the order; the same for all who share the goals.
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
    """The larger of two of the next four bounds above the price; none where fewer than two are left."""
    above = PRICES[np.searchsorted(PRICES, product.price, side="right") :][:4]
    return float(rng.choice(above, 2, replace=False).max()) if len(above) >= 2 else NO_BOUND


def _goal(product: Product, combination: int, bound: float) -> Goal:
    """The goal of a product's n-th combination of options; the last option's value changes first."""
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
    """What is said to someone who is to buy a product that has an instruction.

    Args:
        product: what is wanted.
        options: name and value of each option that is wanted.
        bound: the price that it may not reach; NO_BOUND is not told.
    """
    wanted = ", and ".join(f"{name}: {value}" for name, value in options)
    assert product.instruction is not None
    return (
        product.instruction
        + (f" with {wanted}" if wanted else "")
        + (f", and price lower than {bound:.2f} dollars" if bound != NO_BOUND else "")
    )
