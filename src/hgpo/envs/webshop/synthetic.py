"""A synthetic catalogue for machines without WebShop's data; all other code of the shop is the same."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hgpo.envs.webshop.catalogue import Catalogue, Product


@dataclass(frozen=True)
class Department:
    """A category of products."""

    things: tuple[str, ...]
    """The kinds of products, as the words by which they are found."""
    qualities: tuple[str, ...]
    """Attributes that a goal may require."""
    options: Mapping[str, tuple[str, ...]]
    """Values of each option."""


COLOURS = ("black", "white", "red", "blue")
DEPARTMENTS: dict[str, Department] = {
    "kitchen": Department(
        ("kettle", "pan", "knife", "bowl", "teapot", "grater"),
        ("insulated", "enamelled", "stackable", "nonstick", "handmade", "unbreakable"),
        {"color": COLOURS},
    ),
    "fashion": Department(
        ("jacket", "sweater", "hat", "shoes", "belt", "dress"),
        ("waterproof", "washable", "padded", "knitted", "stretchy", "embroidered"),
        {"color": COLOURS, "size": ("small", "medium", "large")},
    ),
    "electronics": Department(
        ("lamp", "charger", "speaker", "camera", "clock", "headphones"),
        ("wireless", "dimmable", "rechargeable", "portable", "shockproof", "programmable"),
        {"style": ("basic", "plus", "deluxe", "mini")},
    ),
    "garden": Department(
        ("planter", "chair", "birdhouse", "sprinkler", "table", "hose"),
        ("foldable", "rustproof", "frostproof", "carved", "adjustable", "lightweight"),
        {"material": ("wood", "metal", "plastic", "bamboo")},
    ),
    "beauty": Department(
        ("cream", "hairbrush", "mask", "soap", "balm", "polish"),
        ("vegan", "unscented", "organic", "soothing", "moisturizing", "refillable"),
        {"scent": ("lavender", "lemon", "mint", "vanilla")},
    ),
}
BRANDS = ("norvik", "halden", "tarrow", "quillon", "bexley", "morava", "zelander", "pimlico")
QUALITIES_OF_ONE = 3
INSTRUCTED = 2


def make_catalogue(products: int, seed: int) -> Catalogue:
    """A synthetic catalogue in which every product has an instruction; the seed determines everything.

    Args:
        products: number of products.
        seed: seed of everything that is drawn.
    """
    rng = random.Random(f"webshop {seed}")
    width = max(4, len(str(products)))
    made = [_product(f"B{number:0{width}}", rng) for number in range(1, products + 1)]
    return Catalogue(f"synthetic shop, seed {seed}", tuple(made))


def _product(asin: str, rng: random.Random) -> Product:
    category = rng.choice(list(DEPARTMENTS))
    department = DEPARTMENTS[category]
    thing = rng.choice(department.things)
    qualities = rng.sample(department.qualities, QUALITIES_OF_ONE)
    brand = rng.choice(BRANDS)
    price = float(rng.randrange(5, 100))
    wanted = sorted(rng.sample(qualities, INSTRUCTED))
    return Product(
        asin=asin,
        title=f"{brand} {' '.join(qualities[:INSTRUCTED])} {thing}",
        description=f"A {thing} by {brand}: {_listed(qualities)}.",
        bullet_points=tuple(qualities),
        category=category,
        query=thing,
        product_category=f"{category} › {thing}",
        options=department.options,
        price_tag=f"${price}",
        price=price,
        attributes=tuple(qualities),
        instruction=f"Find me a {thing}, {_listed(wanted)},",
        instruction_attributes=tuple(wanted),
    )


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(texts)
