"""The figures of the documents beside what their commands print today.

    pytest -m slow tests/docs -k figures

runs every documented command that takes less than a minute and says which figures differ, and the right value of
each. What a command measures in seconds or bytes of memory depends on the machine and is not compared.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
DOCUMENTS = {"README": ROOT / "README.md"} | {path.stem: path for path in (ROOT / "docs").glob("*.md")}
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Figures:
    """Some figures of a document, and the command that makes them."""

    document: str
    command: str
    """As the document has it, to be run from the repository's root."""
    documented: str
    """A pattern of the lines or words that hold the figures; all numbers of its matches, or of the groups in
    them, are compared."""
    printed: str
    """The same of what the command prints."""
    file: str | None = None
    """The file in which the command leaves the figures, where it does not print them."""
    needs: tuple[str, ...] = ()
    """Variables that have to name what the project does not bring along, and paths in the root."""


FIGURES = [
    Figures(
        "results",
        f"hgpo compare --resume docs/results/{folder} --report-only",
        documented,
        r"^\| [\w-]+ \| (valid.*k) \| \d+ \|$",
        file=f"docs/results/{folder}/results.md",
    )
    for folder, documented in (("household", r"^\| \w+ \| `valid.*$"),)
]


def numbers(text: str, pattern: str) -> list[str]:
    """The numbers of all matches of a pattern, without the commas of thousands."""
    found = []
    for match in re.finditer(pattern, text.replace("−", "-"), re.MULTILINE):
        for part in match.groups() or (match[0],):
            found += [number.replace(",", "") for number in NUMBER.findall(part or "")]
    return found
