"""Generates games in the format of ALFWorld's game files; the same identifier always gives the same game."""

from __future__ import annotations

import random
import re
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args
from zlib import crc32

from hgpo.envs.base import Task
from hgpo.envs.household.goals import Goal, Scene, instruction, pddl_goal, walkthrough
from hgpo.envs.household.rooms import Room, larger_rooms, named, rooms
from hgpo.envs.household.words import RECEPTACLES, ROOMS, THINGS, in_new_words
from hgpo.envs.textgame.task_types import KINDS, LIGHT, PICK, SPLITS, TRAIN, TREATMENTS, TWO, UNSEEN

Variant = Literal["usual", "larger_rooms", "new_words"]
VARIANTS = get_args(Variant)
"""Kinds of games: the usual ones, games in rooms with twice as many receptacles, and games with other words
for portable things."""
MOST_AT_ONE_PLACE = 3
"""Largest number of things at one place at the start, which keeps observations short."""


@cache
def logic() -> tuple[str, str]:
    """The PDDL domain and the text grammar, the same for all games."""
    here = files("hgpo.envs.household")
    return (here / "household.pddl").read_text("utf-8"), (here / "household.twl2").read_text("utf-8")


def generate(task_id: str) -> Task:
    """The game with an identifier such as train/123, which determines everything about it.

    Games of another variant have its name before it, as in larger_rooms/train/123. The task type is the
    number modulo six. A checksum assigns every possible game to training or to the held-out splits; if a game
    belongs to the other side, another one is drawn, so no training number gives a held-out game.
    """
    found = re.fullmatch(f"(?:({'|'.join(VARIANTS[1:])})/)?({'|'.join(SPLITS)})/([0-9]+)", task_id)
    if found is None:
        raise ValueError(
            f"{task_id!r} is not a household game: expected SPLIT/NUMBER with {', '.join(SPLITS)} as splits, "
            f"or one of {', '.join(VARIANTS[1:])} and a slash before it"
        )
    variant, split, number = found.groups()
    rng = random.Random(f"household {split} {int(number)}")
    kind = KINDS[int(number) % len(KINDS)]
    while True:
        goal, scene = draw(rng, kind, _rooms_for(variant, split, kind))
        if _is_held_out(goal, scene) == (split != TRAIN):
            break
    game = as_game(goal, scene)
    if variant == "new_words":
        game = renamed(game)
    return Task(task_id, kind, game["goal"], game)


def renamed(game: dict[str, Any]) -> dict[str, Any]:
    """The game with the words of `NEW_WORDS` for its portable things."""
    return game | {
        "pddl_problem": in_new_words(game["pddl_problem"]),
        "walkthrough": list(map(in_new_words, game["walkthrough"])),
        "goal": in_new_words(game["goal"]),
    }


def _is_held_out(goal: Goal, scene: Scene) -> bool:
    """Whether a game belongs to the quarter of all games that is held out from training."""
    content = " ".join(
        [scene.room.id, goal.kind, goal.thing, goal.target, *sorted(map("@".join, scene.lies.items()))]
    )
    return crc32(content.encode()) % 4 == 0


def as_game(goal: Goal, scene: Scene) -> dict[str, Any]:
    """A game in the form of ALFWorld's files; all values can be written as JSON."""
    domain, grammar = logic()
    return {
        "pddl_domain": domain,
        "grammar": grammar,
        "pddl_problem": pddl_problem(goal, scene),
        "solvable": True,
        "walkthrough": list(walkthrough(goal, scene)),
        "task_type": goal.kind,
        "goal": instruction(goal),
        "room": scene.room.id,
    }


@cache
def _rooms_for(variant: str | None, split: str, kind: str) -> tuple[Room, ...]:
    """The rooms of a split in which a task type is possible."""
    train, apart = larger_rooms() if variant == "larger_rooms" else rooms()
    candidates = apart if split == UNSEEN else train
    return tuple(room for room in candidates if goals_in(room, kind))


def _places(thing: str, room: Room) -> list[str]:
    """Kinds of receptacle in the room that may hold the thing."""
    return [place for place in THINGS[thing].places if place in room.kinds()]


