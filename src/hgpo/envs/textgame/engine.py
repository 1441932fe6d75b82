"""Plays games: `compile_game` prepares what all episodes of a game share; an `Episode` is one play of it.

game = compile_game(json.load(open("game.tw-pddl")), names=hgpo.envs.alfworld.demangled_names)
episode = Episode(game)
print(episode.observation, episode.admissible_commands)
episode.step("go to desk 1")
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from hgpo.envs.textgame.errors import GameFormatError
from hgpo.envs.textgame.facts import Facts, Layout, Objects, Row
from hgpo.envs.textgame.grammar import parse_grammar, parse_text
from hgpo.envs.textgame.names import plain_names
from hgpo.envs.textgame.pddl import ROOT_TYPE, Domain, Problem, parse_problem
from hgpo.envs.textgame.phrasing import Phrase, compile_phrase
from hgpo.envs.textgame.queries import Binding, Scope, Step, solutions, solve, stop
from hgpo.envs.textgame.rules import CompiledAction, compile_domain

TEXTS = ("pddl_domain", "grammar", "pddl_problem")
"""The texts of a game, by their names in its file."""
NOTHING_HAPPENS = "Nothing happens."
"""The observation after a command that is not admissible; the state does not change."""


@dataclass(frozen=True)
class _Action:
    """An action, prepared for one game."""

    rules: CompiledAction
    constants: tuple[int | None, ...]
    """The initial binding of the rules, with the constants filled in."""
    command: Phrase
    feedback: Phrase
    reads: frozenset[int]
    """The predicates that determine the ways to do the action, and their commands."""
    commands: dict[Row, str] | None
    """The commands made so far; None if the wording depends on the state."""


@dataclass(frozen=True)
class Call:
    """The effect of a command, in the terms of the domain instead of the grammar."""

    action: str
    """The name of the action, in lower case."""
    objects: Mapping[str, str]
    """By parameter name without "?", the identifier of the object that it stands for."""


@dataclass
class _Situation:
    """Cached results for one state of a game; each is computed when it is first needed."""

    commands: dict[str, tuple[int, Row]] | None = None
    """For each admissible command, the number of an action and its row."""
    admissible: tuple[str, ...] = ()
    """The commands, sorted."""
    won: bool | None = None
    key: str | None = None
    said: dict[tuple[int, Row], str] = field(default_factory=dict)
    """The observation in this state after an action with its row."""


MOST_SITUATIONS = 200
"""Number of states per game with cached results; each takes some kilobytes."""


@dataclass(frozen=True)
class Game:
    """The data that all episodes of one game share: rules, which never change, and cached results."""

    start: Facts
    actions: tuple[_Action, ...]
    intro: Phrase
    goal: Step
    goal_constants: tuple[int | None, ...]
    keyed: frozenset[int]
    """The predicates that distinguish states: actions change them, and something depends on them."""
    predicates: tuple[str, ...]
    """The name of each predicate."""

    situations: dict[frozenset[tuple[int, Row]], _Situation] = field(default_factory=dict)
    """Cached results by the set of facts that differ from the start."""

    def situation(self, changes: frozenset[tuple[int, Row]]) -> _Situation:
        """The cached results for the state with these differences from the start."""
        known = self.situations.get(changes)
        if known is None:
            if len(self.situations) >= MOST_SITUATIONS:
                self.situations.clear()
            known = self.situations[changes] = _Situation()
        return known

    @cached_property
    def opening(self) -> str:
        """The text at the start of the game."""
        return self.intro(self.start, ())

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each predicate."""
        return {name: number for number, name in enumerate(self.predicates)}


