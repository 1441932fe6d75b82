"""Which facts hold: sets of rows by predicate, with indexes that find the rows of given objects at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, TypeAlias

Row: TypeAlias = "tuple[int, ...]"
"""The arguments of a fact, as object numbers."""
Key: TypeAlias = "int | tuple[int, ...]"
"""The objects at the positions that an index looks at: a bare number where it looks at one."""


class Layout:
    """Numbers the predicates and indexes that the rules of a game use; all its Facts share it."""

    def __init__(self) -> None:
        self.predicates: dict[str, int] = {}
        self.indexes: dict[tuple[int, tuple[int, ...]], int] = {}
        self.fluents: set[int] = set()
        """The predicates that some action changes."""
        self.denials: dict[int, int] = {}
        """By predicate, the one that holds what was true of it and has been made false."""

    def predicate(self, name: str) -> int:
        """The number of a predicate, by name."""
        return self.predicates.setdefault(name, len(self.predicates))

    def index(self, predicate: int, positions: tuple[int, ...]) -> int:
        """The number of the index of a predicate's rows by their objects at these positions (one or more)."""
        return self.indexes.setdefault((predicate, positions), len(self.indexes))


class Facts:
    """The facts that hold at one time. `copy` shares what no action changes."""

    def __init__(self, layout: Layout, rows: Iterable[tuple[int, Row]] = ()) -> None:
        """Build the store of these (predicate, row) pairs, with all indexes that the layout names by now."""
        self._layout = layout
        self.rows: list[set[Row]] = [set() for _ in layout.predicates]
        self.buckets: list[dict[Any, set[Row]]] = [{} for _ in layout.indexes]
        # Per predicate: the number of each index on it, and what takes the index's key from a row.
        self._keys: list[list[tuple[int, Callable[[Row], Key]]]] = [[] for _ in layout.predicates]
        for (predicate, positions), number in layout.indexes.items():
            self._keys[predicate].append((number, itemgetter(*positions)))
        for predicate, row in rows:
            self._insert(predicate, row)

    def copy(self) -> Facts:
        """A store that can be changed apart from this one."""
        new = object.__new__(Facts)
        layout, new._layout, new._keys = self._layout, self._layout, self._keys
        new.rows = list(self.rows)
        new.buckets = list(self.buckets)
        for predicate in layout.fluents:
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
        denial = self._layout.denials.get(predicate)
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
