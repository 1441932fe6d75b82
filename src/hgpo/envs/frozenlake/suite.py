"""FrozenLake as a benchmark: what is seen, the commands, and the splits."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

from hgpo.envs.base import Task
from hgpo.envs.frozenlake.expert import best_success, foreseen, next_command, walk
from hgpo.envs.frozenlake.lake import Lake, State, draw_lake, way_from_start
from hgpo.envs.frozenlake.memory import success_without_memory, way_from_fork
from hgpo.envs.grids import Form, inside_of, places_from, rows_of
from hgpo.envs.hindsight import HindsightSuite
from hgpo.envs.rules import Outcome, state_after
from hgpo.envs.setting_checks import require_range
from hgpo.errors import SettingError

PLAYER, ICE, HOLE, GOAL, FALLEN, ARRIVED, KEY, DOOR = "P_OGX√KD"
"""The signs of the map: RAGEN's, a key and a door."""

MOST_SIZE = 8
"""Largest number of rows and columns."""

INSTRUCTIONS = {
    "lake": "walk over the ice to the goal. do not step into a hole.",
    "slippery lake": "walk over the slippery ice to the goal. do not slip into a hole.",
    "lake with a key": "fetch the key, then walk through the door to the goal. do not step into a hole.",
}
"""Instructions by kind of lake."""


@lru_cache(4096)
def signs_of(lake: Lake) -> tuple[str, ...]:
    """The sign of every cell without the player and the key."""
    special = {lake.goal: GOAL} | ({} if lake.door is None else {lake.door: DOOR})
    cells = range(lake.width**2)
    return tuple(special.get(cell) or (HOLE if lake.holes >> cell & 1 else ICE) for cell in cells)


@dataclass(frozen=True)
class LakeGame:
    """A lake in one of the two forms in which it can be shown."""

    lake: Lake
    form: Form = "grid"

    def start(self) -> State:
        """The state at the start."""
        return State(self.lake.start)

    def opening(self) -> str:
        """Nothing: everything can be seen."""
        return ""

    def look(self, state: State) -> str:
        """The lake, with the player; where the key is can be seen from the start only."""
        return FORMS[self.form](self, state)

    def grid(self, state: State) -> str:
        """The lake row by row, with one sign per cell."""
        lake, signs = self.lake, [*signs_of(self.lake)]
        if (key := self._key_seen(state)) is not None:
            signs[key] = KEY
        fallen = lake.holes >> state.player & 1
        signs[state.player] = ARRIVED if state.player == lake.goal else FALLEN if fallen else PLAYER
        return rows_of(map(signs.__getitem__, inside_of(lake.width)), lake.width - 2)

    def coordinates(self, state: State) -> str:
        """Where goal, door, key and holes are, seen from the player."""
        lake = self.lake
        key = self._key_seen(state)
        of = {"goal": 1 << lake.goal}
        of |= {name: 1 << cell for name, cell in (("door", lake.door), ("key", key)) if cell is not None}
        of["holes"] = lake.holes
        return "\n".join(
            f"{name}: {places_from(state.player, bits, lake.width)}." for name, bits in of.items()
        )

    def _key_seen(self, state: State) -> int | None:
        """The key's cell if it can be seen: from the start, until it is fetched."""
        return self.lake.key if state.player == self.lake.start and not state.has_key else None

    def commands(self, state: State) -> tuple[str, ...]:
        """The directions that do not lead onto the shore."""
        return self.lake.commands(state)

    def after(self, state: State, command: str) -> tuple[State, str] | None:
        """The state after a step; None if the command is none."""
        after = self.lake.after(state, command)
        return None if after is None else (after, "")

    def outcome(self, state: State) -> Outcome:
        """Won at the goal; lost in a hole, or at the door without the key."""
        return self.lake.outcome(state)

    def score(self, state: State) -> None:
        """None: a lake is crossed or not."""


