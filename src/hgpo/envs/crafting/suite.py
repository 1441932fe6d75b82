"""Crafting as a benchmark: its splits, settings and words."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from hgpo.envs.base import Reading, Task
from hgpo.envs.crafting.game import COMMANDS, MESSAGES, CraftingGame, State, held
from hgpo.envs.crafting.readings import random_commands, solved_by
from hgpo.envs.crafting.recipes import MATERIALS, MOST_OF_EACH, THINGS, RecipeBook, draw_book, plan
from hgpo.envs.episode import play_episode
from hgpo.envs.generated import TRAIN, GeneratedSuite, is_held_out
from hgpo.envs.rules import NOTHING_HAPPENS
from hgpo.envs.setting_checks import require_range
from hgpo.envs.state_keys import StateKeyName


@dataclass(frozen=True)
class CraftingSuite(GeneratedSuite):
    """Crafting: get materials and craft what the task asks for, by recipes that differ from task to task."""

    name: ClassVar[str] = "crafting"
    max_steps: int = 12
    """An episode is truncated after this many commands."""
    state_key: StateKeyName = "full_state"
    """The key by which the estimator compares states; the full state is what is in the inventory."""
    depth: int = 2
    """Longest chain of recipes in a task, 1 to 4; tasks of the split "larger" have one more."""
    show_inventory: bool = True
    """Whether every observation shows the inventory, or only the answer to the command inventory, as in
    TextCraft."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "depth", 1, 4)
        # A material per recipe, and the recipe itself, always suffice for some books.
        require_range(self, "max_steps", 2 * (self.depth + 1))

    def draw(self, rng: random.Random, larger: bool) -> RecipeBook:
        """Recipes of a depth up to that of the settings, or of one more."""
        return draw_book(rng, self.depth + 1 if larger else rng.randint(1, self.depth), self.max_steps)

    def identity(self, drawn: RecipeBook) -> Hashable:
        """What is to be crafted, and the recipes, in whatever order they are listed."""
        return drawn.target, sorted(drawn.recipes)

    def kind(self, drawn: RecipeBook) -> str:
        """The depth."""
        return f"depth {drawn.depth}"

    def instruction(self, drawn: RecipeBook) -> str:
        """What is to be crafted, and all recipes."""
        return f"craft 1 {drawn.target}. recipes: {drawn.text()}."

    def game(self, task: Task) -> CraftingGame:
        """The game of the task's recipes."""
        return CraftingGame(task.game, self.show_inventory)

    def solution(self, task: Task, state: State) -> tuple[str, ...]:
        """The fewest commands that craft the target."""
        return plan(task.game, dict(state))

    def readings(self, count: int, seed: int) -> Iterator[Reading]:
        """Random play with the recipes of `count` training tasks, under the tasks that it solves.

        No task of the held-out split is among them.
        """
        rng = random.Random(f"{self.name} readings {seed}")
        environment = self.make()
        for task in self.tasks(TRAIN, count, seed):
            solved = solved_by(task.game, random_commands(task.game, rng))
            if solved is None or is_held_out(self.identity(solved[0])) or len(solved[1]) > self.max_steps:
                continue
            book, commands = solved
            task = replace(task, kind=self.kind(book), instruction=self.instruction(book), game=book)
            left = iter(commands)
            played = play_episode(environment, task, lambda now, left=left: next(left, None))
            yield Reading(task, tuple(played))

    def texts(self) -> Iterator[str]:
        """Everything that is said, all things and all numbers."""
        yield from (NOTHING_HAPPENS, *MESSAGES, held(()))
        yield " ".join(COMMANDS)
        yield "recipes: 1 from 2, ; . using"
        yield " ".join((*MATERIALS, *THINGS, *map(str, range(MOST_OF_EACH + 1))))
