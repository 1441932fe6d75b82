"""Finds the files of a catalogue, and reports files that are not used."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hgpo.envs.webshop.data_files import COMPRESSIONS
from hgpo.errors import SettingError

PRODUCT_FILES, ATTRIBUTE_FILES = "items_shuffle*.json", "items_ins*.json"
HUMAN_GOALS = "items_human_ins.json"
_NAME = re.compile(r"items_(?:shuffle|ins(?:_v\d+)?)(?P<ending>.*)\.json")


@dataclass(frozen=True)
class CatalogueFiles:
    """The two files of a catalogue."""

    products: Path
    attributes: Path
    """The products' attributes that goals may require, and instructions to buy them."""


def find_files(data: Path) -> CatalogueFiles:
    """The files of a folder's catalogue, or a given file of products and the attributes in the same folder.

    If a folder has several catalogues, the largest is used: the full one, items_shuffle.json, or otherwise
    the one with the highest number in its name. If a file exists both plain and compressed, the plain one is
    read. The file of attributes is the one whose name ends like that of the products, or else the largest.

    Raises:
        SettingError: if a file is missing.
    """
    try:
        return _find_files(data)
    except OSError as error:
        raise SettingError(f"{data} cannot be read: {error.strerror}") from None


def note(text: str) -> None:
    """Print one line for the user about something unexpected."""
    print(f"hgpo: {text}", file=sys.stderr)


def _find_files(data: Path) -> CatalogueFiles:
    named = None if data.is_dir() else _file_named(data)
    folder = data if named is None else named.parent
    if not folder.is_dir():
        raise SettingError(
            f"no folder {data}: --data (--env.data in training, or $WEBSHOP_DATA) must be a folder with "
            "WebShop's two data files"
        )
    products = _candidates(folder, PRODUCT_FILES) if named is None else {_plain_name(named): named}
    attributes = _candidates(folder, ATTRIBUTE_FILES)
    name = _largest(products)
    alike = {other: path for other, path in attributes.items() if _ending(other) == _ending(name)}
    files = CatalogueFiles(products[name], attributes[_largest(alike or attributes)])
    if len(products) > 1:
        there = ", ".join(sorted(products))
        note(f"{folder} holds {there}: {name} is used; --data {folder}/FILE uses another")
    if _file_named(folder / HUMAN_GOALS):
        note(f"{folder / HUMAN_GOALS} is not used: the goals come from {files.attributes.name}")
    return files


def _file_named(path: Path) -> Path | None:
    """The file with this name, plain or compressed; None if there is none."""
    paths = (path.with_name(path.name + compression) for compression in COMPRESSIONS)
    return next((path for path in paths if path.is_file()), None)


def _candidates(folder: Path, pattern: str) -> dict[str, Path]:
    """A folder's files, at least one, by their names without the suffix of a compression."""
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
    """The name of the file with the most products, judged by names and sizes."""

    def size(name: str) -> tuple[float, int]:
        number = re.search(r"_(\d+)\.json$", name)
        return (int(number[1]) if number else math.inf), files[name].stat().st_size

    return max(sorted(files), key=size)


def _ending(name: str) -> str | None:
    """The part of a name that identifies the catalogue: "_1000" for items_shuffle_1000.json."""
    match = _NAME.fullmatch(name)
    return match["ending"] if match else None
