"""Makes texts from facts with the compiled rules of a text grammar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

from hgpo.envs.textgame.errors import GameFormatError
from hgpo.envs.textgame.facts import Facts, Layout, Row, denied
from hgpo.envs.textgame.grammar import (
    Alternative,
    Each,
    Grammar,
    Part,
    Query,
    Rule,
    Value,
    Words,
    parse_query,
    parse_text,
)
from hgpo.envs.textgame.pddl import ROOT_TYPE, Atom, Typed
from hgpo.envs.textgame.queries import Binding, Scope, Step, collect, match, solutions, stop

DENIED = "not_"
"""Prefix in a grammar for facts of a predicate that were true and have been made false."""

LIST_RULES = ("list_empty", "list_separator", "list_last_separator")
"""The rules for an empty list, for the separator between items, and for the one before the last item."""

Say: TypeAlias = "Callable[[Facts, Binding], str]"
"""Returns the text for the current facts and the bound objects."""


@dataclass(frozen=True)
class Context:
    """The placeholders that are bound at a position in a text."""

    named: Mapping[str, str]
    """The placeholder that a name refers to: if several have the name, the one bound last."""
    bound: frozenset[str]


@dataclass(frozen=True)
class Phrase:
    """A compiled text with parameters, such as the feedback of an action."""

    say: Say
    slots: tuple[int, ...]
    """The slots of the parameters' objects in the binding."""
    size: int
    """The number of slots of the binding."""
    reads: frozenset[int]
    """The predicates on which the text depends."""

    def __call__(self, facts: Facts, row: Row) -> str:
        """The text for the current facts; `row` has the objects of the parameters."""
        binding: Binding = [None] * self.size + [[]]
        for slot, value in zip(self.slots, row, strict=True):
            binding[slot] = value
        return self.say(facts, binding)


def compile_phrase(
    layout: Layout, grammar: Grammar, parts: tuple[Part, ...], parameters: Typed = ()
) -> Phrase:
    """The compiled text of these parts, where the parameters are bound.

    Thousands of games differ in only one rule of their grammars. A phrase is compiled once for all games that
    share the rules it uses.
    """
    return _compile(layout, parts, parameters, tuple(sorted(_reachable(grammar, parts).items())))


def _reachable(grammar: Grammar, parts: Iterable[Part]) -> dict[str, tuple[Alternative, ...]]:
    """The rules that these parts use, directly or through other rules."""
    found: dict[str, tuple[Alternative, ...]] = {}
    pending = list(parts)
    while pending:
        part = pending.pop()
        names: tuple[str, ...] = ()
        if isinstance(part, Each):
            pending.append(part.part)
            names = LIST_RULES if part.as_list else ()
        elif isinstance(part, Rule):
            names = (part.name,)
        for name in names:
            if name not in grammar.rules:
                raise GameFormatError(f"the grammar has no rule #{name}#")
            if name not in found:
                found[name] = grammar.rules[name]
                for alternative in found[name]:
                    pending += parse_text(alternative.text)
    return found


@lru_cache(maxsize=1024)
def _compile(
    layout: Layout,
    parts: tuple[Part, ...],
    parameters: Typed,
    rules: tuple[tuple[str, tuple[Alternative, ...]], ...],
) -> Phrase:
    named = {name.removeprefix("?"): f"?{name.removeprefix('?')}:{kind}" for name, kind in parameters}
    scope = Scope(layout)
    slots = tuple(scope.slot(term) for term in named.values())
    say = _Compiler(dict(rules), scope).text(parts, Context(named, frozenset(named.values())))
    return Phrase(say, slots, len(scope.slots), frozenset(scope.reads))


@dataclass
class _Compiler:
    """Compiles a text and the rules it uses; they share a scope, so that one binding serves all."""

    rules: Mapping[str, tuple[Alternative, ...]]
    scope: Scope
    _rules: dict[tuple[object, ...], Say | None] = field(default_factory=dict)

    def text(self, parts: Sequence[Part], context: Context) -> Say:
        """The parts, concatenated."""
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
            raise GameFormatError(f"the rule #{name}# of the grammar refers to itself")
        return say

    def _alternatives(self, name: str, context: Context) -> Say:
        compiled: list[tuple[Step, Say]] = []
        for alternative in self.rules[name]:
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
            raise GameFormatError(f"the grammar uses {name}.{attribute} where {name} is not bound")
        slot = self.scope.slot(context.named[name])

        def say(facts: Facts, binding: Binding) -> str:
            number: int = binding[slot]
            return facts.objects.attributes[attribute][number]

        return say

    def _each(self, part: Each, context: Context) -> Say:
        inner, step, slots = context, None, []
        if part.query is not None:
            new = [term for term, _ in part.query.types if term not in context.bound]
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
        empty, separator, last = (self._rule(name, context) for name in LIST_RULES)

        def say(facts: Facts, binding: Binding) -> str:
            texts = items(facts, binding)
            if not texts:
                return empty(facts, binding)
            if len(texts) == 1:
                return texts[0]
            return separator(facts, binding).join(texts[:-1]) + last(facts, binding) + texts[-1]

        return say

    def _query(self, query: Query, context: Context, then: Step) -> tuple[Step, Context]:
        """A step that goes through a query's solutions in order, and the context with its variables bound."""
        bounds = [context.bound]
        for atom in query.atoms:
            bounds.append(bounds[-1] | set(atom.terms))
        types = {term: self._type(kind) for term, kind in query.types}
        for atom, bound in reversed(list(zip(query.atoms, bounds, strict=False))):
            then = self._distinct(atom.terms, bound, then)
            then = match(self.scope, self._known(atom), bound, types, then, ordered=True)
        named = {term[1:].partition(":")[0]: term for term, _ in query.types}
        return then, replace(context, named={**context.named, **named}, bound=bounds[-1])

    def _type(self, name: str) -> int:
        if name != ROOT_TYPE and name not in self.scope.layout.declared_types:
            raise GameFormatError(f"the grammar asks for the type {name}: the domain declares none")
        return self.scope.layout.type(name)

    def _known(self, atom: Atom) -> Atom:
        """The atom in the layout's terms; not_p stands for what was p and has been made false."""
        layout, name = self.scope.layout, atom.predicate
        base = name if name in layout.arities else name.removeprefix(DENIED)
        arity = layout.arities.get(base)
        if arity != len(atom.terms):
            why = "the domain declares no such predicate" if arity is None else f"it takes {arity}"
            raise GameFormatError(f"the grammar asks for {name} of {len(atom.terms)} objects: {why}")
        if base == name:
            return atom
        if layout.predicate(base) in layout.fluents:
            layout.denial(base)
        self.scope.reads.add(layout.predicate(base))
        return Atom(denied(base), atom.terms)

    def _distinct(self, terms: Sequence[str], bound: frozenset[str], then: Step) -> Step:
        """A step that continues only if the newly bound terms differ from all other terms."""
        new = [self.scope.slot(term) for term in dict.fromkeys(terms) if term not in bound]
        if not new:
            return then
        slots = [self.scope.slot(term) for term in sorted(bound)] + new

        def distinct(facts: Facts, binding: Binding) -> bool:
            # Terms bound before may be the same object, such as two parameters of an action.
            taken = {binding[slot] for slot in slots[: -len(new)]}
            for slot in new:
                if binding[slot] in taken:
                    return False
                taken.add(binding[slot])
            return then(facts, binding)

        return distinct
