"""The facts that hold: sets of rows per predicate, with indexes to find the rows with given objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

Row: TypeAlias = "tuple[int, ...]"
"""The arguments of a fact, as object numbers."""
Key: TypeAlias = "int | tuple[int, ...]"
"""The objects at the positions that an index uses: a single number if it uses one position."""


def denied(name: str) -> str:
    """The name of the predicate for facts of another predicate that were true and have been made false."""
    return f"not {name}"


class Layout:
    """Numbers the types, predicates and indexes of a domain as its rules are compiled."""

    def __init__(self, types: Iterable[str], arities: Mapping[str, int], fluents: Iterable[str]) -> None:
        """Take the types, the number of arguments per predicate, and the predicates that actions change."""
        self.arities = dict(arities)
        self.types: dict[str, int] = {}
        self.declared_types = frozenset(types)
        self.predicates: dict[str, int] = {}
        self.indexes: dict[tuple[int, tuple[int, ...]], int] = {}
        self.fluents = {self.predicate(name) for name in fluents}
        self.denials: dict[int, int] = {}
        """For a predicate, the one with its facts that were true and have been made false."""

    def type(self, name: str) -> int:
        """The number of a type."""
        return self.types.setdefault(name, len(self.types))

    def predicate(self, name: str) -> int:
        """The number of a predicate."""
        return self.predicates.setdefault(name, len(self.predicates))

    def denial(self, name: str) -> None:
        """Let facts that this predicate loses be kept as rows of its `denied` predicate."""
        number = self.predicate(denied(name))
        self.denials[self.predicate(name)] = number
        self.fluents.add(number)

    def index(self, predicate: int, positions: tuple[int, ...]) -> int:
        """The number of the index of a predicate's rows by the objects at these positions (one or more)."""
        return self.indexes.setdefault((predicate, positions), len(self.indexes))


@dataclass(frozen=True)
class Objects:
    """The objects of a game. Their numbers follow the order of their identifiers."""

    ids: tuple[str, ...]
    """The identifier of each object."""
    members: tuple[frozenset[int], ...]
    """The objects of each type of the layout, including those of its subtypes."""
    attributes: Mapping[str, Sequence[str]]
    """The attributes of each object that texts can use: name, id, …"""


class Facts:
    """The facts that hold at one time. A `copy` shares the facts that no action changes."""

    def __init__(self, layout: Layout, objects: Objects, rows: Iterable[tuple[int, Row]]) -> None:
        """Store these (predicate, row) pairs, with all indexes that the layout has so far."""
        self.objects = objects
        self.rows: list[set[Row]] = [set() for _ in layout.predicates]
        self.buckets: list[dict[Any, set[Row]]] = [{} for _ in layout.indexes]
        # Compiling the next game's grammar may extend the layout; this object keeps what concerns its own
        # game.
        self._fluents = tuple(layout.fluents)
        self._denials = dict(layout.denials)
        # For each predicate, its indexes: the index's number and the function that takes the key from a row.
        self._keys: list[list[tuple[int, Callable[[Row], Key]]]] = [[] for _ in layout.predicates]
        for (predicate, positions), number in layout.indexes.items():
            self._keys[predicate].append((number, itemgetter(*positions)))
        for predicate, row in rows:
            self._insert(predicate, row)

    def copy(self) -> Facts:
        """A copy that can be changed independently."""
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
