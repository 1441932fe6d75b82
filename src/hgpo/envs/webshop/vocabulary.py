"""All texts that a shop can show."""

from __future__ import annotations

from collections.abc import Iterator

from hgpo.envs.webshop.environment import SEARCH_COMMAND
from hgpo.envs.webshop.pages import (
    BACK,
    BUY,
    NEXT,
    NO_RATING,
    PREVIOUS,
    SEARCH,
    SECTIONS,
    SEPARATOR,
    SHOP,
    THANKS,
)
from hgpo.envs.webshop.search import MOST_RESULTS
from hgpo.envs.webshop.shop import CLICK_ACTION, Shop

LABELS = (
    *(SHOP, THANKS, SEARCH, BACK, NEXT, PREVIOUS, BUY, *SECTIONS, NO_RATING, SEPARATOR),
    *("Page (Total results: )", "Price: ", f"{CLICK_ACTION}[]", SEARCH_COMMAND),
)


def shop_texts(shop: Shop) -> Iterator[str]:
    """Labels of pages and commands, numbers of pages and results, products, and goals."""
    for label in LABELS:
        yield label
        yield label.lower()
    yield " ".join(map(str, range(MOST_RESULTS + 1)))
    for product in shop.catalogue.products:
        yield f"{product.asin} {product.asin.lower()} {product.price_tag}"
        yield from (product.title, product.description, *product.bullet_points)
        for name, values in product.options.items():
            yield f"{name} {' '.join(values)}"
    for goal in shop.goals:
        yield goal.instruction_text
