"""Which facts hold: sets of rows by predicate, with indexes that find the rows of given objects at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

Row: TypeAlias = "tuple[int, ...]"
"""The arguments of a fact, as object numbers."""
Key: TypeAlias = "int | tuple[int, ...]"
"""The objects at the positions that an index looks at: a bare number where it looks at one."""


def denied(name: str) -> str:
    """The name of the predicate of what was true of another one and has been made false."""
    return f"not {name}"


class Layout:
    """Numbers what the rules of a domain speak of, as they are compiled; games give the numbers content."""

    def __init__(self, types: Iterable[str], arities: Mapping[str, int], fluents: Iterable[str]) -> None:
        """Take the domain's types, how many arguments its predicates have, and those that actions change."""
        self.arities = dict(arities)
        self.types: dict[str, int] = {}
        self.declared_types = frozenset(types)
        self.predicates: dict[str, int] = {}
        self.indexes: dict[tuple[int, tuple[int, ...]], int] = {}
        self.fluents = {self.predicate(name) for name in fluents}
        self.denials: dict[int, int] = {}
        """By predicate, the one that holds what was true of it and has been made false."""

    def type(self, name: str) -> int:
        """The number of a type."""
        return self.types.setdefault(name, len(self.types))

    def predicate(self, name: str) -> int:
        """The number of a predicate."""
        return self.predicates.setdefault(name, len(self.predicates))

    def denial(self, name: str) -> None:
        """See to it that what this predicate loses is kept, as the rows of its `denied` one."""
        number = self.predicate(denied(name))
        self.denials[self.predicate(name)] = number
        self.fluents.add(number)

    def index(self, predicate: int, positions: tuple[int, ...]) -> int:
        """The number of the index of a predicate's rows by their objects at these positions (one or more)."""
        return self.indexes.setdefault((predicate, positions), len(self.indexes))


@dataclass(frozen=True)
class Objects:
    """The objects of a game. Their numbers follow the order of their identifiers."""

    ids: tuple[str, ...]
    """The identifier of each object."""
    members: tuple[frozenset[int], ...]
    """The objects of each type of the layout, those of its subtypes among them."""
    attributes: Mapping[str, Sequence[str]]
    """What texts can say of each object: name, id, …"""


class Facts:
    """The facts that hold at one time. `copy` shares what no action changes."""

    def __init__(self, layout: Layout, objects: Objects, rows: Iterable[tuple[int, Row]]) -> None:
        """Build the store of these (predicate, row) pairs, with all indexes that the layout has by now."""
        self.objects = objects
        self.rows: list[set[Row]] = [set() for _ in layout.predicates]
        self.buckets: list[dict[Any, set[Row]]] = [{} for _ in layout.indexes]
        # The layout may grow with the next game's grammar; what concerns this one is noted here.
        self._fluents = tuple(layout.fluents)
        self._denials = dict(layout.denials)
        # Per predicate: the number of each index on it, and what takes the index's key from a row.
        self._keys: list[list[tuple[int, Callable[[Row], Key]]]] = [[] for _ in layout.predicates]
        for (predicate, positions), number in layout.indexes.items():
            self._keys[predicate].append((number, itemgetter(*positions)))
        for predicate, row in rows:
            self._insert(predicate, row)

    def copy(self) -> Facts:
        """A store that can be changed apart from this one."""
        new = object.__new__(Facts)
        new.objects, new._keys = self.objects, self._keys
        new._fluents, new._denials = self._fluents, self._denials
        new.rows = list(self.rows)
        new.buckets = list(self.buckets)
        for predicate in self._fluents:
            new.rows[predicate] = set(self.rows[predicate])
            for number, _ in self._keys[predicate]:
                new.buckets[number] = {key: set(rows) for key, rows in self.buckets[number].items()}
        return new

    def set(self, predicate: int, row: Row, holds: bool) -> bool:
        """Make a fact true or false. Returns whether that changed it."""
        if (row in self.rows[predicate]) == holds:
            return False
        put, take = (self._insert, self._discard) if holds else (self._discard, self._insert)
        put(predicate, row)
        denial = self._denials.get(predicate)
        if denial is not None:
            take(denial, row)
        return True

    def _insert(self, predicate: int, row: Row) -> None:
        self.rows[predicate].add(row)
        for number, key in self._keys[predicate]:
            self.buckets[number].setdefault(key(row), set()).add(row)

    def _discard(self, predicate: int, row: Row) -> None:
        self.rows[predicate].discard(row)
        for number, key in self._keys[predicate]:
            self.buckets[number].get(key(row), set()).discard(row)
