"""The reward of a purchase: how well it matches the goal (arXiv 2207.01206, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from thefuzz.fuzz import token_set_ratio

from hgpo.envs.webshop.catalogue import Product
from hgpo.envs.webshop.goals import Goal
from hgpo.envs.webshop.nouns import Nouns

SIMILAR = 85
"""Texts count as equal for the reward if their token set ratio is above this."""
COLOURS = tuple(
    "alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown "
    "burgundy camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac "
    "copper coral cranberry cream crystal dark denim eggplant elephant espresso fuchsia gold granite "
    "grape graphite grass gray green grey heather indigo ivory ivy khaki lavender lemon leopard light "
    "lilac lime magenta maroon mauve merlot midnight mint mocha multicolor mushroom mustard natural navy "
    "nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand sapphire seashell "
    "silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet walnut "
    "wheat white wine yellow".split()
)
"""The words for colours, in the order in which they are searched for."""


def purchase_reward(product: Product, chosen: Mapping[str, str], goal: Goal, nouns: Nouns) -> float:
    """The reward of buying a product with some options, from 0 to 1; 1 is success.

        r = r_type (|attributes matched| + |options matched| + [price ≤ bound])
            / (|attributes| + |options| + 1)

    Args:
        product: the product that was bought.
        chosen: the chosen value of each option.
        goal: the goal.
        nouns: finds the nouns of a title.
    """
    matched = sum(_has_attribute(product, attribute) for attribute in goal.attributes)
    values = [_colour_in(value) for value in chosen.values()]
    matched += sum(
        any(_similar(value, wanted) for value in values) for wanted in map(_pair, goal.goal_options)
    )
    matched += product.price <= goal.price_upper
    share = matched / (len(goal.attributes) + len(goal.goal_options) + 1)
    return share * type_reward(product, goal, nouns)


def type_reward(product: Product, goal: Goal, nouns: Nouns) -> float:
    """How well the kind of product matches the goal: 1, 0.5, 0.1 or 0."""
    wanted = nouns(goal.name)
    # A noun that is twice in the wanted title counts twice in the denominator, as in the released shop.
    common = len(set(nouns(product.title)) & set(wanted)) / len(wanted) if wanted else 0.2
    if common == 0:
        return 0.0
    if common < 0.1:
        return 0.1
    alike = (
        product.query == goal.query
        or len(_parts(product.product_category) & _parts(goal.product_category)) >= 2
        or common > 0.2
    )
    return 1.0 if alike else 0.5


def _parts(category: str) -> set[str]:
    return {part.strip() for part in category.split("›")}


def _has_attribute(product: Product, attribute: str) -> bool:
    return (
        any(_similar(own, attribute) for own in product.attributes)
        or attribute in product.title.lower()
        or attribute in " ".join(product.bullet_points).lower()
        or attribute in product.description.lower()
    )


@lru_cache(maxsize=100_000)
def _similar(one: str, other: str) -> bool:
    return token_set_ratio(one, other) > SIMILAR


def _colour_in(value: str) -> str:
    """The first colour word in a chosen value; the value itself if there is none."""
    return next((colour for colour in COLOURS if colour in value), value)


def _pair(wanted: tuple[str, str]) -> str:
    """Name and value of a wanted option as one text, or the colour word if one of the two is a colour.

    The released shop compares the pair instead of the value, so a name can also match.
    """
    return next((colour for colour in COLOURS if colour in wanted), str(wanted))
