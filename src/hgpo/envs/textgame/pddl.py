"""PDDL domains and problems as plain data: types, predicates, actions, formulas, effects.

Supported: typing, constants, `and or not = exists forall` in conditions and goals, `and not forall when`
in effects. Costs (functions, increase, metric) are ignored. Anything else is a GameFormatError.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import TypeAlias

from hgpo.envs.textgame.errors import GameFormatError
from hgpo.envs.textgame.sexpr import Expression, parse

ROOT_TYPE = "object"
"""The supertype of all types."""

Typed: TypeAlias = "tuple[tuple[str, str], ...]"
"""Names with their types."""


@dataclass(frozen=True)
class Atom:
    """A predicate with terms; a term that begins with ? is a variable, any other term is an object."""

    predicate: str
    terms: tuple[str, ...]


@dataclass(frozen=True)
class Equal:
    """Both terms are the same object."""

    terms: tuple[str, str]


@dataclass(frozen=True)
class Not:
    """The body does not hold."""

    body: Formula


@dataclass(frozen=True)
class And:
    """All parts hold; true without parts."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Or:
    """At least one part holds; false without parts."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Exists:
    """The body holds for at least one choice of objects of the variables' types."""

    variables: Typed
    body: Formula


Formula: TypeAlias = "Atom | Equal | Not | And | Or | Exists"
"""A condition. No variable is bound twice within an action or a goal, because the parser renames them."""

TRUE = And(())


@dataclass(frozen=True)
class Effect:
    """The atom becomes true or false, for all objects of the variables' types that satisfy the condition."""

    variables: Typed
    condition: Formula
    atom: Atom
    becomes: bool


@dataclass(frozen=True)
class Action:
    """An action: its parameters, precondition and effects."""

    name: str
    parameters: Typed
    precondition: Formula
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Domain:
    """The rules that many games share."""

    parents: dict[str, str]
    """The supertype of each declared type."""
    predicates: dict[str, int]
    """The number of arguments of each predicate."""
    constants: Typed
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Problem:
    """One game: its objects, initial facts and goal."""

    objects: Typed
    facts: tuple[Atom, ...]
    goal: Formula


@lru_cache(maxsize=16)
def parse_domain(text: str) -> Domain:
    """The domain in a text; domains are cached, because thousands of games share one."""
    parents: dict[str, str] = {}
    predicates: dict[str, int] = {}
    constants: Typed = ()
    actions: list[Action] = []
    for head, body in _sections(text, "domain"):
        if head == ":types":
            parents.update(_typed(body))
        elif head == ":constants":
            constants = _typed(body)
        elif head == ":predicates":
            for predicate in body:
                name, *arguments = _list(predicate, "a predicate")
                predicates[_word(name)] = len(_typed(arguments))
        elif head == ":action":
            actions.append(_action(body, predicates))
        elif head not in (":requirements", ":functions"):
            raise GameFormatError(f"the domain uses {head}, which is not supported")
    return Domain(parents, predicates, constants, tuple(actions))


def parse_problem(text: str, domain: Domain) -> Problem:
    """The problem in a text, checked against its domain."""
    objects: Typed = ()
    facts: list[Atom] = []
    goal: Formula | None = None
    reader = _Reader(domain.predicates, "the problem")
    for head, body in _sections(text, "problem"):
        if head == ":objects":
            objects = _typed(body)
        elif head == ":init":
            # (= (distance a b) 5) sets the value of a function, which is a cost.
            facts = [reader.atom(fact) for fact in body if fact[:1] != ["="]]
        elif head == ":goal":
            if len(body) != 1:
                raise GameFormatError(f"the problem's :goal must be one condition, not {len(body)}")
            goal = reader.formula(body[0], {})
        elif head not in (":domain", ":requirements", ":metric"):
            raise GameFormatError(f"the problem uses {head}, which is not supported")
    if goal is None:
        raise GameFormatError("the problem has no :goal")
    return Problem(objects, tuple(facts), goal)


def conjuncts(formula: Formula) -> tuple[Formula, ...]:
    """Formulas that hold together if and only if this one does."""
    if isinstance(formula, And):
        return tuple(inner for part in formula.parts for inner in conjuncts(part))
    return (formula,)


def free_variables(formula: Formula) -> frozenset[str]:
    """The variables whose values determine whether the formula holds."""
    if isinstance(formula, (Atom, Equal)):
        return frozenset(term for term in formula.terms if term.startswith("?"))
    if isinstance(formula, Not):
        return free_variables(formula.body)
    if isinstance(formula, Exists):
        return free_variables(formula.body) - {name for name, _ in formula.variables}
    return frozenset().union(*map(free_variables, formula.parts))


def _sections(text: str, kind: str) -> list[tuple[str, list[Expression]]]:
    """Head and body of every section of a (define (kind name) (head body…)…)."""
    whole = parse(text)
    if whole[:1] != ["define"] or len(whole) < 2 or whole[1][:1] != [kind]:
        raise GameFormatError(f"expected (define ({kind} NAME) …)")
    parts = [_list(part, f"a part of the {kind}") for part in whole[2:]]
    return [(_word(part[0]), part[1:]) for part in parts if part]


def _word(expression: Expression) -> str:
    if not isinstance(expression, str):
        raise GameFormatError(f"expected a word, found the list ({_text(expression)})")
    return expression


def _list(expression: Expression, what: str) -> list[Expression]:
    if isinstance(expression, str):
        raise GameFormatError(f"expected {what} in parentheses, found {expression!r}")
    return expression


