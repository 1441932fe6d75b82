"""The versions of other training stacks that the adapters support."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hgpo.errors import SettingError, how_to_install

SUPPORTED = {
    "verl": ">=0.9.1,<0.10",
    "trl": ">=1.0,<2",
    "trinity-rft": ">=0.6,<0.7",
    "skyrl": ">=0.4,<0.5",
    "tinker": ">=0.38,<1",
}
"""For each package the same versions as in pyproject.toml; `hgpo check` compares every hook with them."""


def supported_version(package: str) -> str:
    """The installed version of a training stack.

    Raises:
        SettingError: if it is not installed, or its version is not supported.
    """
    try:
        installed = version(package)
    except PackageNotFoundError:
        raise SettingError(f"{package} is not installed: {how_to_install(package)}") from None
    # Every training stack brings this package.
    from packaging.specifiers import SpecifierSet

    if not SpecifierSet(SUPPORTED[package]).contains(installed, prereleases=True):
        raise SettingError(
            f"{package} {installed} is installed, but hgpo supports {SUPPORTED[package]}: "
            f"{how_to_install(package)}"
        )
    return installed


def names_on_first_use(module: str, package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` that imports its public names on first use, after a check of the version.

    Training stacks take seconds to import, and other versions of them may fail to import.

    Args:
        module: the module's `__name__`.
        package: the stack's package in `SUPPORTED`.
        places: for each public name the submodule that has it.
    """

    def found(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module} has no attribute {name!r}")
        supported_version(package)
        return getattr(import_module(f"{module}.{places[name]}"), name)

    return found
