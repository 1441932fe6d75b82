"""The actions of a domain, compiled once for all its games."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hgpo.envs.textgame.facts import Layout
from hgpo.envs.textgame.pddl import (
    TRUE,
    Action,
    Atom,
    Domain,
    Effect,
    Not,
    Typed,
    conjuncts,
    parse_domain,
)
from hgpo.envs.textgame.queries import Binding, Scope, Step, collect, solve


@dataclass(frozen=True)
class Change:
    """An effect, compiled: it makes the facts that its step collects true or false."""

    predicate: int
    becomes: bool
    facts: Step


@dataclass(frozen=True)
class CompiledAction:
    """An action, compiled. The row of a way to do it contains the objects of its parameters."""

    name: str
    applicable: Step
    """Collects the row of every way to do the action."""
    reads: frozenset[int]
    """The predicates that determine these ways."""
    changes: tuple[Change, ...]
    parameters: Typed
    scope: Scope
    """Scope of `applicable` and `changes`; its first slots are those of the parameters."""


@dataclass(frozen=True)
class Rules:
    """A compiled domain."""

    domain: Domain
    layout: Layout
    actions: tuple[CompiledAction, ...]


@lru_cache(maxsize=16)
def compile_domain(text: str) -> Rules:
    """The rules of a domain; they are cached, because thousands of games share one domain."""
    domain = parse_domain(text)
    fluents = [effect.atom.predicate for action in domain.actions for effect in action.effects]
    layout = Layout(domain.parents, domain.predicates, fluents)
    return Rules(domain, layout, tuple(_compile_action(layout, action) for action in domain.actions))


def _compile_action(layout: Layout, action: Action) -> CompiledAction:
    scope = Scope(layout)
    parameters = [name for name, _ in action.parameters]
    for name in parameters:
        scope.slot(name)
    found = _unless_idle(scope, action, collect(scope, parameters))
    applicable = solve(scope, action.precondition, action.parameters, frozenset(), found)
    reads = frozenset(scope.reads)
    changes = tuple(_compile_effect(scope, effect, frozenset(parameters)) for effect in action.effects)
    return CompiledAction(action.name, applicable, reads, changes, action.parameters, scope)


def _compile_effect(scope: Scope, effect: Effect, bound: frozenset[str]) -> Change:
    facts = solve(scope, effect.condition, effect.variables, bound, collect(scope, effect.atom.terms))
    return Change(scope.layout.predicate(effect.atom.predicate), effect.becomes, facts)


def _unless_idle(scope: Scope, action: Action, then: Step) -> Step:
    """A step that leaves out ways to do an action that could never change anything.

    The reference's planner drops them: going to the current place is not a command. A way is left out if the
    precondition already implies all of its effects.
    """
    if any(effect.variables or effect.condition != TRUE for effect in action.effects):
        return then
    stated: dict[bool, list[Atom]] = {True: [], False: []}
    for part in conjuncts(action.precondition):
        if isinstance(part, Atom):
            stated[True].append(part)
        elif isinstance(part, Not) and isinstance(part.body, Atom):
            stated[False].append(part.body)
    tests: list[list[tuple[tuple[int, int], ...]]] = []
    for effect in action.effects:
        # A fact that the same action makes true is not made false.
        others = [other.atom for other in action.effects if other.becomes and not effect.becomes]
        alike = [
            tuple(zip(map(scope.slot, effect.atom.terms), map(scope.slot, atom.terms), strict=True))
            for atom in stated[effect.becomes] + others
            if atom.predicate == effect.atom.predicate
        ]
        if not alike:
            return then
        tests.append(alike)

    def idle(binding: Binding) -> bool:
        return all(
            any(all(binding[left] == binding[right] for left, right in pairs) for pairs in alike)
            for alike in tests
        )

    return lambda facts, binding: not idle(binding) and then(facts, binding)
