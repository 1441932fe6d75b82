"""Creates an object from a class and a mapping of settings, with a one-line message for an unknown name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from hgpo.errors import SettingError


def nearest(name: str, known: Sequence[str], more: str = "") -> str:
    """The end of a message about an unknown name: the known name like it, or all known ones and `more`."""
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}{more}"


def create(cls: Any, settings: Mapping[str, Any], place: str, *, more: str = "") -> Any:
    """An object of the dataclass `cls` with these settings.

    Args:
        cls: the class, for example from `Registry.find`.
        settings: values by the names of its fields; all others keep their defaults.
        place: where the settings were given, for the message.
        more: see `nearest`.

    Raises:
        SettingError: if the class has no such field, or rejects a value.
    """
    known = [each.name for each in dataclasses.fields(cls) if each.init]
    for name in settings:
        if name not in known:
            raise SettingError(f"{place}.{name}: no such setting; {nearest(name, known, more)}")
    try:
        return cls(**settings)
    except SettingError:
        raise
    except (TypeError, ValueError) as error:
        raise SettingError(f"{place}: {error}") from None