FORMS: dict[Form, Callable[[LakeGame, State], str]] = {
    "grid": LakeGame.grid,
    "coordinates": LakeGame.coordinates,
}
"""How a lake is shown, by the name that the settings use."""


@dataclass(frozen=True)
class FrozenLakeSuite(HindsightSuite):
    """FrozenLake: walk over the ice to the goal, on generated maps; not slippery unless asked for."""

    name: ClassVar[str] = "frozenlake"
    max_steps: int = 15
    """An episode is truncated after this many commands."""
    size: int = 4
    """Rows and columns of a map, 4 to 8; those of the split "larger" have one more."""
    slippery: bool = False
    """Whether a step goes to the left or to the right of its direction in two of three cases."""
    hidden_key: bool = False
    """Whether a key must be fetched first, which is shown at the start only; nothing shows later whether the
    player has it, so that the agent has to remember."""

    form: Form = "grid"
    """How a lake is shown: as a grid of signs, or by where everything is, seen from the player."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "size", 4, MOST_SIZE)
        # Enough for the ways of most maps that are drawn.
        require_range(self, "max_steps", 2 * self.size + 2)
        if self.slippery and self.hidden_key:
            raise SettingError("--env.slippery and --env.hidden-key: choose one of them")

    def draw(self, rng: random.Random, larger: bool) -> Lake:
        """A lake of the training size, or one with a row and a column more."""
        size = self.size + larger
        return draw_lake(rng, size, self.max_steps, slippery=self.slippery, key=self.hidden_key)

    def identity(self, drawn: Lake) -> tuple[int, ...]:
        """Size, holes and goal: wherever the walk starts."""
        return drawn.width, drawn.holes, drawn.goal

    def kind(self, drawn: Lake) -> str:
        """Size and kind of lake."""
        return f"{drawn.width - 2}x{drawn.width - 2} {self._lake}"

    def instruction(self, drawn: Lake) -> str:
        """The same for all lakes of a kind."""
        return INSTRUCTIONS[self._lake]

    @property
    def _lake(self) -> str:
        return "lake with a key" if self.hidden_key else "slippery lake" if self.slippery else "lake"

    def ending_in(self, drawn: Lake, state: State) -> Lake | None:
        """The lake with its goal where the player is; None at the start, and before or at the door."""
        solved = replace(drawn, goal=state.player)
        # The door is the second cell on the way from the start to the goal.
        return solved if way_from_start(solved) > (0 if drawn.door is None else 2) else None

    def game(self, task: Task) -> LakeGame:
        """The task's lake."""
        return LakeGame(task.game, self.form)

    def solution(self, task: Task, state: State) -> tuple[str, ...] | None:
        """What the expert does, or the commands that win in spite of the slips where the expert does not."""
        most = self.max_steps - state.time
        return walk(task.game, state, most) or foreseen(task.game, state, most)

    def next_command(self, task: Task, commands: Sequence[str]) -> str | None:
        """The best command for somebody who knows how slippery the ice is, but no single slip."""
        return next_command(task.game, state_after(self.game(task), commands))

    def best_success(self, task: Task) -> float:
        """The highest probability to win a task for an agent that knows no slip in advance.

        It is 1 where the ice is not slippery.
        """
        return best_success(task.game, self.max_steps)

    def success_without_memory(self, task: Task) -> float:
        """The highest probability to win a task with a key for an agent that sees the observation alone.

        An agent that remembers wins with probability 1.
        """
        return success_without_memory(self.max_steps, way_from_fork(task.game))

    def texts(self) -> Iterator[str]:
        """Instructions, commands and signs."""
        yield from INSTRUCTIONS.values()
        yield "nothing happens. up down left right"
        yield "goal: door: key: holes: none. , " + " ".join(map(str, range(MOST_SIZE + 1)))
        yield " ".join((PLAYER, ICE, HOLE, GOAL, FALLEN, ARRIVED, KEY, DOOR))
