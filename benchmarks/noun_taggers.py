"""How far the two noun taggers of WebShop's reward agree on what sort of thing a product is.

    python benchmarks/noun_taggers.py [--data DIR] [--draws 4000]

Each draw is a goal and two products: one of the whole catalogue, and one of those that it lists under the
same query as the goal's. The reward puts a product into one of four classes, from the wrong sort of thing to
the right one. Needs hgpo[spacy].
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict

from hgpo.envs import WebshopSuite
from hgpo.envs.webshop.nouns import open_tagger
from hgpo.envs.webshop.reward import type_reward


def main() -> None:
    """TaskReference, compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", help="folder of WebShop's files; by default $WEBSHOP_DATA, else a synthetic shop"
    )
    parser.add_argument("--draws", type=int, default=4000)
    options = parser.parse_args()
    shop = WebshopSuite(data=options.data, tagger="rule").shop
    (_, spacy), (_, rule) = open_tagger("spacy"), open_tagger("rule")
    products, listed = shop.catalogue.products, defaultdict(list)
    for product in products:
        listed[product.query].append(product)
    rng = random.Random(0)
    agreed = {"a product of the catalogue": 0, "one under the goal's query": 0}
    for _ in range(options.draws):
        goal = shop.goals[rng.randrange(len(shop.goals))]
        for kind, product in zip(agreed, map(rng.choice, (products, listed[goal.query])), strict=True):
            agreed[kind] += type_reward(product, goal, spacy) == type_reward(product, goal, rule)
    for kind, count in agreed.items():
        print(f"{kind}: {count / options.draws:.1%} of {options.draws:,} in the same class")


if __name__ == "__main__":
    main()
