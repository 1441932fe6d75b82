"""The shop's pages: what is written on them, what can be clicked, and where that leads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hgpo.envs.webshop.catalogue import Catalogue, Product

SEPARATOR = " [SEP] "
"""Stands between the texts of a page."""
PAGE_SIZE = 10
"""Results on a page."""
INSTRUCTION = "Instruction:"
SHOP, THANKS = "WebShop", "Thank you for shopping with us!"
SEARCH, BACK, PREVIOUS, NEXT, BUY = "Search", "Back to Search", "< Prev", "Next >", "Buy Now"
NO_RATING = "Rating: N.A."
"""The released shop shows no ratings, whatever its data say."""
SECTIONS = ("Description", "Features", "Reviews")
_LAYOUT = " \t\n\f\r"
"""The white space that HTML readers take for layout."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the shop someone stands; the place at its start by default."""

    found: tuple[int, ...] | None = None
    """What was found by the last search: products by their places in the catalogue, best first."""
    page: int = 1
    """The page of the results."""
    asin: str | None = None
    """The product that is looked at."""
    section: str | None = None
    """Which of the product's sections is read."""
    chosen: tuple[tuple[str, str], ...] = ()
    """Name and value of each option that was chosen."""
    bought: bool = False
    """Whether the product was bought: the end."""


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to see and to click."""

    texts: tuple[str, ...]
    """The texts between its tags, in order, some of which may be empty."""
    links: Mapping[str, Place]
    """Where each text that can be clicked leads: buttons and products lower-cased, then options' values."""
    has_search_bar: bool = False
    """Whether the page shows a box for words."""

    @property
    def observation(self) -> str:
        """The texts in one line, without the white space around them."""
        return SEPARATOR.join(text.strip() for text in self.texts if _is_seen(text))

    @property
    def clickables(self) -> tuple[str, ...]:
        """The texts that can be clicked."""
        return tuple(self.links)


def page_at(catalogue: Catalogue, place: Place, instruction: str | None = None) -> Page:
    """The page at a place, with the instruction on it that the shopper follows, if one is given."""
    if place.bought:
        return Page((THANKS,), {})
    told = () if instruction is None else (INSTRUCTION, instruction)
    if place.found is None:
        return Page((SHOP, *told, SEARCH), {SEARCH.lower(): place}, has_search_bar=True)
    head = (*told, BACK)
    if place.asin is None:
        return _results(catalogue, place, place.found, head)
    product = catalogue.by_asin[place.asin]
    if place.section is None:
        return _item(product, place, (*head, PREVIOUS))
    links = {BACK.lower(): Place(), PREVIOUS.lower(): replace(place, section=None)}
    return Page((*head, PREVIOUS, *_section(product, place.section)), links)


def _results(catalogue: Catalogue, place: Place, found: tuple[int, ...], head: tuple[str, ...]) -> Page:
    """A page of what was found; there is always a next one, however empty."""
    first = (place.page - 1) * PAGE_SIZE
    products = [catalogue.products[number] for number in found[first : first + PAGE_SIZE]]
    texts = [*head, f"Page {place.page} (Total results: {len(found)})"]
    links = {BACK.lower(): Place()}
    if place.page > 1:
        texts.append(PREVIOUS)
        links[PREVIOUS.lower()] = replace(place, page=place.page - 1)
    texts.append(NEXT)
    links[NEXT.lower()] = replace(place, page=place.page + 1)
    for product in products:
        texts += [product.asin, product.title, product.price_tag]
        links[product.asin.lower()] = replace(place, asin=product.asin)
    return Page(tuple(texts), links)


def _item(product: Product, place: Place, head: tuple[str, ...]) -> Page:
    """A product with its options, the chosen ones not marked."""
    texts = list(head)
    for name, values in product.options.items():
        texts += [name, *values]
    texts += [product.title, f"Price: {product.price_tag}", NO_RATING, *SECTIONS, BUY]
    buttons = {
        BACK.lower(): Place(),
        PREVIOUS.lower(): Place(place.found, place.page),
        **{section.lower(): replace(place, section=section) for section in SECTIONS},
        BUY.lower(): replace(place, bought=True),
    }
    links = dict(buttons)
    for name, values in product.options.items():
        for value in values:
            links[value] = _choose(place, name, value)
    # An option called like a button is that button.
    return Page(tuple(texts), {**links, **buttons})


def _choose(place: Place, name: str, value: str) -> Place:
    """The place with one option chosen, instead of what was chosen of it before."""
    return replace(place, chosen=tuple({**dict(place.chosen), name: value}.items()))


def _section(product: Product, section: str) -> tuple[str, ...]:
    """What a section tells: a space stands before each feature; nobody has written a review."""
    features = tuple(f" {feature}" for feature in product.bullet_points)
    return {"Description": (product.description,), "Features": features, "Reviews": ()}[section]


def _is_seen(text: str) -> bool:
    """Whether a text between tags is shown at all, be it as an empty one.

    The released shop reads its pages with Beautiful Soup. It finds no text where nothing stands between two
    tags; white space for layout becomes one space, or a line break if it has one; line breaks are left out.
    """
    return bool(text.strip(_LAYOUT)) or (text != "" and "\n" not in text)