@cache
def goals_in(room: Room, kind: str) -> dict[str, tuple[str, ...]]:
    """The possible goals in a room: targets by thing."""
    treatment = TREATMENTS.get(kind)
    if treatment and not room.appliances(treatment):
        return {}
    if kind == LIGHT and ("lamp" not in ROOMS[room.kind].things or not _places("lamp", room)):
        return {}
    goals: dict[str, tuple[str, ...]] = {}
    for thing in ROOMS[room.kind].things:
        places = _places(thing, room)
        if not places or not THINGS[thing].portable:
            continue
        if kind == LIGHT:
            goals[thing] = ("lamp",)
        elif treatment is None:
            # The thing must be at another kind of place at the start.
            if len(places) > 1:
                goals[thing] = tuple(places)
        elif treatment in THINGS[thing].treatments:
            # The target is not the appliance, so that the treatment is a separate step.
            targets = tuple(place for place in places if RECEPTACLES[place].does != treatment)
            if targets:
                goals[thing] = targets
    return goals


def draw(rng: random.Random, kind: str, candidates: tuple[Room, ...]) -> tuple[Goal, Scene]:
    """A goal of the task type in one of the rooms, with things placed so that it is not yet achieved."""
    room = rng.choice(candidates)
    goals = goals_in(room, kind)
    thing = rng.choice(list(goals))
    goal = Goal(kind, thing, rng.choice(goals[thing]))
    while (scene := furnish(rng, room, goal)) is None:
        pass
    return goal, scene


def furnish(rng: random.Random, room: Room, goal: Goal) -> Scene | None:
    """The room with 2 to 4 things: those of the goal and others; None if the goal's things have no place."""
    needed = ["lamp"] if goal.kind == LIGHT else []
    needed += [goal.thing] * (1 + (goal.kind == TWO))
    others = [thing for thing in ROOMS[room.kind].things if thing not in needed]
    rng.shuffle(others)
    wanted = rng.randint(2, 4)
    where: list[tuple[str, str]] = []
    room_left = {name: MOST_AT_ONE_PLACE for name, _ in room.receptacles}
    for index, thing in enumerate(needed + others):
        if index >= len(needed) and len(where) == wanted:
            break
        # No wanted thing starts at its target, except a thing that must be treated first.
        avoid = goal.target if thing == goal.thing and goal.kind in (PICK, TWO) else None
        place = _place(rng, thing, room, room_left, avoid)
        if place:
            where.append((thing, place))
            room_left[place] -= 1
        elif index < len(needed):
            return None
    where.sort(key=lambda pair: pair[0])
    names = named([thing for thing, _ in where])
    lies = {name: place for (name, _), (_, place) in zip(names, where, strict=True)}
    return Scene(room, dict(names), lies)


def _place(
    rng: random.Random, thing: str, room: Room, room_left: dict[str, int], avoid: str | None
) -> str | None:
    """A receptacle with space for a thing; the thing's usual places are three times as likely."""
    row = THINGS[thing]
    weights = {
        name: 3 if kind in row.home else 1
        for name, kind in room.receptacles
        if kind in row.places and kind != avoid and room_left[name]
    }
    return rng.choices(list(weights), list(weights.values()))[0] if weights else None


def pddl_problem(goal: Goal, scene: Scene) -> str:
    """The start state and the goal as a PDDL problem."""
    objects = ["player - agent"]
    init = ["(midroom player)"]
    for name, kind in scene.room.receptacles:
        objects.append(f"{name} - receptacle")
        row = RECEPTACLES[kind]
        init.append(f"(rkind {name} {kind}_kind)")
        if row.closed:
            init.append(f"(closed {name})")
        if row.does:
            init.append(f"({row.does}s {name})")
    for name, kind in scene.things.items():
        objects.append(f"{name} - object")
        row = THINGS[kind]
        init.append(f"(okind {name} {kind}_kind)")
        init.append(f"(portable {name})" if row.portable else f"(lightsource {name})")
        init += [f"({treatment}able {name})" for treatment in row.treatments]
        init += [f"(suits {name} {place})" for place, of in scene.room.receptacles if of in row.places]
        init.append(f"(lies {name} {scene.lies[name]})")
    objects += [f"{kind}_kind - rtype" for kind in sorted(scene.room.kinds())]
    objects += [f"{kind}_kind - otype" for kind in sorted(set(scene.things.values()))]
    return "\n".join(
        [
            "(define (problem household-game)",
            " (:domain household)",
            " (:objects",
            *(f"    {line}" for line in objects),
            " )",
            " (:init",
            *(f"    {line}" for line in init),
            " )",
            f" (:goal {pddl_goal(goal)})",
            ")",
            "",
        ]
    )
