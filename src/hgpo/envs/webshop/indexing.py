"""The search index of a catalogue: what of a product is searched, and the place on disk of large indexes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import track

from hgpo.envs.webshop.catalogue import Catalogue, Product, catalogue_files
from hgpo.envs.webshop.search import SearchIndex, build_index

CACHED_FROM = 10_000
"""The index of fewer products is made faster than it is looked up."""
VERSION = 1
"""Of what is indexed and how it is kept: indexes of other versions are not looked at."""


def indexed_text(product: Product) -> str:
    """What a product is found by: title, description, first feature, and its options in words."""
    options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product.options.items())
    parts = (product.title, product.description, *product.bullet_points[:1], options)
    return " ".join(parts).lower()


def index_catalogue(catalogue: Catalogue) -> SearchIndex:
    """The index of all products, by their places in the catalogue; progress is shown where it takes long."""
    products = track(
        catalogue.products,
        description="indexing products",
        console=Console(stderr=True),
        transient=True,
        disable=len(catalogue.products) < CACHED_FROM,
    )
    return build_index(map(indexed_text, products))


def cached_index(folder: Path, catalogue: Catalogue) -> SearchIndex:
    """The index of a catalogue from a folder's files; that of many products is kept in the user's cache.

    Of several processes that need one that is not there, one makes it and the others wait.
    """
    if len(catalogue.products) < CACHED_FROM:
        return index_catalogue(catalogue)
    stamp = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in catalogue_files(folder)]
    name = hashlib.sha256(repr((VERSION, len(catalogue.products), stamp)).encode()).hexdigest()[:16]
    place = user_cache_path("hgpo", ensure_exists=True) / "webshop" / name
    place.parent.mkdir(exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.exists():
            index_catalogue(catalogue).save(place)
    return SearchIndex.load(place)
