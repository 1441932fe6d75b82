"""Random play as texts to read, each under the task that it happens to solve (see `hgpo.envs.hindsight`)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hgpo.envs.crafting.game import LACKING, CraftingGame, State
from hgpo.envs.crafting.recipes import RecipeBook, depth_of, needed_for
from hgpo.envs.rules import state_after

COMMANDS = 40
"""Number of random commands in a play."""
MOST_AT_ONCE = 2
"""Largest number in a random command."""


def random_commands(book: RecipeBook, rng: random.Random) -> list[str]:
    """Random commands with the names in a book: half of them get a material, the others craft a thing."""
    things = [*book.ingredients]
    materials = sorted({part for _, parts in book.recipes for part, _ in parts} - {*things})
    return [
        f"{verb} {rng.randint(1, MOST_AT_ONCE)} {rng.choice(names)}"
        for verb, names in rng.choices((("get", materials), ("craft", things)), k=COMMANDS)
    ]


def solved_by(book: RecipeBook, commands: Sequence[str]) -> tuple[RecipeBook, tuple[str, ...]] | None:
    """The book with the deepest thing that was crafted as its target, and the commands that helped.

    Args:
        book: the recipes; the target does not matter.
        commands: "get" or "craft", a number and a name each.

    Returns:
        None if nothing was crafted.
    """
    game = CraftingGame(book, show_inventory=True)
    state, ends = game.start(), dict[str, int]()
    for number, command in enumerate(commands, 1):
        after = game.after(state, command)
        if after is not None:
            state = after[0]
        for thing, _ in state:
            if thing in book.ingredients:
                ends.setdefault(thing, number)
    if not ends:
        return None
    target = max(ends, key=lambda thing: depth_of(book, thing))
    solved = replace(book, target=target, depth=depth_of(book, target))
    return solved, tuple(_helpful(replace(game, book=solved), commands[: ends[target]]))


def _helpful(game: CraftingGame, commands: Sequence[str]) -> Iterator[str]:
    """The commands without which the target would not be crafted in the end.

    Before a command comes the last attempt to craft something that the target needs, if its answer says that
    the thing of the command is lacking; and so on before this attempt.
    """
    kept = [*range(len(commands))]
    for number in reversed(range(len(commands))):
        rest = [other for other in kept if other != number]
        if game.outcome(state_after(game, [commands[other] for other in rest])) == "won":
            kept = rest
    needed, start, state = needed_for(game.book), 0, game.start()
    for number in kept:
        lacking, chain = _thing(commands[number]), [commands[number]]
        for command in reversed(commands[start:number]):
            if _thing(command) in needed and lacking in _lacking(game, state, command):
                lacking, chain = _thing(command), [command, *chain]
        yield from chain
        state, start = state_after(game, [commands[number]], state), number + 1


def _thing(command: str) -> str:
    """What a command is to get or craft."""
    return command.split()[2]


def _lacking(game: CraftingGame, state: State, command: str) -> list[str]:
    """The things that the answer to a command calls lacking."""
    after = game.after(state, command)
    return re.findall("[a-z]+", after[1].partition(LACKING)[2]) if after else []
