"""MiniGrid and BabyAI in words: the mission, and what lies where in the agent's field of view."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

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
        vars(roomgrid_level)["print"] = lambda *words: None

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
        """All visible things but walls, the wall in front, and what is carried."""
        grid, visible = env.unwrapped.gen_obs_grid()
        # The agent is in the middle of the lowest row and looks up.
        middle, here = grid.width // 2, grid.height - 1
        things: list[tuple[int, int, str]] = []
        for column in range(grid.width):
            for row in range(grid.height):
                thing, ahead, right = grid.get(column, row), here - row, column - middle
                if thing is None or not visible[column, row] or (ahead, right) == (0, 0):
                    continue
                if thing.type != "floor" and (thing.type != "wall" or right == 0):
                    things.append((ahead, right, _name(thing)))
        walls = sorted(thing for thing in things if thing[2] == "a wall")
        shown = [thing for thing in things if thing not in walls[1:]]
        shown.sort(key=lambda thing: (thing[0] + abs(thing[1]), thing))
        seen = "; ".join(f"{name}{_where(ahead, right)}" for ahead, right, name in shown)
        carried = env.unwrapped.carrying
        return f"{seen or 'nothing'}. you carry {'nothing' if carried is None else _name(carried)}."

    def full_state(self, env: Any, observation: Any) -> Hashable:
        """The grid, where the agent is and looks, and what it carries."""
        world = env.unwrapped
        carried = None if world.carrying is None else world.carrying.encode()
        hidden = [
            thing.contains.encode() for thing in world.grid.grid if thing is not None and thing.contains
        ]
        place = (*map(int, world.agent_pos), int(world.agent_dir))
        return world.grid.encode().tobytes(), place, carried, tuple(hidden)

    def outcome(self, env: Any, reward: float, terminated: bool) -> tuple[float, bool]:
        """1 for a win. MiniGrid's own reward falls with the number of steps, which no state key tells."""
        won = terminated and reward > 0
        return float(won), won

    def walkthrough(self, env: Any) -> Iterator[int]:
        """What the bot of BabyAI does, where the environment is one of BabyAI's levels."""
        if not isinstance(env.unwrapped, roomgrid_level.RoomGridLevel):
            return
        bot, action, over = BabyAIBot(env), None, False
        while not over:
            action = bot.replan(action)
            yield int(action)
            _, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated


_DOORS = {(True, False): "open ", (False, False): "closed ", (False, True): "locked "}


def _name(thing: Any) -> str:
    if thing.type == "wall":
        return "a wall"
    state = _DOORS[thing.is_open, thing.is_locked] if thing.type == "door" else ""
    words = f"{state}{thing.color} {thing.type}"
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _where(ahead: int, right: int) -> str:
    side = f" {abs(right)} {'right' if right > 0 else 'left'}" if right else ""
    return (f" {ahead} ahead" if ahead else "") + side