class Episode:
    """One play of a game."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._facts = game.start.copy()
        # The facts that differ from the start, which identify a state of one game.
        self._changes: frozenset[tuple[int, Row]] = frozenset()
        self._known = game.situation(self._changes)
        self._ways: list[list[tuple[str, Row]] | None] = [None] * len(game.actions)
        self.observation = game.opening
        """The text after the last command, or at the start."""

    @property
    def admissible_commands(self) -> tuple[str, ...]:
        """The commands that are understood in this state, sorted and distinct."""
        self._understood()
        return self._known.admissible

    @property
    def won(self) -> bool:
        """Whether the goal holds."""
        if self._known.won is None:
            self._known.won = self._game.goal(self._facts, [*self._game.goal_constants])
        return self._known.won

    @property
    def state_key(self) -> str:
        """A text that is equal in two states of one game if and only if the same relevant facts hold.

        A fact is relevant if an action, the goal or a text depends on it. The key lists those that differ
        from the start.
        """
        if self._known.key is None:
            self._known.key = self._find_key()
        return self._known.key

    def _find_key(self) -> str:
        names, ids, rows = self._game.predicates, self._facts.objects.ids, self._facts.rows
        facts = []
        for predicate, row in self._changes:
            if predicate not in self._game.keyed:
                continue
            words = " ".join([names[predicate], *(ids[number] for number in row)])
            facts.append(words if row in rows[predicate] else f"not {words}")
        return "; ".join(sorted(facts))

    def facts(self, predicate: str) -> list[tuple[str, ...]]:
        """All facts of a predicate in the current state: the identifiers of each fact's objects, sorted."""
        number = self._game.numbers.get(predicate)
        ids = self._facts.objects.ids
        return (
            sorted(tuple(ids[i] for i in row) for row in self._facts.rows[number])
            if number is not None
            else []
        )

    def calls(self) -> dict[str, Call]:
        """The effect of each admissible command; the commands are those of `admissible_commands`."""
        ids = self._facts.objects.ids
        found = {}
        for command, (number, row) in self._understood().items():
            rules = self._game.actions[number].rules
            names = (name.removeprefix("?") for name, _ in rules.parameters)
            found[command] = Call(rules.name, dict(zip(names, (ids[i] for i in row), strict=True)))
        return found

    def step(self, command: str) -> str:
        """Carry out a command and return the observation. Spaces around the command are ignored."""
        way = self._understood().get(command.strip())
        if way is None:
            self.observation = NOTHING_HAPPENS
            return self.observation
        number, row = way
        action = self._game.actions[number]
        self._apply(action, row)
        said = self._known.said.get(way)
        if said is None:
            said = self._known.said[way] = action.feedback(self._facts, row)
        self.observation = said
        return said

    def fork(self) -> Episode:
        """A copy of this episode in its current state; both then continue independently."""
        new = copy.copy(self)
        new._facts = self._facts.copy()
        # The elements of these lists are replaced, never changed, so a shallow copy is enough.
        new._ways = list(self._ways)
        return new

    def _understood(self) -> dict[str, tuple[int, Row]]:
        """For each admissible command, the number of an action and its row."""
        if self._known.commands is not None:
            return self._known.commands
        commands: dict[str, tuple[int, Row]] = {}
        for number, action in enumerate(self._game.actions):
            ways = self._ways[number]
            if ways is None:
                ways = self._ways[number] = self._find_ways(action)
            for text, row in ways:
                way = (number, row)
                # Of several ways with the same text the smallest is used, independently of earlier commands.
                if commands.setdefault(text, way) > way:
                    commands[text] = way
        # The commands are set last: another thread that finds them assumes that all else is set.
        self._known.admissible = tuple(sorted(commands))
        self._known.commands = commands
        return commands

    def _find_ways(self, action: _Action) -> list[tuple[str, Row]]:
        rows = solutions(action.rules.applicable, self._facts, [*action.constants, []])
        commands = action.commands
        if commands is None:
            return [(action.command(self._facts, row), row) for row in rows]
        for row in rows:
            if row not in commands:
                commands[row] = action.command(self._facts, row)
        return [(commands[row], row) for row in rows]

    def _apply(self, action: _Action, row: Row) -> None:
        """Make an action's changes. All are determined before any is made; additions override deletions."""
        binding: Binding = [*action.constants, []]
        binding[: len(row)] = row
        found = [(change, solutions(change.facts, self._facts, binding)) for change in action.rules.changes]
        touched: set[tuple[int, Row]] = set()
        changed: set[int] = set()
        for becomes in (False, True):
            for change, rows in found:
                if change.becomes == becomes:
                    for fact in rows:
                        if self._facts.set(change.predicate, fact, becomes):
                            touched ^= {(change.predicate, fact)}
                            changed.add(change.predicate)
        if touched:
            self._changes ^= touched
            self._known = self._game.situation(self._changes)
        for number, other in enumerate(self._game.actions):
            if not other.reads.isdisjoint(changed):
                self._ways[number] = None


