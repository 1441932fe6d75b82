"""Plays a game: `compile_game` prepares what its episodes share, an `Episode` is one of them.

game = compile_game(json.load(open("game.tw-pddl")), names=demangled_names)
episode = Episode(game)
print(episode.observation, episode.admissible_commands)
episode.step("go to desk 1")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hgpo.envs.alfworld.errors import GameFormatError
from hgpo.envs.alfworld.facts import Facts, Layout, Row
from hgpo.envs.alfworld.grammar import Phrases, parse_grammar, parse_text
from hgpo.envs.alfworld.names import plain_names
from hgpo.envs.alfworld.pddl import (
    ROOT_TYPE,
    TRUE,
    Action,
    Atom,
    Domain,
    Effect,
    Not,
    Problem,
    conjuncts,
    parse_domain,
    parse_problem,
)
from hgpo.envs.alfworld.phrasing import Phrase, Phrasebook
from hgpo.envs.alfworld.queries import Binding, Scope, Step, World, collect, solutions, solve, stop

NOTHING_HAPPENS = "Nothing happens."
"""What is observed after a command that is not admissible; the state stays as it is."""

DENIED = "not_"
"""What a text grammar puts before a predicate to ask for what has been made false."""


@dataclass(frozen=True)
class _Change:
    """One effect of an action, compiled: it makes the rows that its step collects true or false."""

    predicate: int
    becomes: bool
    rows: Step


@dataclass(frozen=True)
class _Action:
    """An action of the domain, compiled. A row is the objects of its parameters."""

    applicable: Step
    """Collects the row of every way in which the action can be done."""
    reads: frozenset[int]
    """The predicates that decide which ways there are, and what they are called."""
    changes: tuple[_Change, ...]
    constants: tuple[int | None, ...]
    """What the binding of `applicable` and `changes` starts from; its first slots are the parameters'."""
    command: Phrase
    feedback: Phrase
    commands: dict[Row, str] | None
    """The commands put together so far; None if what they are called changes with the state."""


@dataclass(frozen=True)
class Game:
    """All that the episodes of one game share. No episode changes it."""

    start: Facts
    actions: tuple[_Action, ...]
    intro: Phrase
    goal: Step
    goal_constants: tuple[int | None, ...]
    goal_reads: frozenset[int]
    keyed: frozenset[int]
    """The predicates that make one state another: those that change and that something depends on."""
    predicates: tuple[str, ...]
    objects: tuple[str, ...]


