"""`hgpo --version`: the versions that a bug report should state."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from hgpo import __version__

PACKAGES = ("numpy", "torch", "transformers", "verl", "vllm")
"""Packages whose versions affect the program's behaviour."""


def versions() -> str:
    """One line each for hgpo, Python with its platform, and the installed packages."""
    lines = [f"hgpo {__version__}", f"Python {platform.python_version()} ({platform.platform()})"]
    return "\n".join([*lines, *(f"{name} {_version(name)}" for name in PACKAGES)])


def _version(name: str) -> str:
    # Read from the installed files: importing torch takes seconds.
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
