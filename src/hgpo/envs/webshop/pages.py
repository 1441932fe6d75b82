"""The shop's pages: their texts, the texts that can be clicked, and where each click leads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hgpo.envs.webshop.catalogue import Catalogue, Product

SEPARATOR = " [SEP] "
"""The separator between the texts of a page."""
PAGE_SIZE = 10
"""Number of results per page."""
INSTRUCTION = "Instruction:"
SHOP, THANKS = "WebShop", "Thank you for shopping with us!"
SEARCH, BACK, PREVIOUS, NEXT, BUY = "Search", "Back to Search", "< Prev", "Next >", "Buy Now"
NO_RATING = "Rating: N.A."
"""The text in place of a rating: the released shop never shows the ratings in its data."""
SECTIONS = ("Description", "Features", "Reviews")
_LAYOUT = " \t\n\f\r"
"""The white space that HTML parsers treat as layout."""


@dataclass(frozen=True, slots=True)
class Place:
    """The current place in the shop; by default its start page."""

    found: tuple[int, ...] | None = None
    """The results of the last search: the products' positions in the catalogue, best first."""
    page: int = 1
    """The page of the results."""
    asin: str | None = None
    """The product that is shown."""
    section: str | None = None
    """The section of the product that is shown."""
    chosen: tuple[tuple[str, str], ...] = ()
    """Name and value of each chosen option."""
    bought: bool = False
    """Whether the product has been bought, which ends the episode."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page's texts and links."""

    texts: tuple[str, ...]
    """The texts between its tags, in order; some may be empty."""
    links: Mapping[str, Place]
    """The place to which each clickable text leads: buttons and products (in lower case), then options."""
    has_search_bar: bool = False
    """Whether the page shows a search box."""

    @property
    def observation(self) -> str:
        """The texts in one line, without surrounding white space."""
        return SEPARATOR.join(text.strip() for text in self.texts if _is_seen(text))

    @property
    def clickables(self) -> tuple[str, ...]:
        """The texts that can be clicked."""
        return tuple(self.links)


def page_at(catalogue: Catalogue, place: Place, instruction: str | None = None) -> Page:
    """The page at a place; it shows the instruction, if one is given."""
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
    """A page of search results; every page has a next one, which may be empty."""
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
    """The page of a product with its options; chosen options are not marked."""
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
    # If an option's value has the text of a button, the click goes to the button.
    return Page(tuple(texts), {**links, **buttons})


def _choose(place: Place, name: str, value: str) -> Place:
    """The place with this value of an option chosen; it replaces an earlier choice of the option."""
    return replace(place, chosen=tuple({**dict(place.chosen), name: value}.items()))


def _section(product: Product, section: str) -> tuple[str, ...]:
    """The texts of a section; features begin with a space, and there are no reviews."""
    features = tuple(f" {feature}" for feature in product.bullet_points)
    return {"Description": (product.description,), "Features": features, "Reviews": ()}[section]


def _is_seen(text: str) -> bool:
    """Whether a text between tags appears among the page's texts, possibly as an empty one.

    The released shop reads its pages with Beautiful Soup. Two tags with nothing between them give no text.
    Layout white space becomes one space, or a line break if it contains one; line breaks are left out.
    """
    return bool(text.strip(_LAYOUT)) or (text != "" and "\n" not in text)
