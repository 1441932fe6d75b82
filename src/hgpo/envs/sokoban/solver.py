"""An expert for Sokoban: A* search for the fewest moves."""

from __future__ import annotations

import heapq
from collections import deque
from functools import lru_cache
from itertools import count

from hgpo.envs.grids import cells, steps_of
from hgpo.envs.sokoban.level import Level, State, moved


@lru_cache(4096)
def solve(level: Level, state: State) -> tuple[str, ...] | None:
    """The fewest moves that bring every box onto a target; None if no moves do.

    The search is A*: a state's estimate is the number of pushes that each box would need if it were alone,
    which is never too high.
    """
    pushes = pushes_needed(level)
    steps = steps_of(level.size)
    estimates: dict[int, int | None] = {}

    def estimate(boxes: int) -> int | None:
        if boxes not in estimates:
            needed = [pushes.get(box) for box in cells(boxes)]
            estimates[boxes] = None if None in needed else sum(needed)  # pyright: ignore
        return estimates[boxes]

    first = estimate(state[1])
    if first is None:
        return None
    order = count()
    came: dict[State, tuple[State, str] | None] = {state: None}
    cost = {state: 0}
    queue = [(first, next(order), state)]
    while queue:
        _, _, here = heapq.heappop(queue)
        if here[1] == level.targets:
            return _path(came, here)
        done = cost[here] + 1
        for command, step in steps.items():
            there = moved(level, here, step)
            if there is None or done >= cost.get(there, done + 1):
                continue
            left = estimate(there[1])
            if left is not None:
                cost[there], came[there] = done, (here, command)
                heapq.heappush(queue, (done + left, next(order), there))
    return None


def _path(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    commands = []
    while (last := came[state]) is not None:
        state, command = last
        commands.append(command)
    return tuple(reversed(commands))


@lru_cache(4096)
def pushes_needed(level: Level) -> dict[int, int]:
    """For each cell the pushes that bring a box from there onto a target if it is the only one.

    Cells from which no pushes do, such as corners, are left out.
    """
    needed = dict.fromkeys(cells(level.targets), 0)
    queue = deque(needed)
    while queue:
        box = queue.popleft()
        for step in steps_of(level.size).values():
            # Pulling the box to `behind` is the reverse of a push; the player has to stand one cell further.
            behind, stand = box + step, box + 2 * step
            if level.walls >> behind & 1 or level.walls >> stand & 1 or behind in needed:
                continue
            needed[behind] = needed[box] + 1
            queue.append(behind)
    return needed
