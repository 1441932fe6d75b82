"""The tree agrees with docs/architecture.md: at most 12 flat modules, and imports go downward only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "hgpo"
LEVELS = (
    {"errors", "files", "keys", "columns", "rounding", "distributed", "random_streams"},
    {"steps", "registry"},
    {"groups", "near_states", "returns", "variance"},
    {"estimators", "envs", "policies", "rollout_files"},
    {"rollouts", "analysis"},
    {"agents", "gateway", "runs"},
    {"training"},
    {"report", "lab"},
    {"compare", "adapters", "view"},
    {"cli"},
)
"""Rooms and flat modules, from the ground up; what stands together on a level is listed in `WITHIN`."""
WITHIN = {
    ("columns", "keys"),
    ("rounding", "columns"),
    ("files", "errors"),
    ("lab", "report"),
}
"""Imports within a level: who imports whom."""


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The rooms whose modules a file imports, inside of functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == "hgpo" and len(parts) > 1:
                target = SOURCE / parts[1]
                if target.is_dir() or target.with_suffix(".py").exists():
                    yield parts[1]


def test_imports_go_downward_only():
    level = {name: number for number, names in enumerate(LEVELS) for name in names}
    upward = set()
    for path in SOURCE.rglob("*.py"):
        here = room(path)
        if here in ("__init__", "__main__"):
            continue
        for there in imported(path):
            if there != here and level[there] >= level[here] and (here, there) not in WITHIN:
                upward.add(f"{path.relative_to(SOURCE)} imports {there}")
    assert not upward


def test_at_most_twelve_modules_lie_flat():
    flat = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert len(flat) <= 12, flat


def test_tests_lie_in_folders_named_as_the_rooms():
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir()} | {"core", "docs", "benchmarks"}
    # Other people's programs are what these tests compare with.
    folders = {path.parent.name for path in (ROOT / "tests").rglob("test_*.py")} - {"reference"}
    assert folders <= rooms


def test_the_page_names_every_room_and_none_that_is_not_there():
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = page.partition("src/hgpo/")[2].partition("tests/ ")[0]
    named = set(re.findall(r"^ +([a-z_]+)/ ", tree, re.M))
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= named
    for name in named - rooms:
        assert (SOURCE / "envs" / name).is_dir(), name
    flat = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert flat <= set(re.findall(r"[a-z_]+", tree))
    for path in re.findall(r"`([a-z_]+/[a-z_/]+\.(?:py|md))`", page):
        assert (SOURCE / path).exists() or (SOURCE / "envs" / path).exists(), path
