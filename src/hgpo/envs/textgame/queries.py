"""Finds the objects for which a condition holds, by joining the facts that it names.

A condition is compiled once for all games into a chain of small functions. Each looks up the rows that match
the objects bound so far, binds the objects of one row after the other, and calls the next function; the last
one receives every solution. Actions are not grounded: of a thousand possible actions, only those that match
the current facts are considered.

A variable's value is in its slot of a list, the binding; each constant also has a slot. The last element of
the binding is the list to which `collect` appends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, TypeAlias

from hgpo.envs.textgame.facts import Facts, Layout, Row
from hgpo.envs.textgame.pddl import (
    Atom,
    Equal,
    Exists,
    Formula,
    Not,
    Or,
    conjuncts,
    free_variables,
)

Binding: TypeAlias = "list[Any]"
Step: TypeAlias = "Callable[[Facts, Binding], bool]"
"""Goes through the remaining solutions; True means that no more are needed, and stops the whole chain."""


@dataclass
class Scope:
    """The slots of the variables and constants of one binding, and the predicates that are read."""

    layout: Layout
    slots: dict[str, int] = field(default_factory=dict)
    reads: set[int] = field(default_factory=set)
    """The predicates on which the outcome depends."""

    def slot(self, term: str) -> int:
        """The slot of a variable or of a constant object."""
        return self.slots.setdefault(term, len(self.slots))

    def constants(self, numbers: Mapping[str, int]) -> tuple[int | None, ...]:
        """The initial content of the slots after compilation: the constant objects.

        An object that the game does not have is -1, which occurs in no row.
        """
        return tuple(None if term.startswith("?") else numbers.get(term, -1) for term in self.slots)

    def key(self, terms: Sequence[str]) -> Callable[[Binding], Any]:
        """A function that takes the terms' objects from a binding: a tuple, or a number for one term."""
        return itemgetter(*map(self.slot, terms))

    def row(self, terms: Sequence[str]) -> Callable[[Binding], Row]:
        """A function that takes the terms' objects from a binding as the row of a fact."""
        if not terms:
            return lambda binding: ()
        if len(terms) == 1:
            slot = self.slot(terms[0])
            return lambda binding: (binding[slot],)
        return self.key(terms)


def stop(facts: Facts, binding: Binding) -> bool:
    """The last step if one solution is enough."""
    return True


def collect(scope: Scope, terms: Sequence[str]) -> Step:
    """The last step if all solutions are wanted: it collects the objects of the terms."""
    row_of = scope.row(terms)

    def note(facts: Facts, binding: Binding) -> bool:
        binding[-1].append(row_of(binding))
        return False

    return note


def solutions(step: Step, facts: Facts, binding: Binding) -> list[Row]:
    """The rows that the `collect` at the end of a step collects, in order."""
    outer, binding[-1] = binding[-1], []
    step(facts, binding)
    found, binding[-1] = binding[-1], outer
    return found


def is_known(term: str, bound: frozenset[str]) -> bool:
    """Whether a term's object is known if these variables are bound."""
    return term in bound or not term.startswith("?")


def match(
    scope: Scope,
    atom: Atom,
    bound: frozenset[str],
    types: Mapping[str, int],
    then: Step,
    ordered: bool = False,
) -> Step:
    """A step that binds an atom's unbound variables to the objects of each matching fact.

    types: the number of each variable's type.
    ordered: whether facts come in the order of their objects; otherwise in any order.
    """
    layout = scope.layout
    predicate = layout.predicate(atom.predicate)
    scope.reads.add(predicate)
    known = tuple(place for place, term in enumerate(atom.terms) if is_known(term, bound))
    if len(known) == len(atom.terms):
        row_of = scope.row(atom.terms)

        return lambda facts, binding: row_of(binding) in facts.rows[predicate] and then(facts, binding)

    places: dict[str, int] = {}
    repeated: list[tuple[int, int]] = []
    for place, term in enumerate(atom.terms):
        if place not in known and places.setdefault(term, place) != place:
            repeated.append((places[term], place))
    targets = [(scope.slot(term), place, types[term]) for term, place in places.items()]
    rows_of = _lookup(scope, predicate, known, [atom.terms[place] for place in known])

    if len(targets) == 1 and not repeated:
        slot, place, kind = targets[0]

        def bind_one(facts: Facts, binding: Binding) -> bool:
            rows = rows_of(facts, binding)
            objects = facts.objects.members[kind]
            for row in sorted(rows) if ordered else rows:
                value = binding[slot] = row[place]
                if value in objects and then(facts, binding):
                    return True
            return False

        return bind_one

    def bind_all(facts: Facts, binding: Binding) -> bool:
        rows = rows_of(facts, binding)
        for row in sorted(rows) if ordered else rows:
            if any(row[first] != row[second] for first, second in repeated):
                continue
            for slot, place, kind in targets:
                value = binding[slot] = row[place]
                if value not in facts.objects.members[kind]:
                    break
            else:
                if then(facts, binding):
                    return True
        return False

    return bind_all


