"""Puts a game's facts into words: the rules of a text grammar, compiled against one game."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from hgpo.envs.alfworld.errors import GameFormatError
from hgpo.envs.alfworld.facts import Facts, Row
from hgpo.envs.alfworld.grammar import (
    Alternative,
    Each,
    Part,
    Query,
    Rule,
    Value,
    Words,
    parse_query,
    parse_text,
)
from hgpo.envs.alfworld.pddl import Typed
from hgpo.envs.alfworld.queries import Binding, Scope, Step, World, collect, match, solutions, stop

Say: TypeAlias = "Callable[[Facts, Binding], str]"
"""The text for the facts as they are and the objects that are bound."""


@dataclass(frozen=True)
class Context:
    """Which placeholders are bound where a text stands."""

    named: Mapping[str, str]
    """The placeholder that a name means: of several with one name, the one bound last."""
    bound: frozenset[str]


@dataclass(frozen=True)
class Phrase:
    """A compiled text with parameters, such as the answer to an action."""

    say: Say
    slots: tuple[int, ...]
    """Where the parameters' objects stand in the binding."""
    constants: tuple[int | None, ...]
    reads: frozenset[int]
    """The predicates on which the text depends."""

    def __call__(self, facts: Facts, row: Row) -> str:
        """The text for the facts as they are; `row` has the objects of the parameters."""
        binding: Binding = [*self.constants, []]
        for slot, value in zip(self.slots, row, strict=True):
            binding[slot] = value
        return self.say(facts, binding)


@dataclass(frozen=True)
class Phrasebook:
    """What texts are compiled from."""

    world: World
    rules: Mapping[str, tuple[Alternative, ...]]
    attributes: Mapping[str, Sequence[str]]
    """What each attribute (name, id, …) is, by object number."""

    def phrase(self, parts: Sequence[Part], parameters: Typed = ()) -> Phrase:
        """The text made of these parts, where the parameters are bound."""
        named = {name.removeprefix("?"): f"?{name.removeprefix('?')}:{kind}" for name, kind in parameters}
        scope = Scope(self.world)
        slots = tuple(scope.slot(term) for term in named.values())
        say = _Compiler(self, scope).text(parts, Context(named, frozenset(named.values())))
        return Phrase(say, slots, scope.constant_values(), frozenset(scope.reads))


