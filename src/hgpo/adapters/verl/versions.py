"""Which versions of verl the plugin is written for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from hgpo.errors import SettingError

SUPPORTED = ">=0.9.1,<0.10"
"""As in pyproject.toml; `check` compares every hook with what these versions have."""


def verl_version() -> str:
    """The installed version.

    Raises:
        SettingError: if verl is not installed, or not in a version that the plugin is written for.
    """
    try:
        installed = version("verl")
    except PackageNotFoundError:
        raise SettingError("verl is not installed: pip install 'hgpo[verl]'") from None
    # Comes with verl.
    from packaging.specifiers import SpecifierSet

    if not SpecifierSet(SUPPORTED).contains(installed, prereleases=True):
        raise SettingError(
            f"verl {installed} is installed, but this plugin is written for {SUPPORTED}: "
            "pip install 'hgpo[verl]'"
        )
    return installed
