"""Finds the objects for which a condition holds, by joining the facts it names.

A condition is compiled once per game into a chain of small functions. Each looks up the rows that fit
what is bound so far, binds the objects of one row after the other, and calls the next; the last is
told every solution. Nothing is grounded: of a thousand possible actions, only those near the facts
that hold are ever looked at.

A variable's value stands in its slot of one list, the binding; a constant has a slot of its own. The
binding's last place is the list to which `collect` adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, TypeAlias

from hgpo.envs.alfworld.facts import Facts, Layout, Row
from hgpo.envs.alfworld.pddl import (
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
"""Goes through the solutions from here on; True says that enough has been seen, and stops all before it."""


@dataclass(frozen=True)
class World:
    """What the conditions of one game are compiled against."""

    layout: Layout
    objects: Mapping[str, int]
    """The number of each object; numbers follow the order of identifiers."""
    members: Mapping[str, frozenset[int]]
    """The objects of each type, those of its subtypes among them."""
    start: Mapping[int, Sequence[Row]]
    """The rows of each predicate at the start: a join begins where there are few."""
    arities: Mapping[str, int]
    """How many arguments each predicate takes that can be asked for."""


@dataclass
class Scope:
    """The slots of the variables and constants of one binding, and what is read through it."""

    world: World
    slots: dict[str, int] = field(default_factory=dict)
    constants: dict[int, int] = field(default_factory=dict)
    reads: set[int] = field(default_factory=set)
    """The predicates on which the outcome depends."""

    def slot(self, term: str) -> int:
        """The slot of a variable, or of an object named outright."""
        number = self.slots.setdefault(term, len(self.slots))
        if not term.startswith("?"):
            # An object that the game does not have is -1: it is in no row.
            self.constants[number] = self.world.objects.get(term, -1)
        return number

    def constant_values(self) -> tuple[int | None, ...]:
        """What is in the slots before anything is bound. To be called when all is compiled."""
        return tuple(self.constants.get(number) for number in range(len(self.slots)))

    def key(self, terms: Sequence[str]) -> Callable[[Binding], Any]:
        """What takes the terms' objects from a binding: a tuple, or for one term the bare object."""
        return itemgetter(*map(self.slot, terms))

    def row(self, terms: Sequence[str]) -> Callable[[Binding], Row]:
        """What takes the terms' objects from a binding as the row of a fact."""
        if not terms:
            return lambda binding: ()
        if len(terms) == 1:
            slot = self.slot(terms[0])
            return lambda binding: (binding[slot],)
        return self.key(terms)


def stop(facts: Facts, binding: Binding) -> bool:
    """The last step where one solution is enough."""
    return True


def collect(scope: Scope, terms: Sequence[str]) -> Step:
    """The last step where all solutions are wanted: it notes the objects of the terms."""
    row_of = scope.row(terms)

    def note(facts: Facts, binding: Binding) -> bool:
        binding[-1].append(row_of(binding))
        return False

    return note


def solutions(step: Step, facts: Facts, binding: Binding) -> list[Row]:
    """What the `collect` at the end of a step notes, in the order in which it comes."""
    outer, binding[-1] = binding[-1], []
    step(facts, binding)
    found, binding[-1] = binding[-1], outer
    return found


def is_known(term: str, bound: frozenset[str]) -> bool:
    """Whether a term's object is known when these variables are bound."""
    return term in bound or not term.startswith("?")


def match(
    scope: Scope,
    atom: Atom,
    bound: frozenset[str],
    allowed: Mapping[str, frozenset[int]],
    then: Step,
    ordered: bool = False,
) -> Step:
    """A step that binds an atom's unbound variables to the objects of each fact that fits.

    allowed: the objects that each variable may be bound to.
    ordered: facts come in the order of their objects; otherwise in any.
    """
    layout = scope.world.layout
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
    targets = [(scope.slot(term), place, allowed[term]) for term, place in places.items()]
    rows_of = _lookup(scope, predicate, known, [atom.terms[place] for place in known])

    if len(targets) == 1 and not repeated:
        slot, place, objects = targets[0]

        def bind_one(facts: Facts, binding: Binding) -> bool:
            rows = rows_of(facts, binding)
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
            for slot, place, objects in targets:
                value = binding[slot] = row[place]
                if value not in objects:
                    break
            else:
                if then(facts, binding):
                    return True
        return False

    return bind_all