def _text(expression: Expression) -> str:
    if isinstance(expression, str):
        return expression
    return " ".join(part if isinstance(part, str) else f"({_text(part)})" for part in expression)[:80]


def _typed(expressions: list[Expression]) -> Typed:
    """Names with types from `a b - t c`; names without a type have the type object."""
    names: list[str] = []
    typed: list[tuple[str, str]] = []
    words = iter(map(_word, expressions))
    for word in words:
        if word == "-":
            type_name = next(words, None)
            if type_name is None:
                raise GameFormatError(f"no type after the last - of {_text(expressions)}")
            typed += [(name, type_name) for name in names]
            names = []
        else:
            names.append(word)
    return (*typed, *((name, ROOT_TYPE) for name in names))


def _action(body: list[Expression], predicates: dict[str, int]) -> Action:
    if not body:
        raise GameFormatError("an :action of the domain has no name")
    name = _word(body[0])
    parts = dict(zip(map(_word, body[1::2]), body[2::2], strict=False))
    unknown = parts.keys() - {":parameters", ":precondition", ":effect"}
    if unknown:
        raise GameFormatError(f"action {name} uses {min(unknown)}, which is not supported")
    parameters = _typed(_list(parts.get(":parameters", []), "parameters"))
    twice = [variable for variable, times in Counter(name for name, _ in parameters).items() if times > 1]
    if twice:
        raise GameFormatError(f"action {name} has two parameters {twice[0]}")
    reader = _Reader(predicates, f"action {name}")
    scope = {variable: variable for variable, _ in parameters}
    precondition = reader.formula(parts.get(":precondition", []), scope)
    effects = reader.effects(parts.get(":effect", []), scope, (), TRUE)
    return Action(name, parameters, precondition, tuple(effects))


class _Reader:
    """Reads the formulas of one action or problem, and gives each quantified variable a unique name."""

    def __init__(self, predicates: dict[str, int], where: str) -> None:
        self.predicates = predicates
        self.where = where
        self.numbers = count(1)

    def error(self, expression: Expression, why: str) -> GameFormatError:
        return GameFormatError(f"{self.where}: ({_text(expression)}) {why}")

    def atom(self, expression: Expression, scope: dict[str, str] | None = None) -> Atom:
        fact = _list(expression, f"{self.where}: a fact")
        predicate = _word(fact[0]) if fact else ""
        arity = self.predicates.get(predicate)
        if arity is None:
            raise self.error(expression, f"has a predicate that the domain does not declare: {predicate!r}")
        if arity != len(fact) - 1:
            raise self.error(expression, f"must have {arity} arguments")
        return Atom(predicate, self.terms(list(map(_word, fact[1:])), scope or {}))

    def terms(self, words: list[str], scope: dict[str, str]) -> tuple[str, ...]:
        for word in words:
            if word.startswith("?") and word not in scope:
                raise GameFormatError(f"{self.where}: the variable {word} is not declared")
        return tuple(scope.get(word, word) for word in words)

    def quantified(
        self, expression: list[Expression], scope: dict[str, str]
    ) -> tuple[Typed, Expression, dict[str, str]]:
        """The renamed variables, the body, and the scope in which the body is read."""
        if len(expression) != 3:
            raise self.error(expression, "must have variables and one body")
        typed = _typed(_list(expression[1], "variables"))
        renamed = {name: f"{name}.{next(self.numbers)}" for name, _ in typed}
        return tuple((renamed[name], kind) for name, kind in typed), expression[2], scope | renamed

    def formula(self, expression: Expression, scope: dict[str, str]) -> Formula:
        expression = _list(expression, f"{self.where}: a condition")
        if not expression:
            return TRUE
        head, *rest = expression
        if head == "and":
            return And(tuple(self.formula(part, scope) for part in rest))
        if head == "or":
            return Or(tuple(self.formula(part, scope) for part in rest))
        if head == "not":
            if len(rest) != 1:
                raise self.error(expression, "must have one argument")
            return Not(self.formula(rest[0], scope))
        if head == "=":
            if len(rest) != 2:
                raise self.error(expression, "must have two arguments")
            left, right = self.terms(list(map(_word, rest)), scope)
            return Equal((left, right))
        if head in ("exists", "forall"):
            variables, body, inner = self.quantified(expression, scope)
            formula = self.formula(body, inner)
            # forall is expressed as: there is no choice for which the body does not hold.
            return Exists(variables, formula) if head == "exists" else Not(Exists(variables, Not(formula)))
        return self.atom(expression, scope)

    def effects(
        self, expression: Expression, scope: dict[str, str], variables: Typed, condition: Formula
    ) -> list[Effect]:
        expression = _list(expression, f"{self.where}: an effect")
        if not expression or expression[0] == "increase":
            return []
        head, *rest = expression
        if head == "and":
            return [effect for part in rest for effect in self.effects(part, scope, variables, condition)]
        if head == "forall":
            more, body, inner = self.quantified(expression, scope)
            return self.effects(body, inner, variables + more, condition)
        if head == "when":
            if len(rest) != 2:
                raise self.error(expression, "must have a condition and an effect")
            both = And((condition, self.formula(rest[0], scope)))
            return self.effects(rest[1], scope, variables, both)
        if head == "not":
            if len(rest) != 1:
                raise self.error(expression, "must have one argument")
            return [Effect(variables, condition, self.atom(rest[0], scope), False)]
        return [Effect(variables, condition, self.atom(expression, scope), True)]