def _lookup(
    scope: Scope, predicate: int, known: tuple[int, ...], terms: list[str]
) -> Callable[[Facts, Binding], Iterable[Row]]:
    """A function that returns the rows of a predicate with the terms' objects at the known positions."""
    if not known:
        return lambda facts, binding: facts.rows[predicate]
    index = scope.layout.index(predicate, known)
    key = scope.key(terms)
    return lambda facts, binding: facts.buckets[index].get(key(binding), ())


def holds(scope: Scope, formula: Formula, bound: frozenset[str]) -> Step:
    """A step that tests whether a formula holds when all its free variables are bound."""
    if isinstance(formula, Not):
        body = holds(scope, formula.body, bound)
        return lambda facts, binding: not body(facts, binding)
    return solve(scope, formula, (), bound, stop)


def solve(
    scope: Scope, formula: Formula, variables: Iterable[tuple[str, str]], bound: frozenset[str], then: Step
) -> Step:
    """A step that binds the variables, each of its type, to all objects for which the formula holds.

    It may find the same solution more than once.
    """
    # A type without objects, declared or not, has no members, so that the formula has no solution.
    types = {name: scope.layout.type(kind) for name, kind in variables}
    return _join(scope, conjuncts(formula), types, bound, then)


def _join(
    scope: Scope, pending: tuple[Formula, ...], types: dict[str, int], bound: frozenset[str], then: Step
) -> Step:
    """A step that solves all pending formulas, the cheapest next one first."""
    inner = next((part for part in pending if isinstance(part, Exists)), None)
    if inner is not None and not free_variables(inner) <= bound:
        # An existential variable is joined like any other; it may bind others on the way.
        more = {name: scope.layout.type(kind) for name, kind in inner.variables}
        rest = tuple(part for part in pending if part is not inner)
        return _join(scope, rest + conjuncts(inner.body), types | more, bound, then)

    if not pending:
        unbound = sorted(types.keys() - bound)
        for name in unbound:
            then = _each(scope, name, types[name], then)
        return then

    part = min(pending, key=lambda part: _cost(scope, part, bound))
    rest = tuple(other for other in pending if other is not part)
    unbound = free_variables(part) - bound
    if isinstance(part, Atom):
        return match(scope, part, bound, types, _join(scope, rest, types, bound | unbound, then))
    if not unbound:
        return _check(scope, part, bound, _join(scope, rest, types, bound, then))
    if isinstance(part, Or):
        branches = [_join(scope, conjuncts(branch) + rest, types, bound, then) for branch in part.parts]
        return lambda facts, binding: any(branch(facts, binding) for branch in branches)
    # Not and Equal bind nothing, so their variables must be enumerated.
    name = min(unbound)
    return _each(scope, name, types[name], _join(scope, pending, types, bound | {name}, then))


def _cost(scope: Scope, part: Formula, bound: frozenset[str]) -> tuple[int, ...]:
    """A sort key for the order of solving, computed without a game: smaller if fewer solutions are expected.

    A formula with all variables bound comes first, because it is only a check. Then come atoms, those with
    more known terms first; among atoms without known terms, those that actions change come first, because
    they have few facts, such as the agent's place. A formula that binds nothing comes last.
    """
    unbound = free_variables(part) - bound
    if not unbound:
        return (0, int(not isinstance(part, (Atom, Equal))))
    if isinstance(part, Atom):
        known = sum(is_known(term, bound) for term in part.terms)
        return (1, -known, int(scope.layout.predicate(part.predicate) not in scope.layout.fluents))
    return (2 if isinstance(part, Or) else 3,)


def _each(scope: Scope, name: str, kind: int, then: Step) -> Step:
    """A step that binds a variable to each object of a type."""
    slot = scope.slot(name)

    def each(facts: Facts, binding: Binding) -> bool:
        for value in facts.objects.members[kind]:
            binding[slot] = value
            if then(facts, binding):
                return True
        return False

    return each


def _check(scope: Scope, part: Formula, bound: frozenset[str], then: Step) -> Step:
    """A step that continues only if a part holds; all its free variables are bound."""
    if isinstance(part, Equal):
        left, right = map(scope.slot, part.terms)
        return lambda facts, binding: binding[left] == binding[right] and then(facts, binding)
    if isinstance(part, Or):
        branches = [holds(scope, branch, bound) for branch in part.parts]

        def any_branch(facts: Facts, binding: Binding) -> bool:
            return any(branch(facts, binding) for branch in branches) and then(facts, binding)

        return any_branch
    if isinstance(part, Exists):
        test = solve(scope, part.body, part.variables, bound, stop)
    else:
        test = holds(scope, part, bound)
    return lambda facts, binding: test(facts, binding) and then(facts, binding)