def compile_game(
    data: Mapping[str, object], names: Callable[[Iterable[str]], Mapping[str, str]] = plain_names
) -> Game:
    """A game ready to be played, made from the content of a game file.

    data: the content of the file's JSON, with each of `TEXTS`.
    names: returns the names that texts show, given the identifiers of all objects that occur in facts.

    Raises GameFormatError if something is missing, broken or not supported.
    """
    for key in TEXTS:
        if not isinstance(data.get(key), str):
            raise GameFormatError(f"a game must have the text {key!r}; this one has {sorted(map(str, data))}")
    rules = compile_domain(str(data["pddl_domain"]))
    problem = parse_problem(str(data["pddl_problem"]), rules.domain)
    grammar = parse_grammar(str(data["grammar"]))
    layout = rules.layout

    types = dict((*rules.domain.constants, *problem.objects))
    ids = tuple(sorted(types))
    numbers = {identifier: number for number, identifier in enumerate(ids)}
    actions = []
    for action in rules.actions:
        if action.name not in grammar.actions:
            raise GameFormatError(f"the grammar has no action {action.name}, which the domain has")
        phrases = grammar.actions[action.name]
        command = compile_phrase(layout, grammar, phrases.template, action.parameters)
        feedback = compile_phrase(layout, grammar, phrases.feedback, action.parameters)
        reads = action.reads | command.reads
        fixed = command.reads.isdisjoint(layout.fluents)
        constants = action.scope.constants(numbers)
        actions.append(_Action(action, constants, command, feedback, reads, {} if fixed else None))
    intro = compile_phrase(layout, grammar, parse_text("#intro#"))
    goal_scope = Scope(layout)
    goal = solve(goal_scope, problem.goal, (), frozenset(), stop)

    rows = _start(problem, layout, numbers)
    spoken = names([ids[number] for number in {number for _, row in rows for number in row}])
    attributes = {
        "name": [spoken.get(identifier, identifier) for identifier in ids],
        "indefinite": ["a"] * len(ids),
        "definite": ["the"] * len(ids),
        "id": ids,
        "type": [types[identifier] for identifier in ids],
    }
    objects = Objects(ids, _members(rules.domain, layout, types, numbers), attributes)
    read = intro.reads.union(
        goal_scope.reads,
        *(action.reads | action.feedback.reads | action.rules.scope.reads for action in actions),
    )
    return Game(
        start=Facts(layout, objects, rows),
        actions=tuple(actions),
        intro=intro,
        goal=goal,
        goal_constants=goal_scope.constants(numbers),
        keyed=read & layout.fluents - set(layout.denials.values()),
        predicates=tuple(layout.predicates),
    )


def _start(problem: Problem, layout: Layout, numbers: Mapping[str, int]) -> list[tuple[int, Row]]:
    """The facts of the start as predicates and rows."""
    facts = []
    for atom in problem.facts:
        for term in atom.terms:
            if term not in numbers:
                raise GameFormatError(f"the problem uses {term}, which is not one of its objects")
        facts.append((layout.predicate(atom.predicate), tuple(numbers[term] for term in atom.terms)))
    return facts


def _members(
    domain: Domain, layout: Layout, types: Mapping[str, str], numbers: Mapping[str, int]
) -> tuple[frozenset[int], ...]:
    """The objects of every type of the layout, including those of its subtypes."""
    members: dict[str, set[int]] = {name: set() for name in layout.types}
    for identifier, kind in types.items():
        above = {ROOT_TYPE}
        while kind not in above:
            above.add(kind)
            kind = domain.parents.get(kind, ROOT_TYPE)
        for name in above & members.keys():
            members[name].add(numbers[identifier])
    return tuple(map(frozenset, members.values()))
