"""MiniGrid and BabyAI in words: the mission, and what lies where in the agent's field of view."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.envs.babyai.core import roomgrid_level
from minigrid.minigrid_env import MiniGridEnv
from minigrid.utils.baby_ai_bot import BabyAIBot

from hgpo.errors import SettingError

COMMANDS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle", "done")
"""MiniGrid's seven actions, in the order of their numbers."""


class MiniGridView:
    """What the agent sees, nearest first: "a red ball 2 ahead 1 left; a wall 3 ahead. you carry nothing." """

    def __init__(self) -> None:
        """Keep BabyAI from printing a line for each layout of a level that it rejects."""
        roomgrid_level.__dict__["print"] = lambda *words: None

    def actions(self, env: Any) -> Sequence[str]:
        """MiniGrid's actions in words.

        Raises:
            SettingError: if the environment is not one of MiniGrid's.
        """
        if not isinstance(env.unwrapped, MiniGridEnv):
            raise SettingError(
                f"--env.view minigrid shows environments of MiniGrid, and {env.spec.id} is none: give "
                "--env.view rendered, or MODULE:CLASS of a view of your own"
            )
        return COMMANDS[: int(env.action_space.n)]

    def instruction(self, env: Any, observation: Any) -> str:
        """The mission."""
        return observation["mission"]

    def text(self, env: Any, observation: Any) -> str:
        """All visible things but walls, the nearest wall in front, and what is carried."""
        image = observation["image"]
        # The agent is in the middle of the last row and looks towards the first; what it carries is there.
        middle, here = image.shape[0] // 2, image.shape[1] - 1
        things = [
            (here - row, column - middle, _name(*image[column, row].tolist()))
            for column, row in np.argwhere(image[..., 0] > _EMPTY).tolist()
        ]
        carried = [name for ahead, right, name in things if (ahead, right) == (0, 0)]
        walls = sorted(ahead for ahead, right, name in things if name == _WALL and right == 0)
        shown = [thing for thing in things if thing[2] not in (_FLOOR, _WALL) and thing[:2] != (0, 0)]
        shown += [(ahead, 0, _WALL) for ahead in walls[:1]]
        shown.sort(key=lambda thing: (thing[0] + abs(thing[1]), thing))
        seen = "; ".join(f"{name}{_where(ahead, right)}" for ahead, right, name in shown)
        return f"{seen or 'nothing'}. you carry {carried[0] if carried else 'nothing'}."

    def full_state(self, env: Any, observation: Any) -> Hashable:
        """The grid, the agent's place and direction, what it carries, and the parts of the mission done."""
        world = env.unwrapped
        carried = None if world.carrying is None else world.carrying.encode()
        hidden = [
            thing.contains.encode() for thing in world.grid.grid if thing is not None and thing.contains
        ]
        place = (*map(int, world.agent_pos), int(world.agent_dir))
        done = tuple(_parts_done(getattr(world, "instrs", None)))
        return world.grid.encode().tobytes(), place, carried, tuple(hidden), done

    def outcome(self, env: Any, reward: float, terminated: bool) -> tuple[float, bool]:
        """1 for a win. MiniGrid's own reward falls with the number of steps, which no state key tells."""
        won = terminated and reward > 0
        return float(won), won

    def walkthrough(self, env: Any) -> Iterator[int]:
        """What the bot of BabyAI does, where the environment is one of BabyAI's levels."""
        if not isinstance(env.unwrapped, roomgrid_level.RoomGridLevel):
            return
        bot, over = BabyAIBot(env), False
        action: Any = None
        while not over:
            action = bot.replan(action)
            yield int(action)
            _, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated


def _parts_done(mission: Any) -> Iterator[bool]:
    """Of a mission of two parts in BabyAI, which may be such missions themselves: whether each is done."""
    if hasattr(mission, "a_done"):
        yield from (mission.a_done == "success", mission.b_done == "success")
        yield from (*_parts_done(mission.instr_a), *_parts_done(mission.instr_b))


_EMPTY = OBJECT_TO_IDX["empty"]
"""Cells that are not seen have a lower number, those with something in them a higher one."""
_WALL, _FLOOR = "a wall", "a floor"


@cache
def _name(kind: int, color: int, state: int) -> str:
    """What a cell's three numbers mean: "a red ball", "an open blue door"."""
    thing = IDX_TO_OBJECT[kind]
    if thing in ("wall", "floor"):
        return f"a {thing}"
    words = f"{IDX_TO_COLOR[color]} {thing}"
    if thing == "door":
        words = f"{_DOOR_STATES[state]} {words}"
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


_DOOR_STATES = {number: name for name, number in STATE_TO_IDX.items()}


def _where(ahead: int, right: int) -> str:
    side = f" {abs(right)} {'right' if right > 0 else 'left'}" if right else ""
    return (f" {ahead} ahead" if ahead else "") + side
