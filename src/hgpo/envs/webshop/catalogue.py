"""The products of a shop, read from WebShop's released files or given by the caller."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from sys import intern
from typing import Any

from hgpo.envs.webshop.data_files import read_list, read_object
from hgpo.envs.webshop.files import CatalogueFiles
from hgpo.errors import SettingError

LONGEST_ASIN = 10
NO_PRICE = 100.0
"""The price of a product for which the file has none."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the shop, as its pages show it."""

    asin: str
    """The product's identifier, in capitals."""
    title: str
    description: str
    bullet_points: tuple[str, ...]
    """The listed features."""
    category: str
    query: str
    """The search words by which it was found, in lower case."""
    product_category: str
    """Its path in the tree of categories, separated by "›"."""
    options: Mapping[str, tuple[str, ...]]
    """Values of each option in the file's order; names and values are in lower case."""
    price_tag: str
    """The price as pages show it: "$5.0", or "$5.0 to $9.5"."""
    price: float
    """The price; for a range, it is drawn from the range once for the catalogue."""
    attributes: tuple[str, ...]
    """Attributes that a goal may require."""
    instruction: str | None = None
    """The instruction to buy it; None if no goal asks for it."""
    instruction_attributes: tuple[str, ...] = ()
    """The attributes that the instruction names."""


@dataclass(frozen=True)
class Catalogue:
    """All products of a shop, in the order of their identifiers, by which the search breaks ties."""

    name: str
    """The description of the catalogue in results."""
    products: tuple[Product, ...]

    @cached_property
    def by_asin(self) -> dict[str, Product]:
        """The products by identifier."""
        return {product.asin: product for product in self.products}

    def with_prices(self, prices: Mapping[str, float]) -> Catalogue:
        """The same products with these prices for some of them."""
        products = (
            replace(product, price=prices.get(product.asin, product.price)) for product in self.products
        )
        return Catalogue(self.name, tuple(products))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The information about a product in the file of attributes."""

    attributes: tuple[str, ...] = ()
    instruction: str | None = None
    instruction_attributes: tuple[str, ...] = ()


def load_catalogue(files: CatalogueFiles, seed: int) -> Catalogue:
    """The products in WebShop's released files.

    Args:
        files: the files with products and attributes.
        seed: seed of the prices that are drawn from ranges.

    Raises:
        SettingError: if a file is broken or has an invalid record, or if the two files belong to different
            catalogues.
    """
    wanted = {asin: _wanted(asin, record) for asin, record in read_object(files.attributes)}
    products = read_products(read_list(files.products), wanted, seed)
    if not any(product.asin in wanted for product in products):
        raise SettingError(f"{files.attributes} describes none of the products in {files.products}")
    return Catalogue(files.products.name, products)


def read_products(records: Iterable[Any], wanted: Mapping[str, Wanted], seed: int) -> tuple[Product, ...]:
    """The products in records of the released format; those without a valid identifier are left out.

    Args:
        records: one record per product with its name, description, options, …
        wanted: further information about products, by identifier.
        seed: seed of the prices that are drawn from ranges.

    Raises:
        SettingError: if a record is invalid; the message names it.
    """
    rng = random.Random(seed)
    products: dict[str, Product] = {}
    for number, record in enumerate(records):
        asin = record.get("asin") if isinstance(record, dict) else None
        if not isinstance(asin, str):
            raise SettingError(f"product number {number} has no text 'asin': {str(record)[:80]}")
        if asin == "nan" or len(asin) > LONGEST_ASIN or asin in products:
            continue
        with _said_of(asin):
            products[asin] = _product(asin, record, wanted.get(asin, Wanted()), rng)
    return tuple(products[asin] for asin in sorted(products))


def _product(asin: str, record: Mapping[str, Any], wanted: Wanted, rng: random.Random) -> Product:
    features = record["small_description"]
    tag, price = _price(_text(record.get("pricing") or "", "pricing"), rng)
    return Product(
        asin=asin,
        title=_text(record["name"], "name"),
        description=_text(record["full_description"], "full_description"),
        bullet_points=_texts(features if isinstance(features, list) else [features], "small_description"),
        # These texts have few different values, so equal ones share memory.
        category=intern(_text(record["category"], "category")),
        query=intern(_text(record["query"], "query").lower().strip()),
        product_category=intern(_text(record["product_category"], "product_category")),
        options=_options(record.get("customization_options") or {}),
        price_tag=tag,
        price=price,
        attributes=wanted.attributes or ("DUMMY_ATTR",),
        instruction=wanted.instruction,
        instruction_attributes=wanted.instruction_attributes,
    )


def _wanted(asin: str, record: Any) -> Wanted:
    with _said_of(asin):
        if not isinstance(record, dict):
            raise ValueError(f"its record must be an object, not {str(record)[:80]}")
        instruction = record.get("instruction")
        return Wanted(
            _texts(record.get("attributes") or [], "attributes"),
            None if instruction is None else _text(instruction, "instruction"),
            _texts(record.get("instruction_attributes") or [], "instruction_attributes"),
        )


@contextmanager
def _said_of(asin: str) -> Iterator[None]:
    """Converts an error about a record into a SettingError that names the product."""
    try:
        yield
    except KeyError as error:
        raise SettingError(f"product {asin}: {error} is missing") from None
    except ValueError as error:
        raise SettingError(f"product {asin}: {error}") from None


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be a text, not {str(value)[:80]}")
    # JSON can contain lone surrogates, which could be neither printed nor saved.
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _texts(values: Any, name: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{name!r} must be a list of texts, not {str(values)[:80]}")
    return tuple(intern(_text(value, name)) for value in values)


def _price(text: str, rng: random.Random) -> tuple[str, float]:
    """The price as it is shown, and as a number."""
    numbers = [_number(part) for part in text.split("$")[1:3]]
    if not numbers:
        return f"${NO_PRICE}", NO_PRICE
    if len(numbers) == 1:
        return f"${numbers[0]}", numbers[0]
    return f"${numbers[0]} to ${numbers[1]}", rng.uniform(*numbers)


def _number(text: str) -> float:
    try:
        return float(re.sub(r"[^\d.]", "", text))
    except ValueError:
        raise ValueError(f"'pricing' must have a number after each $, not {text[:80]!r}") from None


def _options(customization: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(customization, dict):
        raise ValueError(f"'customization_options' must be an object, not {str(customization)[:80]}")
    return {
        intern(_text(name, "customization_options").lower()): _option_values(values, name)
        for name, values in customization.items()
        if values is not None
    }


def _option_values(values: Any, name: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"the values of its option {name!r} must be a list, not {str(values)[:80]}")
    return tuple(_option_value(value, name) for value in values)


def _option_value(value: Any, name: str) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("value"), str):
        raise ValueError(
            f"a value of its option {name!r} must be an object with a text 'value', not {str(value)[:80]}"
        )
    return intern(_text(value["value"], name).strip().replace("/", " | ").lower())
