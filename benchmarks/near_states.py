"""How many steps have a peer where states are continuous: exact states beside a grid, on Pendulum.

    python benchmarks/near_states.py

Random play with five torques, 16 rollouts of 40 steps from each of four starts. Needs gymnasium.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from hgpo import StepTable
from hgpo.groups import group_sizes, level_groups
from hgpo.near_states import grid_keys

TASKS, ROLLOUTS, STEPS, TORQUES = 4, 16, 40, 5
CELL = (0.25, 0.25, 1.0)
"""Of the grid: cosine and sine of the angle, and radians a second."""
HISTORY_LENGTH = 2


def random_play(seed: int) -> tuple[dict[str, list[Any]], list[NDArray[np.float32]]]:
    """The columns of a step table without its state keys, and the state of each row."""
    rng = np.random.default_rng(seed)
    torques = np.linspace(-2, 2, TORQUES)
    environment = gymnasium.make("Pendulum-v1").unwrapped
    columns: dict[str, list[Any]] = {
        name: [] for name in ("task_id", "trajectory_id", "step_index", "reward")
    }
    states = []
    for task in range(TASKS):
        for member in range(ROLLOUTS):
            state, _ = environment.reset(seed=task)
            for step in range(STEPS):
                states.append(state)
                state, reward, *_ = environment.step(rng.choice(torques, 1))
                row = (task, (task, member), step, float(reward))
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    return columns, states


def peer_fractions(columns: dict[str, list[Any]], keys: Sequence[Any]) -> NDArray[np.float64]:
    """Share of the rows that have a peer, at each level."""
    steps = StepTable(**columns, state_key=keys)
    return np.mean(group_sizes(level_groups(steps, HISTORY_LENGTH)) >= 2, axis=1)


def pendulum_peer_fractions(seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Share of the rows that have a peer at each level, by exact state and by grid."""
    columns, states = random_play(seed)
    return {
        "exact state": peer_fractions(columns, [state.tobytes() for state in states]),
        "grid": peer_fractions(columns, list(grid_keys(states, CELL))),
    }


def main() -> None:
    """Print the table."""
    levels = range(HISTORY_LENGTH + 1)
    print(
        f"| states are the same by | {' | '.join(f'level {level}' for level in levels)} |\n|---|---|---|---|"
    )
    for name, shares in pendulum_peer_fractions().items():
        print(f"| {name} | {' | '.join(f'{share:.0%}' for share in shares)} |")


if __name__ == "__main__":
    main()
