"""Goals: the six task types as an instruction, as a PDDL goal and as a walkthrough."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from hgpo.envs.household.rooms import Room
from hgpo.envs.household.words import RECEPTACLES, THINGS
from hgpo.envs.textgame.task_types import LIGHT, TREATMENTS, TWO

RESULTS = {"clean": "clean", "heat": "hot", "cool": "cold"}
"""The state of the thing after each treatment."""


MOST_DETOURS = 1
"""Largest number of places that a walkthrough searches for a thing without finding it."""


@dataclass(frozen=True)
class Goal:
    """A task type with its thing and target."""

    kind: str
    """The task type, one of KINDS."""
    thing: str
    """The kind of the wanted thing."""
    target: str
    """The kind of the target receptacle; for LIGHT the lamp."""


@dataclass(frozen=True)
class Scene:
    """A furnished room at the start of a game."""

    room: Room
    """The room."""
    things: dict[str, str]
    """Kind of each thing by its identifier."""
    lies: dict[str, str]
    """The place of each thing: identifier of the receptacle."""

    def of(self, kind: str) -> list[str]:
        """Identifiers of the things of a kind."""
        return [name for name, of_kind in self.things.items() if of_kind == kind]

    def receptacles(self, kind: str) -> list[str]:
        """Identifiers of the receptacles of a kind."""
        return [name for name, of_kind in self.room.receptacles if of_kind == kind]


def words(identifier: str) -> str:
    """The name shown for an identifier: drawer_2 is shown as drawer 2."""
    return identifier.replace("_", " ")


def article(phrase: str) -> str:
    """The phrase with a or an before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def instruction(goal: Goal) -> str:
    """The task in words."""
    if goal.kind == LIGHT:
        return f"look at {article(goal.thing)} under the {goal.target}"
    what = goal.thing
    if goal.kind in TREATMENTS:
        what = f"{RESULTS[TREATMENTS[goal.kind]]} {what}"
    what = article(what)
    if goal.kind == TWO:
        # "another pen" instead of "two pens": plurals would double the number of words for things.
        what += f" and another {goal.thing}"
    return f"put {what} {preposition(goal.target)} the {goal.target}"


def preposition(receptacle_kind: str) -> str:
    """ "in" for receptacles with an inside, "on" for surfaces."""
    return "in" if RECEPTACLES[receptacle_kind].hollow else "on"


def pddl_goal(goal: Goal) -> str:
    """The goal as a PDDL condition over the final state."""
    if goal.kind == LIGHT:
        return (
            "(exists (?a - agent ?r - receptacle ?l - object ?o - object) (and"
            f" (okind ?l {goal.target}_kind) (lit ?l) (lies ?l ?r) (nearby ?a ?r)"
            f" (okind ?o {goal.thing}_kind) (holds ?a ?o)))"
        )
    there = f"(okind ?o {goal.thing}_kind) (lies ?o ?r)"
    if goal.kind in TREATMENTS:
        there += f" ({RESULTS[TREATMENTS[goal.kind]]} ?o)"
    if goal.kind == TWO:
        there += (
            f" (exists (?o2 - object) (and (not (= ?o ?o2)) (okind ?o2 {goal.thing}_kind) (lies ?o2 ?r)))"
        )
    return (
        f"(exists (?r - receptacle) (and (rkind ?r {goal.target}_kind) (exists (?o - object) (and {there}))))"
    )


@dataclass
class _Walk:
    """Collects commands, and keeps track of the agent's place and of opened receptacles."""

    scene: Scene
    detours: dict[str, list[str]]
    """The places that are searched for each thing before it is found."""
    commands: list[str] = field(default_factory=list)
    place: str | None = None
    opened: set[str] = field(default_factory=set)

    def go(self, receptacle: str) -> None:
        if self.place != receptacle:
            self.commands.append(f"go to {words(receptacle)}")
            self.place = receptacle

    def reach(self, receptacle: str) -> None:
        """Go there and make its inside accessible."""
        self.go(receptacle)
        if (
            RECEPTACLES[dict(self.scene.room.receptacles)[receptacle]].closed
            and receptacle not in self.opened
        ):
            self.commands.append(f"open {words(receptacle)}")
            self.opened.add(receptacle)

    def find(self, thing: str) -> None:
        """Look for a thing and reach the receptacle where it lies."""
        for receptacle in (*self.detours[thing], self.scene.lies[thing]):
            self.reach(receptacle)

    def take(self, thing: str) -> None:
        self.find(thing)
        self.commands.append(f"take {words(thing)}")

    def treat(self, thing: str, treatment: str, appliance: str) -> None:
        self.go(appliance)
        self.commands.append(f"{treatment} {words(thing)}")

    def put(self, thing: str, target: str) -> None:
        self.reach(target)
        self.commands.append(f"put {words(thing)}")


def _walks(goal: Goal, scene: Scene, detours: dict[str, list[str]]) -> Iterator[_Walk]:
    """Every way to the goal: one for each choice of things, appliance and target."""
    if goal.kind == LIGHT:
        for thing in scene.of(goal.thing):
            for lamp in scene.of(goal.target):
                walk = _Walk(scene, detours)
                walk.take(thing)
                walk.find(lamp)
                walk.commands.append(f"turn on {words(lamp)}")
                yield walk
        return
    for target in scene.receptacles(goal.target):
        if goal.kind == TWO:
            for pair in combinations(scene.of(goal.thing), 2):
                for order in (pair, pair[::-1]):
                    walk = _Walk(scene, detours)
                    for thing in order:
                        if scene.lies[thing] != target:
                            walk.take(thing)
                            walk.put(thing, target)
                    yield walk
        else:
            treatment = TREATMENTS.get(goal.kind)
            appliances = scene.room.appliances(treatment) if treatment else [None]
            for thing in scene.of(goal.thing):
                for appliance in appliances:
                    walk = _Walk(scene, detours)
                    walk.take(thing)
                    if treatment and appliance:
                        walk.treat(thing, treatment, appliance)
                    walk.put(thing, target)
                    yield walk


def walkthrough(goal: Goal, scene: Scene) -> tuple[str, ...]:
    """The shortest walkthrough for an agent that must search for things; always the same for a game.

    A thing is found at the first, second or third place that is searched, equally often if there are that
    many. The places searched before it are others where the thing could be. Walkthroughs therefore also show
    what to do after a place without the thing.
    """
    rng = random.Random(repr((goal, scene)))
    detours = {}
    for kind in dict.fromkeys((goal.thing, goal.target) if goal.kind == LIGHT else (goal.thing,)):
        things = scene.of(kind)
        elsewhere = [
            name
            for name, of_kind in scene.room.receptacles
            if of_kind in THINGS[kind].places and name not in {scene.lies[thing] for thing in things}
        ]
        for thing in things:
            wanted = rng.randint(0, MOST_DETOURS)
            detours[thing] = rng.sample(elsewhere, min(wanted, len(elsewhere)))
    return tuple(min((walk.commands for walk in _walks(goal, scene, detours)), key=len))
