"""Names of objects in the official games: from identifiers to the words shown to the agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def demangled_names(ids: Iterable[str]) -> dict[str, str]:
    """Names by identifier for the official games: for example, cup_bar__plus_00… becomes "cup 2".

    An official identifier consists of a kind, `_bar_` and coordinates. The objects of a kind are numbered
    from the highest number down, in the order of their identifiers. A sink with "basin" in its identifier is
    called sinkbasin. (This is the fixed order of alfworld 0.4.2.)
    """
    ordered = sorted(ids)
    kinds = {identifier: _kind(identifier) for identifier in ordered}
    numbers = Counter(kind for kind in kinds.values() if kind is not None)
    names = {}
    for identifier in ordered:
        kind = kinds[identifier]
        if kind is None:
            # The reference puts a space before the missing number of such a name.
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
