"""Finds deeds in a game that a task of ALFWorld's six types could ask for, whatever its actual task is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hgpo.envs.episode import Transition
from hgpo.envs.textgame.task_types import LIGHT, PICK, TREATMENTS, TWO

_COMMAND = re.compile(
    r"(go to|take|put|move|clean|heat|cool|turn on|use) (.+?)(?: (?:from|to|in/on|with) (.+))?"
)
_KIND_OF = {treatment: kind for kind, treatment in TREATMENTS.items()}


@dataclass(frozen=True)
class Deed:
    """Something that was done and that a task of one of the six types could ask for."""

    steps: int
    """Number of steps after which it was done."""
    kind: str
    """The task type, one of KINDS."""
    thing: str
    """The kind of thing."""
    target: str
    """The kind of place where it was put; for LIGHT the lamp."""


def deeds(steps: Sequence[Transition[Any]]) -> Iterator[Deed]:
    """The deeds of an episode, in order.

    These are: putting a treated thing somewhere, putting an untreated thing at a different place than it was
    taken from, putting a second thing of a kind at the same place, and turning on a lamp with a thing in
    hand.

    Args:
        steps: the steps of an episode from its start, with commands that the game understood.
    """
    here = held = ""
    taken_from: dict[str, str] = {}
    treatment: dict[str, str] = {}
    put_to: dict[str, str] = {}
    for number, step in enumerate(steps, 1):
        command = _COMMAND.fullmatch(step.command)
        if command is None:
            continue
        verb, name, place = command[1], command[2], command[3] or here
        if verb == "go to":
            here = name
        elif verb == "take":
            held, taken_from[name] = name, place
            put_to.pop(name, None)
        elif verb in _KIND_OF:
            treatment[name] = verb
        elif verb in ("turn on", "use"):
            if held:
                yield Deed(number, LIGHT, _kind(held), _kind(name))
        elif name in treatment:
            held = ""
            yield Deed(number, _KIND_OF[treatment[name]], _kind(name), _kind(place))
        else:
            held = ""
            if taken_from[name] != place:
                yield Deed(number, PICK, _kind(name), _kind(place))
                if any(_kind(other) == _kind(name) and put_to[other] == place for other in put_to):
                    yield Deed(number, TWO, _kind(name), _kind(place))
                put_to[name] = place


def _kind(name: str) -> str:
    """The kind of a thing or place, without the number at the end of its name: drawer 2 is a drawer."""
    return name.rstrip(" 0123456789")
