"""The versions of other training stacks that the adapters support."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from hgpo.errors import SettingError, how_to_install

SUPPORTED = {"verl": ">=0.9.1,<0.10", "trl": ">=1.0,<2", "tinker": ">=0.38,<1"}
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
