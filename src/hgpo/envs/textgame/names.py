"""Default names of objects, for games without their own names."""

from __future__ import annotations

from collections.abc import Iterable


def plain_names(ids: Iterable[str]) -> dict[str, str]:
    """Names by identifier: underscores become spaces, drawer_1 is "drawer 1"."""
    return {identifier: identifier.replace("_", " ") for identifier in ids}
