"""Which files are a catalogue, and what is said of those that are not taken."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hgpo.envs.webshop.reading import COMPRESSIONS
from hgpo.errors import SettingError

PRODUCT_FILES, ATTRIBUTE_FILES = "items_shuffle*.json", "items_ins*.json"
HUMAN_GOALS = "items_human_ins.json"
_NAME = re.compile(r"items_(?:shuffle|ins(?:_v\d+)?)(?P<ending>.*)\.json")


@dataclass(frozen=True)
class CatalogueFiles:
    """The two files of a catalogue."""

    products: Path
    attributes: Path
    """What may be asked of the products, and instructions to buy them."""


def find_files(data: Path) -> CatalogueFiles:
    """The files of a folder's catalogue, or a given file of products and the attributes in the same folder.

    Of several catalogues in a folder the largest is taken: the whole one, items_shuffle.json, or else that
    with the highest number in its name. Of a file that is there plain and compressed, the plain one is read.
    The file of attributes is that whose name ends like the other's; without one, the largest.

    Raises:
        SettingError: if a file is missing.
    """
    try:
        return _find_files(data)
    except OSError as error:
        raise SettingError(f"{data} cannot be read: {error.strerror}") from None


def note(text: str) -> None:
    """Tell whoever runs the program, in one line, what they may not expect."""
    print(f"hgpo: {text}", file=sys.stderr)


def _find_files(data: Path) -> CatalogueFiles:
    named = None if data.is_dir() else _file_named(data)
    folder = data if named is None else named.parent
    if not folder.is_dir():
        raise SettingError(
            f"no folder {data}: --data (--env.data in training, or $WEBSHOP_DATA) names one with WebShop's "
            "two data files"
        )
    products = _candidates(folder, PRODUCT_FILES) if named is None else {_plain_name(named): named}
    attributes = _candidates(folder, ATTRIBUTE_FILES)
    name = _largest(products)
    alike = {other: path for other, path in attributes.items() if _ending(other) == _ending(name)}
    files = CatalogueFiles(products[name], attributes[_largest(alike or attributes)])
    if len(products) > 1:
        there = ", ".join(sorted(products))
        note(f"{folder} holds {there}: {name} is taken; --data {folder}/FILE takes another")
    if _file_named(folder / HUMAN_GOALS):
        note(f"{folder / HUMAN_GOALS} is not used: goals are those of {files.attributes.name}")
    return files


def _file_named(path: Path) -> Path | None:
    """The file of a name, plain or compressed; None if there is none."""
    paths = (path.with_name(path.name + compression) for compression in COMPRESSIONS)
    return next((path for path in paths if path.is_file()), None)


def _candidates(folder: Path, pattern: str) -> dict[str, Path]:
    """A folder's files by their names without compression; at least one."""
    names = {_plain_name(path) for suffix in COMPRESSIONS for path in folder.glob(pattern + suffix)}
    found = {name: path for name in names if (path := _file_named(folder / name))}
    if not found:
        raise SettingError(
            f"no file {pattern} in {folder}: expected WebShop's two, items_shuffle….json and "
            "items_ins….json, as its set-up script fetches them"
        )
    return found


def _plain_name(path: Path) -> str:
    return path.stem if path.suffix in COMPRESSIONS else path.name


def _largest(files: Mapping[str, Path]) -> str:
    """The name of the file with the most products, as far as names and sizes tell."""

    def size(name: str) -> tuple[float, int]:
        number = re.search(r"_(\d+)\.json$", name)
        return (int(number[1]) if number else math.inf), files[name].stat().st_size

    return max(sorted(files), key=size)


def _ending(name: str) -> str | None:
    """What tells a catalogue's files from those of others: of items_shuffle_1000.json, "_1000"."""
    match = _NAME.fullmatch(name)
    return match["ending"] if match else None
