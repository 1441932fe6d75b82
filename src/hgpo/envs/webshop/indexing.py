"""The search index of a catalogue: which texts of a product are searched, and where an index is kept."""

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
"""Number of products from which an index is kept on disk; smaller ones are built faster than read."""
VERSION = 2
"""Version of the indexed texts and the file format; indexes of other versions are ignored."""


def indexed_text(product: Product) -> str:
    """The text by which a product is found: title, description, first feature, and its options in words."""
    options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product.options.items())
    parts = (product.title, product.description, *product.bullet_points[:1], options)
    return " ".join(parts).lower()


def index_catalogue(catalogue: Catalogue, rule: WordRule) -> SearchIndex:
    """The index of all products, by their positions in the catalogue; shows progress if it takes long."""
    console = Console(stderr=True)
    products = track(
        catalogue.products,
        description="indexing products",
        console=console,
        transient=True,
        disable=len(catalogue.products) < CACHED_FROM or not console.is_terminal,
    )
    return build_index(map(indexed_text, products), rule)


def cached_index(files: CatalogueFiles, catalogue: Catalogue, rule: WordRule) -> SearchIndex:
    """The index of a catalogue from files; large indexes are kept in the user's cache.

    If several processes need an index that is missing, one of them builds it and the others wait. A damaged
    index is built again. If an index cannot be kept, it stays in memory and a line reports this.
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
                        note(f"the search index in {place} is damaged and is built again")
                    made = index_catalogue(catalogue, rule)
                    made.save(place)
                    # Arrays that are mapped from the disk take no memory of this process.
                    kept = _kept(place, rule)
        if kept is not None:
            return kept
    except OSError as error:
        # If the disk is full, numpy's error only has a number of bytes.
        reason = str(error) if error.errno else f"the disk may be full: {error}"
        note(
            f"the search index cannot be kept in the user's cache ({reason}); it stays in memory and is "
            "built again by the next process. Set XDG_CACHE_HOME to use another folder"
        )
    return made or index_catalogue(catalogue, rule)


def _place(files: CatalogueFiles, products: int, rule: WordRule) -> Path:
    """The folder of a catalogue's index; its name depends on everything that the index depends on."""
    try:
        cache = user_cache_path("hgpo")
    except RuntimeError:
        cache = Path("~")
    # Without a home folder, platformdirs raises an error or, in other versions, leaves the ~ in place.
    if not cache.is_absolute():
        raise FileNotFoundError(errno.ENOENT, "no home folder")
    stamp = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in (files.products, files.attributes)
    ]
    name = hashlib.sha256(repr((VERSION, rule, products, stamp)).encode()).hexdigest()[:16]
    return cache / "webshop" / name


def _kept(place: Path, rule: WordRule) -> SearchIndex | None:
    """The index in this folder; None if there is none, or if it is damaged."""
    try:
        return SearchIndex.load(place, rule)
    except (OSError, ValueError):
        return None


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    """Keep other processes from building the same index; a line reports if this process has to wait."""
    lock = FileLock(place.with_suffix(".lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        note(f"waiting for the process that builds the search index in {place}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
