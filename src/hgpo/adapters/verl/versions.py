"""The versions of verl that the plugin supports."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from hgpo.errors import SettingError, how_to_install

SUPPORTED = ">=0.9.1,<0.10"
"""The same as in pyproject.toml; `check` compares every hook with these versions."""


def verl_version() -> str:
    """The installed version.

    Raises:
        SettingError: if verl is not installed, or its version is not supported.
    """
    try:
        installed = version("verl")
    except PackageNotFoundError:
        raise SettingError(f"verl is not installed: {how_to_install('verl')}") from None
    # This package is installed together with verl.
    from packaging.specifiers import SpecifierSet

    if not SpecifierSet(SUPPORTED).contains(installed, prereleases=True):
        raise SettingError(
            f"verl {installed} is installed, but this plugin supports {SUPPORTED}: {how_to_install('verl')}"
        )
    return installed