class Episode:
    """One play of a game."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._facts = game.start.copy()
        # The facts that are not as they were at the start: enough to tell the states of one game apart.
        self._difference: set[tuple[int, Row]] = set()
        self._ways: list[list[tuple[str, Row]] | None] = [None] * len(game.actions)
        self._commands: dict[str, tuple[int, Row]] | None = None
        self._admissible: tuple[str, ...] = ()
        self._won: bool | None = None
        self.observation = game.intro(self._facts, ())
        """What the last command, or the start, made the game say."""

    @property
    def admissible_commands(self) -> tuple[str, ...]:
        """The commands that are understood now, sorted and distinct."""
        self._understood()
        return self._admissible

    @property
    def won(self) -> bool:
        """Whether the goal holds."""
        if self._won is None:
            self._won = self._game.goal(self._facts, [*self._game.goal_constants])
        return self._won

    @property
    def state_key(self) -> str:
        """The same text in two states of one game exactly if the same facts hold that matter to it.

        A fact matters if an action, the goal or a text depends on it. The key lists those that differ
        from the start.
        """
        game, rows = self._game, self._facts.rows
        facts = []
        for predicate, row in self._difference:
            words = " ".join([game.predicates[predicate], *(game.objects[number] for number in row)])
            facts.append(words if row in rows[predicate] else f"not {words}")
        return "; ".join(sorted(facts))

    def step(self, command: str) -> str:
        """Carry out a command and return the observation. Spaces around the command mean nothing."""
        way = self._understood().get(command.strip())
        if way is None:
            self.observation = NOTHING_HAPPENS
            return self.observation
        number, row = way
        action = self._game.actions[number]
        self._apply(action, row)
        self.observation = action.feedback(self._facts, row)
        return self.observation

    def _understood(self) -> dict[str, tuple[int, Row]]:
        """What each admissible command does: the number of an action and its row."""
        if self._commands is not None:
            return self._commands
        commands: dict[str, tuple[int, Row]] = {}
        for number, action in enumerate(self._game.actions):
            ways = self._ways[number]
            if ways is None:
                ways = self._ways[number] = self._find_ways(action)
            for text, row in ways:
                way = (number, row)
                # Of several ways with one text the first is taken: the same one, however we came here.
                if commands.setdefault(text, way) > way:
                    commands[text] = way
        self._commands = commands
        self._admissible = tuple(sorted(commands))
        return commands

    def _find_ways(self, action: _Action) -> list[tuple[str, Row]]:
        rows = solutions(action.applicable, self._facts, [*action.constants, []])
        commands = action.commands
        if commands is None:
            return [(action.command(self._facts, row), row) for row in rows]
        for row in rows:
            if row not in commands:
                commands[row] = action.command(self._facts, row)
        return [(commands[row], row) for row in rows]

    def _apply(self, action: _Action, row: Row) -> None:
        """Make the changes of an action. All are found before any is made; what is made true wins."""
        binding: Binding = [*action.constants, []]
        binding[: len(row)] = row
        found = [(change, solutions(change.rows, self._facts, binding)) for change in action.changes]
        touched: set[tuple[int, Row]] = set()
        changed: set[int] = set()
        for becomes in (False, True):
            for change, rows in found:
                if change.becomes == becomes:
                    for fact in rows:
                        if self._facts.set(change.predicate, fact, becomes):
                            touched ^= {(change.predicate, fact)}
                            changed.add(change.predicate)
        self._difference ^= {fact for fact in touched if fact[0] in self._game.keyed}
        self._forget(changed)

    def _forget(self, changed: set[int]) -> None:
        """Drop what was derived from the predicates that have changed."""
        for number, action in enumerate(self._game.actions):
            if not action.reads.isdisjoint(changed):
                self._ways[number] = None
                self._commands = None
        if not self._game.goal_reads.isdisjoint(changed):
            self._won = None


def compile_game(
    data: Mapping[str, object], names: Callable[[Iterable[str]], Mapping[str, str]] = plain_names
) -> Game:
    """A game ready to be played, from the content of a game file.

    data: what the file's JSON holds: `pddl_domain`, `grammar` and `pddl_problem`, as text.
    names: gives the names that texts show, from the identifiers of all objects that some fact is about.

    Raises GameFormatError if something is missing, broken or not supported.
    """
    for key in ("pddl_domain", "grammar", "pddl_problem"):
        if not isinstance(data.get(key), str):
            raise GameFormatError(f"a game must have the text {key!r}; this one has {sorted(map(str, data))}")
    domain = parse_domain(str(data["pddl_domain"]))
    problem = parse_problem(str(data["pddl_problem"]), domain)
    grammar = parse_grammar(str(data["grammar"]))

    types = dict((*domain.constants, *problem.objects))
    objects = tuple(sorted(types))
    numbers = {identifier: number for number, identifier in enumerate(objects)}
    layout = Layout()
    layout.fluents = {
        layout.predicate(effect.atom.predicate) for action in domain.actions for effect in action.effects
    }
    rows = _start(problem, layout, numbers)
    start: dict[int, list[Row]] = {}
    for predicate, row in rows:
        start.setdefault(predicate, []).append(row)
    arities = {f"{DENIED}{name}": arity for name, arity in domain.predicates.items()} | domain.predicates
    world = World(layout, numbers, _members(domain, types, numbers), start, arities)

    spoken = names([objects[number] for number in {number for _, row in rows for number in row}])
    attributes = {
        "name": [spoken.get(identifier, identifier) for identifier in objects],
        "indefinite": ["a"] * len(objects),
        "definite": ["the"] * len(objects),
        "id": list(objects),
        "type": [types[identifier] for identifier in objects],
    }
    book = Phrasebook(world, grammar.rules, attributes)
    read: set[int] = set()
    actions = []
    for action in domain.actions:
        if action.name not in grammar.actions:
            raise GameFormatError(f"the grammar has no action {action.name}, which the domain has")
        actions.append(_compile_action(action, grammar.actions[action.name], book, read))
    intro = book.phrase(parse_text("#intro#"))
    goal_scope = Scope(world)
    goal = solve(goal_scope, problem.goal, (), frozenset(), stop)
    read |= intro.reads | goal_scope.reads

    for name, predicate in list(layout.predicates.items()):
        if name not in domain.predicates and layout.predicate(name.removeprefix(DENIED)) in layout.fluents:
            layout.denials[layout.predicate(name.removeprefix(DENIED))] = predicate
    keyed = frozenset(read & layout.fluents)
    layout.fluents |= set(layout.denials.values())
    return Game(
        start=Facts(layout, rows),
        actions=tuple(actions),
        intro=intro,
        goal=goal,
        goal_constants=goal_scope.constant_values(),
        goal_reads=frozenset(goal_scope.reads),
        keyed=keyed,
        predicates=tuple(layout.predicates),
        objects=objects,
    )


def _start(problem: Problem, layout: Layout, numbers: Mapping[str, int]) -> list[tuple[int, Row]]:
    """The facts of the start as predicates and rows."""
    facts = []
    for atom in problem.facts:
        for term in atom.terms:
            if term not in numbers:
                raise GameFormatError(f"the problem speaks of {term}, which is none of its objects")
        facts.append((layout.predicate(atom.predicate), tuple(numbers[term] for term in atom.terms)))
    return facts


def _members(
    domain: Domain, types: Mapping[str, str], numbers: Mapping[str, int]
) -> dict[str, frozenset[int]]:
    """The objects of every type, those of its subtypes among them."""
    members: dict[str, set[int]] = {name: set() for name in (ROOT_TYPE, *domain.parents)}
    for identifier, kind in types.items():
        above = {ROOT_TYPE}
        while kind not in above:
            above.add(kind)
            kind = domain.parents.get(kind, ROOT_TYPE)
        for name in above:
            members.setdefault(name, set()).add(numbers[identifier])
    return {name: frozenset(objects) for name, objects in members.items()}


def _compile_action(action: Action, phrases: Phrases, book: Phrasebook, read: set[int]) -> _Action:
    """Compile one action, and add to `read` the predicates on which anything about it depends."""
    scope = Scope(book.world)
    parameters = [name for name, _ in action.parameters]
    for name in parameters:
        scope.slot(name)
    found = _unless_idle(scope, action, collect(scope, parameters))
    applicable = solve(scope, action.precondition, action.parameters, frozenset(), found)
    command = book.phrase(phrases.template, action.parameters)
    feedback = book.phrase(phrases.feedback, action.parameters)
    reads = command.reads.union(scope.reads)
    changes = tuple(_compile_effect(scope, effect, frozenset(parameters)) for effect in action.effects)
    read |= reads | scope.reads | feedback.reads
    return _Action(
        applicable=applicable,
        reads=reads,
        changes=changes,
        constants=scope.constant_values(),
        command=command,
        feedback=feedback,
        commands={} if command.reads.isdisjoint(book.world.layout.fluents) else None,
    )


def _compile_effect(scope: Scope, effect: Effect, bound: frozenset[str]) -> _Change:
    predicate = scope.world.layout.predicate(effect.atom.predicate)
    rows = solve(scope, effect.condition, effect.variables, bound, collect(scope, effect.atom.terms))
    return _Change(predicate, effect.becomes, rows)


def _unless_idle(scope: Scope, action: Action, then: Step) -> Step:
    """A step that leaves out the ways of an action that could never change anything.

    The reference's planner drops them: going to where one is already is no command. Such a way has
    effects that the precondition itself states already.
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
        # What the same action makes true is not made false.
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