def _lookup(
    scope: Scope, predicate: int, known: tuple[int, ...], terms: list[str]
) -> Callable[[Facts, Binding], Iterable[Row]]:
    """What gives the rows of a predicate whose objects at the known places are those of the terms."""
    if not known:
        return lambda facts, binding: facts.rows[predicate]
    index = scope.world.layout.index(predicate, known)
    key = scope.key(terms)
    return lambda facts, binding: facts.buckets[index].get(key(binding), ())


def holds(scope: Scope, formula: Formula, bound: frozenset[str]) -> Step:
    """A step that tells whether a formula holds, all its free variables being bound."""
    if isinstance(formula, Not):
        body = holds(scope, formula.body, bound)
        return lambda facts, binding: not body(facts, binding)
    return solve(scope, formula, (), bound, stop)


def solve(
    scope: Scope, formula: Formula, variables: Iterable[tuple[str, str]], bound: frozenset[str], then: Step
) -> Step:
    """A step that binds the variables, each of its type, to whatever makes the formula hold.

    It may come to the same solution more than once.
    """
    members = scope.world.members
    # A type that nothing has, declared or not, has no members: nothing solves the formula then.
    allowed = {name: members.get(kind, frozenset()) for name, kind in variables}
    return _join(scope, conjuncts(formula), allowed, bound, then)


def _join(
    scope: Scope,
    pending: tuple[Formula, ...],
    allowed: dict[str, frozenset[int]],
    bound: frozenset[str],
    then: Step,
) -> Step:
    """A step that solves all pending formulas, the cheapest next one first."""
    inner = next((part for part in pending if isinstance(part, Exists)), None)
    if inner is not None and not free_variables(inner) <= bound:
        # What exists joins in like any variable: it binds the others on its way.
        more = {name: scope.world.members.get(kind, frozenset()) for name, kind in inner.variables}
        rest = tuple(part for part in pending if part is not inner)
        return _join(scope, rest + conjuncts(inner.body), allowed | more, bound, then)

    if not pending:
        unbound = sorted(allowed.keys() - bound)
        for name in unbound:
            then = _each(scope, name, allowed[name], then)
        return then

    part = min(pending, key=lambda part: _cost(scope, part, bound))
    rest = tuple(other for other in pending if other is not part)
    unbound = free_variables(part) - bound
    if isinstance(part, Atom):
        return match(scope, part, bound, allowed, _join(scope, rest, allowed, bound | unbound, then))
    if not unbound:
        return _check(scope, part, bound, _join(scope, rest, allowed, bound, then))
    if isinstance(part, Or):
        branches = [_join(scope, conjuncts(branch) + rest, allowed, bound, then) for branch in part.parts]
        return lambda facts, binding: any(branch(facts, binding) for branch in branches)
    # Not and Equal bind nothing: their variables have to be gone through.
    name = min(unbound, key=lambda name: (len(allowed[name]), name))
    return _each(scope, name, allowed[name], _join(scope, pending, allowed, bound | {name}, then))


def _cost(scope: Scope, part: Formula, bound: frozenset[str]) -> float:
    """About how many solutions a part has where these variables are bound; what binds nothing goes last."""
    if free_variables(part) <= bound:
        return -1.0 if isinstance(part, (Atom, Equal, Not)) else -0.5
    if isinstance(part, Atom):
        rows = scope.world.start.get(scope.world.layout.predicate(part.predicate), ())
        estimate = float(len(rows))
        for place, term in enumerate(part.terms):
            if is_known(term, bound):
                estimate /= max(1, len({row[place] for row in rows}))
        return estimate
    return 1e6 if isinstance(part, Or) else 1e9


def _each(scope: Scope, name: str, objects: frozenset[int], then: Step) -> Step:
    """A step that binds a variable to each of the objects."""
    slot = scope.slot(name)
    ordered = sorted(objects)

    def each(facts: Facts, binding: Binding) -> bool:
        for binding[slot] in ordered:
            if then(facts, binding):
                return True
        return False

    return each


def _check(scope: Scope, part: Formula, bound: frozenset[str], then: Step) -> Step:
    """A step that goes on only if a part holds whose free variables are all bound."""
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
