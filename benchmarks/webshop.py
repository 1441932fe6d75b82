"""Speed and memory of the shop: steps a second over mixed trips, time of a search, size of a catalogue.

    python benchmarks/webshop.py [--data DIR] [--tagger rule|spacy] [--products N]

Half of the trips are the expert's, half are random. Without --data the shop is synthetic; with --products it
is written in the released files' form first and read from there, as a large catalogue is. One core.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hgpo.envs import WebshopSuite
from hgpo.envs.commands import filled_by_chance
from hgpo.envs.webshop.catalogue import Product
from hgpo.envs.webshop.synthetic import make_catalogue

STEPS = 20_000
SEARCHES = 300
ROUNDS = 3
VOCABULARY = 500_000


def resident_megabytes() -> float:
    """What the process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def released_record(product: Product) -> tuple[dict[str, Any], dict[str, Any]]:
    """A product as WebShop's two files have it: the record of the first, and what the second says of it."""
    options = {name: [{"value": value} for value in values] for name, values in product.options.items()}
    record = {
        "asin": product.asin,
        "name": product.title,
        "full_description": product.description,
        "small_description": list(product.bullet_points),
        "category": product.category,
        "query": product.query,
        "product_category": product.product_category,
        "pricing": product.price_tag,
        "customization_options": options,
    }
    wanted = {
        "attributes": list(product.attributes),
        "instruction": product.instruction,
        "instruction_attributes": list(product.instruction_attributes),
    }
    return record, wanted


def write_released_files(products: int, folder: Path) -> None:
    """A synthetic catalogue in the form of WebShop's files, with as much text a product as those have.

    WebShop's 1,000 products take 3.7 KB each in memory and have 108 indexed words, 68 of them distinct.
    """
    rng = np.random.default_rng(0)

    def words(count: int) -> str:
        ranks = np.minimum(rng.zipf(1.2, count), VOCABULARY)
        return " ".join(f"w{rank:x}" for rank in ranks)

    with (folder / "items_shuffle.json").open("w") as items, (folder / "items_ins_v2.json").open("w") as told:
        for number, product in enumerate(make_catalogue(products, 0).products):
            record, wanted = released_record(product)
            record["full_description"] += f" {words(85)}"
            record["small_description"] += [words(80) for _ in range(6)]
            items.write(("," if number else "[") + json.dumps(record))
            told.write(("," if number else "{") + f"{json.dumps(product.asin)}: {json.dumps(wanted)}")
        items.write("]")
        told.write("}")


def steps_per_second(suite: WebshopSuite, rng: random.Random) -> float:
    """Mixed trips of training goals, the admissible commands of every page included."""
    tasks = suite.tasks("train", 500, seed=rng.randrange(10**6))
    walkthroughs = [suite.walkthrough(task) for task in tasks]
    environment = suite.make()
    steps, started = 0, time.perf_counter()
    while steps < STEPS:
        number = rng.randrange(len(tasks))
        task, planned = tasks[number], list((rng.random() < 0.5 and walkthroughs[number]) or ())
        _, info = environment.reset(task)
        over = False
        while not over:
            command = planned.pop(0) if planned else rng.choice(info.admissible_commands)
            command = filled_by_chance(command, task.instruction, rng.random)
            _, _, terminated, truncated, info = environment.step(command)
            over = terminated or truncated
            steps += 1
    return steps / (time.perf_counter() - started)


def milliseconds_a_search(suite: WebshopSuite, rng: random.Random) -> float:
    """Median over searches with all words of a goal's instruction."""
    seconds = []
    for task in suite.tasks("train", SEARCHES, seed=rng.randrange(10**6)):
        started = time.perf_counter()
        suite.shop.index.search(task.instruction)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data")
    parser.add_argument("--tagger", default="rule")
    parser.add_argument("--products", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data
        if arguments.products is not None:
            data = folder
            write_released_files(arguments.products, Path(folder))
        suite = WebshopSuite(data=data, tagger=arguments.tagger)
        WebshopSuite(data="synthetic", products=1, tagger="rule").shop  # what the code itself takes  # noqa: B018
        before, started = resident_megabytes(), time.perf_counter()
        print(suite.description)
        print(
            f"opened in {time.perf_counter() - started:.1f} s, {resident_megabytes() - before:.0f} MB; "
            f"the process {resident_megabytes():.0f} MB, at most "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB"
        )
        started = time.perf_counter()
        rates = [steps_per_second(suite, random.Random(number)) for number in range(ROUNDS)]
        print(
            f"{statistics.median(rates):,.0f} steps a second (median of {ROUNDS} rounds of {STEPS:,} steps)"
        )
        searches = [milliseconds_a_search(suite, random.Random(number)) for number in range(ROUNDS)]
        print(f"{statistics.median(searches):.2f} ms per search")
        print(f"the process {resident_megabytes():.0f} MB")


if __name__ == "__main__":
    main()
