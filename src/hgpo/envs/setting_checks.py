"""Checks of a suite's settings, with messages that name the option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hgpo.errors import SettingError


def require_range(suite: Any, setting: str, lowest: int, highest: int | None = None) -> None:
    """Check the range of a suite's setting; None, where the setting can be None, is in every range.

    Raises:
        SettingError: if the value is outside of it.
    """
    value = getattr(suite, setting)
    if value is not None and (value < lowest or (highest is not None and value > highest)):
        expected = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
        raise SettingError(f"{_option(setting)} is {value}: expected {expected}")


def require_choice(suite: Any, setting: str, choices: Sequence[str]) -> None:
    """Check that a suite's setting is one of the choices.

    Raises:
        SettingError: if it is not.
    """
    value = getattr(suite, setting)
    if value not in choices:
        raise SettingError(f"{_option(setting)} {value}: choose from {', '.join(choices)}")


def _option(setting: str) -> str:
    return f"--env.{setting.replace('_', '-')}"
