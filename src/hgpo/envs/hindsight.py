"""Random play as texts to read, each under the task that it happens to solve.

Naming goals in hindsight comes from hindsight experience replay (arXiv 1707.01495). No expert and no reward
is used. Unlike `hgpo.envs.readings`, where the title of a text is a new goal for the same game, the game
itself is changed here: its goal is where random play ended.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from hgpo.envs.base import Reading
from hgpo.envs.episode import play_episode
from hgpo.envs.generated import TRAIN, GeneratedSuite, is_held_out
from hgpo.envs.rules import RuleGame


class HindsightSuite(GeneratedSuite):
    """A suite of generated games with goals that can be put where an episode ended."""

    @abstractmethod
    def ending_in(self, drawn: Any, state: Any) -> Any | None:
        """The same game with the goal that a state achieves; None if its start already does."""

    def readings(self, count: int, seed: int) -> Iterator[Reading]:
        """Random play of `count` training tasks without its detours, under the tasks that it solves.

        No game of the held-out split is among them.
        """
        rng = random.Random(f"{self.name} readings {seed}")
        environment = self.make()
        for task in self.tasks(TRAIN, count, seed):
            states, commands = random_play(self.game(task), self.max_steps, rng)
            solved = self.ending_in(task.game, states[-1])
            if solved is None or is_held_out(self.identity(solved)):
                continue
            task = replace(task, instruction=self.instruction(solved), game=solved)
            game = self.game(task)
            end = next(number for number, state in enumerate(states) if game.outcome(state) == "won")
            left = iter(without_detours(states[: end + 1], commands))
            played = play_episode(environment, task, lambda now, left=left: next(left, None))
            yield Reading(task, tuple(played))


def random_play(game: RuleGame[Any], most: int, rng: random.Random) -> tuple[list[Any], list[str]]:
    """Random commands from the start, at most `most`: the states, the first one included, and the commands.

    Commands that lose are taken back.
    """
    states, commands = [game.start()], []
    for _ in range(most):
        command = rng.choice(game.commands(states[-1]))
        after = game.after(states[-1], command)
        assert after is not None, "an admissible command leads somewhere"
        if game.outcome(after[0]) != "lost":
            states.append(after[0])
            commands.append(command)
        if game.outcome(states[-1]) != "playing":
            break
    return states, commands


def without_detours(states: Sequence[Hashable], commands: Sequence[str]) -> tuple[str, ...]:
    """The commands that are left when those between two visits of the same state are taken out.

    Args:
        states: the states before and after each command.
        commands: one fewer, or more, of which the last ones are ignored.
    """
    last_visit = {state: number for number, state in enumerate(states)}
    kept, number = [], last_visit[states[0]]
    while number < len(states) - 1:
        kept.append(commands[number])
        number = last_visit[states[number + 1]]
    return tuple(kept)
