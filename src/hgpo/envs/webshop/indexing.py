"""The search index of a catalogue: what of a product is searched, and the place on disk of large indexes."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import track

from hgpo.envs.webshop.catalogue import Catalogue, Product
from hgpo.envs.webshop.files import CatalogueFiles, note
from hgpo.envs.webshop.search import SearchIndex, build_index
from hgpo.envs.webshop.word_rules import WordRule

CACHED_FROM = 10_000
"""The index of fewer products is made faster than it is looked up."""
VERSION = 2
"""Of what is indexed and how it is kept: indexes of other versions are not looked at."""


def indexed_text(product: Product) -> str:
    """What a product is found by: title, description, first feature, and its options in words."""
    options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product.options.items())
    parts = (product.title, product.description, *product.bullet_points[:1], options)
    return " ".join(parts).lower()


def index_catalogue(catalogue: Catalogue, rule: WordRule) -> SearchIndex:
    """The index of all products, by their places in the catalogue; progress is shown where it takes long."""
    products = track(
        catalogue.products,
        description="indexing products",
        console=Console(stderr=True),
        transient=True,
        disable=len(catalogue.products) < CACHED_FROM,
    )
    return build_index(map(indexed_text, products), rule)


def cached_index(files: CatalogueFiles, catalogue: Catalogue, rule: WordRule) -> SearchIndex:
    """The index of a catalogue from files; that of many products is kept in the user's cache.

    Of several processes that need one that is not there, one makes it and the others wait. A damaged one is
    made again; one that cannot be kept stays in memory, which is said.
    """
    if len(catalogue.products) < CACHED_FROM:
        return index_catalogue(catalogue, rule)
    made = None
    try:
        place = _place(files, len(catalogue.products), rule)
        kept = _kept(place, rule)
        if kept is None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with _lock(place):
                kept = _kept(place, rule)
                if kept is None:
                    if place.exists():
                        note(f"the search index in {place} is damaged and made again")
                    made = index_catalogue(catalogue, rule)
                    made.save(place)
                    # What is mapped from the disk takes no memory of its own.
                    kept = _kept(place, rule)
        if kept is not None:
            return kept
    except OSError as error:
        # Where a disk is full numpy only counts bytes.
        reason = str(error) if error.errno else f"the disk may be full: {error}"
        note(
            f"the search index cannot be kept in the user's cache ({reason}); it stays in memory and is made "
            "again by the next process. XDG_CACHE_HOME names another folder for it"
        )
    return made or index_catalogue(catalogue, rule)


def _place(files: CatalogueFiles, products: int, rule: WordRule) -> Path:
    """Where the index of a catalogue is kept; the name says of what it is."""
    try:
        cache = user_cache_path("hgpo")
    except RuntimeError:
        cache = Path("~")
    # Without a home folder, versions of platformdirs either raise or leave the ~ in place.
    if not cache.is_absolute():
        raise FileNotFoundError(errno.ENOENT, "no home folder")
    stamp = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in (files.products, files.attributes)
    ]
    name = hashlib.sha256(repr((VERSION, rule, products, stamp)).encode()).hexdigest()[:16]
    return cache / "webshop" / name


def _kept(place: Path, rule: WordRule) -> SearchIndex | None:
    """The index that is kept there; None if there is none, or if it is damaged."""
    try:
        return SearchIndex.load(place, rule)
    except (OSError, ValueError):
        return None


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    """Keeps other processes from making the same index; to wait for one that does is said."""
    lock = FileLock(place.with_suffix(".lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        note(f"waiting for the process that makes the search index in {place}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
