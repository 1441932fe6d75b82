"""What objects of the official games are called: from identifiers to the words shown to the agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def demangled_names(ids: Iterable[str]) -> dict[str, str]:
    """Names by identifier, for the official games: cup_bar__plus_00… and its like become "cup 2", "cup 1".

    An official identifier is a kind, then `_bar_`, then coordinates. The objects of a kind are numbered
    from the highest number down, in the order of their identifiers. A sink whose identifier has "basin"
    in it is a sinkbasin. (The fixed order of alfworld 0.4.2.)
    """
    ordered = sorted(ids)
    kinds = {identifier: _kind(identifier) for identifier in ordered}
    numbers = Counter(kind for kind in kinds.values() if kind is not None)
    names = {}
    for identifier in ordered:
        kind = kinds[identifier]
        if kind is None:
            # The reference puts a space before the number that such a name lacks.
            names[identifier] = f"{identifier} "
        else:
            names[identifier] = f"{kind} {numbers[kind]}"
            numbers[kind] -= 1
    return names


def _kind(identifier: str) -> str | None:
    kind, bar, _ = identifier.partition("_bar_")
    if not bar:
        return None
    return f"{kind}basin" if "basin" in identifier else kind
