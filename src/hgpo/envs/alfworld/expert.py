"""An expert that wins official games: it knows the goal and the whole state, and needs no search.

The next command depends only on the state, so the expert can take over at any step. It chooses an action of
the domain and its objects; the wording of the command, which differs between releases, is read from the
game.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hgpo.envs.textgame.engine import Episode, Game
from hgpo.envs.textgame.errors import GameFormatError
from hgpo.envs.textgame.task_types import CLEAN, COOL, HEAT, TWO

MOST_STEPS = 60
"""Number of commands after which the search for a walkthrough stops; the longest needed has fewer than
half."""


GO, OPEN, TAKE, PUT, USE = "gotolocation", "openobject", "pickupobject", "putobject", "toggleobject"
"""Actions of ALFWorld's domain. Their parameters for the receptacle and the object are called r and o."""


@dataclass(frozen=True)
class Treatment:
    """A treatment of a thing before it is put at the target."""

    action: str
    appliance: str
    """The type of receptacle for the treatment."""
    result: str
    """The predicate that is true of the thing afterwards."""


TREATMENTS = {
    CLEAN: Treatment("cleanobject", "sinkbasintype", "isclean"),
    HEAT: Treatment("heatobject", "microwavetype", "ishot"),
    COOL: Treatment("coolobject", "fridgetype", "iscool"),
}


@dataclass(frozen=True)
class Goal:
    """The goal of a game, in the words of its PDDL problem."""

    thing: str
    """The object type that is wanted."""
    target: str | None
    """The type of receptacle for the thing; None if the task is to look at the thing under a lamp."""
    lamp: str | None
    """The object type to be switched on, if any."""
    treatment: Treatment | None
    count: int
    """Number of things that must be in the same receptacle."""


def goal_of(about: Mapping[str, Any]) -> Goal:
    """The goal described by a traj_data.json.

    Raises:
        GameFormatError: if it describes no goal.
    """
    try:
        kind, parameters = str(about["task_type"]), about["pddl_params"]
        target, lamp = (str(parameters[key] or "").lower() for key in ("parent_target", "toggle_target"))
        thing = str(parameters["object_target"]).lower()
    except (KeyError, TypeError) as error:
        raise GameFormatError(f"traj_data.json describes no goal: {error!r} is missing") from None
    return Goal(
        thing=f"{thing}type",
        target=f"{target}type" if target else None,
        lamp=f"{lamp}type" if lamp else None,
        treatment=TREATMENTS.get(kind),
        count=2 if kind == TWO else 1,
    )


def solve(game: Game, goal: Goal) -> tuple[str, ...] | None:
    """Commands that win the game from its start; None if the expert finds none."""
    episode = Episode(game)
    commands: list[str] = []
    while not episode.won:
        command = next_command(episode, goal)
        if command is None or len(commands) == MOST_STEPS:
            return None
        commands.append(command)
        episode.step(command)
    return tuple(commands)


def next_command(episode: Episode, goal: Goal) -> str | None:
    """The expert's next command: its first idea that is admissible; None if none is."""
    commands: dict[_Idea, str] = {}
    for command, call in episode.calls().items():
        idea = _Idea(call.action, call.objects.get("r"), call.objects.get("o"))
        commands.setdefault(idea, command)
    return next((commands[idea] for idea in _ideas(_State(episode), goal) if idea in commands), None)


@dataclass(frozen=True)
class _Idea:
    """Something that the expert might do."""

    action: str
    place: str | None
    thing: str | None = None


class _State:
    """The full state, arranged for the expert's queries."""

    def __init__(self, episode: Episode) -> None:
        self.kind_of_thing = _pairs(episode, "objecttype")
        self.kind_of_place = _pairs(episode, "receptacletype")
        self.location = _pairs(episode, "receptacleatlocation")
        self.closed = {place for (place,) in episode.facts("openable")} - {
            place for (place,) in episode.facts("opened")
        }
        self.here = next((location for _, location in episode.facts("atlocation")), None)
        self.held = next((thing for _, thing in episode.facts("holds")), None)
        self.lies: dict[str, list[str]] = defaultdict(list)
        for thing, place in episode.facts("inreceptacle"):
            self.lies[thing].append(place)
        self.fits = set(episode.facts("cancontain"))
        self._episode = episode

    def holds(self, predicate: str, thing: str) -> bool:
        return (thing,) in self._episode.facts(predicate)

    def things(self, kind: str) -> list[str]:
        return [thing for thing, of_kind in self.kind_of_thing.items() if of_kind == kind]

    def places(self, kind: str) -> list[str]:
        return [place for place, of_kind in self.kind_of_place.items() if of_kind == kind]

    def go(self, place: str) -> Iterator[_Idea]:
        """The way to a place, if the agent is not there."""
        if self.location.get(place) != self.here:
            yield _Idea(GO, place)

    def reach(self, place: str) -> Iterator[_Idea]:
        """The steps until the things in a place are accessible."""
        yield from self.go(place)
        if place in self.closed:
            yield _Idea(OPEN, place)


def _pairs(episode: Episode, predicate: str) -> dict[str, str]:
    """The second object of each fact by the first."""
    return {first: second for first, second in episode.facts(predicate)}


def _ideas(state: _State, goal: Goal) -> Iterator[_Idea]:
    """Steps toward the goal, the best first; not all are admissible."""
    if state.held is not None:
        if state.kind_of_thing.get(state.held) == goal.thing:
            yield from _with_the_thing(state, goal, state.held)
        yield from _get_rid_of(state, state.held)
        return
    settled = _settled(state, goal)
    for thing in state.things(goal.thing):
        if thing not in settled:
            for place in state.lies[thing]:
                yield from state.reach(place)
                yield _Idea(TAKE, place, thing)


def _with_the_thing(state: _State, goal: Goal, thing: str) -> Iterator[_Idea]:
    if goal.lamp is not None:
        for lamp in state.things(goal.lamp):
            for place in state.lies[lamp]:
                yield from state.go(place)
                yield _Idea(USE, place, lamp)
        return
    treatment = goal.treatment
    if treatment is not None and not state.holds(treatment.result, thing):
        for appliance in state.places(treatment.appliance):
            yield from state.go(appliance)
            yield _Idea(treatment.action, appliance, thing)
        return
    for place in _targets(state, goal):
        yield from state.reach(place)
        yield _Idea(PUT, place, thing)


def _get_rid_of(state: _State, thing: str) -> Iterator[_Idea]:
    """Put down a thing that is not wanted, at the current place if that is allowed."""
    kind = state.kind_of_thing.get(thing)
    places = [place for place, of_kind in state.kind_of_place.items() if (of_kind, kind) in state.fits]
    for place in sorted(places, key=lambda place: state.location.get(place) != state.here):
        yield from state.reach(place)
        yield _Idea(PUT, place, thing)


def _targets(state: _State, goal: Goal) -> list[str]:
    """The receptacles that the thing may be put into; those that already hold most of its kind come first."""
    if goal.target is None:
        return []
    places = state.places(goal.target)
    there = Counter(place for thing in state.things(goal.thing) for place in state.lies[thing])
    return sorted(places, key=lambda place: -there[place])


def _settled(state: _State, goal: Goal) -> set[str]:
    """The things of the wanted kind that are already treated and at the target."""
    if goal.target is None:
        return set()
    best = _targets(state, goal)[:1]
    return {
        thing
        for thing in state.things(goal.thing)
        if any(place in best for place in state.lies[thing])
        and (goal.treatment is None or state.holds(goal.treatment.result, thing))
    }