@dataclass
class _Compiler:
    """Compiles one text and those it refers to; they share a scope, so that one binding serves all."""

    book: Phrasebook
    scope: Scope
    _rules: dict[tuple[object, ...], Say | None] = field(default_factory=dict)

    def text(self, parts: Sequence[Part], context: Context) -> Say:
        """The parts one after the other."""
        said = [self._part(part, context) for part in parts]
        if len(said) == 1:
            return said[0]
        return lambda facts, binding: "".join([say(facts, binding) for say in said])

    def _part(self, part: Part, context: Context) -> Say:
        if isinstance(part, Words):
            return lambda facts, binding: part.text
        if isinstance(part, Rule):
            return self._rule(part.name, context)
        if isinstance(part, Value):
            return self._value(part, context)
        return self._each(part, context)

    def _rule(self, name: str, context: Context) -> Say:
        """The first alternative of a rule whose condition holds."""
        key = (name, context.bound, tuple(context.named.values()))
        if key not in self._rules:
            self._rules[key] = None
            self._rules[key] = self._alternatives(name, context)
        say = self._rules[key]
        if say is None:
            raise GameFormatError(f"the rule #{name}# of the grammar comes back to itself")
        return say

    def _alternatives(self, name: str, context: Context) -> Say:
        if name not in self.book.rules:
            raise GameFormatError(f"the grammar has no rule #{name}#")
        compiled: list[tuple[Step, Say]] = []
        for alternative in self.book.rules[name]:
            condition = stop
            if alternative.condition:
                condition, _ = self._query(parse_query(alternative.condition), context, stop)
            compiled.append((condition, self.text(parse_text(alternative.text), context)))

        def say(facts: Facts, binding: Binding) -> str:
            for condition, text in compiled:
                if condition(facts, binding):
                    return text(facts, binding)
            raise GameFormatError(f"no alternative of the rule #{name}# of the grammar holds in this state")

        return say

    def _value(self, value: Value, context: Context) -> Say:
        choices: list[list[Say]] = [
            [self._term(*term, context) for term in choice] for choice in value.choices
        ]
        if len(choices) == 1 == len(choices[0]):
            return choices[0][0]

        def say(facts: Facts, binding: Binding) -> str:
            texts = ("".join([part(facts, binding) for part in choice]) for choice in choices)
            return next(filter(None, texts), "")

        return say

    def _term(self, name: str, attribute: str, context: Context) -> Say:
        if not name:
            return lambda facts, binding: attribute
        if name not in context.named:
            raise GameFormatError(f"the grammar speaks of {name}.{attribute} where {name} stands for nothing")
        slot = self.scope.slot(context.named[name])
        texts = self.book.attributes[attribute]

        def say(facts: Facts, binding: Binding) -> str:
            return texts[binding[slot]]

        return say

    def _each(self, part: Each, context: Context) -> Say:
        inner, step, slots = context, None, []
        if part.query is not None:
            new = [term for term in part.query.types if term not in context.bound]
            slots = [self.scope.slot(term) for term in new]
            step, inner = self._query(part.query, context, collect(self.scope, new))
        item = self._part(part.part, inner)

        def items(facts: Facts, binding: Binding) -> list[str]:
            if step is None:
                return [item(facts, binding)]
            texts = []
            for row in solutions(step, facts, binding):
                for slot, value in zip(slots, row, strict=True):
                    binding[slot] = value
                texts.append(item(facts, binding))
            return texts

        if not part.as_list:
            return lambda facts, binding: "".join(items(facts, binding))
        empty, separator, last = (
            self._rule(name, context) for name in ("list_empty", "list_separator", "list_last_separator")
        )

        def say(facts: Facts, binding: Binding) -> str:
            texts = items(facts, binding)
            if not texts:
                return empty(facts, binding)
            if len(texts) == 1:
                return texts[0]
            return separator(facts, binding).join(texts[:-1]) + last(facts, binding) + texts[-1]

        return say

    def _query(self, query: Query, context: Context, then: Step) -> tuple[Step, Context]:
        """A step that goes through a query's solutions in order, and the context that they bind."""
        world = self.scope.world
        bounds = [context.bound]
        for atom in query.atoms:
            bounds.append(bounds[-1] | set(atom.terms))
        for kind in query.types.values():
            if kind not in world.members:
                raise GameFormatError(
                    f"the grammar asks for the type {kind}, which the domain does not declare"
                )
        allowed = {term: world.members[kind] for term, kind in query.types.items()}
        for atom, bound in reversed(list(zip(query.atoms, bounds, strict=False))):
            arity = world.arities.get(atom.predicate)
            if arity != len(atom.terms):
                raise GameFormatError(
                    f"the grammar asks for {atom.predicate} of {len(atom.terms)} objects: "
                    + ("the domain declares no such predicate" if arity is None else f"it takes {arity}")
                )
            then = self._distinct(atom.terms, bound, then)
            then = match(self.scope, atom, bound, allowed, then, ordered=True)
        named = {term[1:].partition(":")[0]: term for term in query.types}
        return then, replace(context, named={**context.named, **named}, bound=bounds[-1])

    def _distinct(self, terms: Sequence[str], bound: frozenset[str], then: Step) -> Step:
        """A step that goes on only if the terms that were not bound before are not what another one is."""
        new = [self.scope.slot(term) for term in dict.fromkeys(terms) if term not in bound]
        if not new:
            return then
        slots = [self.scope.slot(term) for term in sorted(bound)] + new

        def distinct(facts: Facts, binding: Binding) -> bool:
            # Those bound before may be one object by themselves, as the parameters of an action may.
            taken = {binding[slot] for slot in slots[: -len(new)]}
            for slot in new:
                if binding[slot] in taken:
                    return False
                taken.add(binding[slot])
            return then(facts, binding)

        return distinct
