"""HGPO where no state ever comes back: CartPole, its states rounded to a grid, and a linear policy.

    python examples/cartpole.py [--seed 0]

Needs gymnasium. The balanced steps of an episode, 200 at most, rise from about 20 to well over 100 in
seconds. With exact states hardly a step would have another to be compared with.
"""

import argparse

import gymnasium
import numpy as np

import hgpo
from hgpo.near_states import grid_keys

CELL = (0.2, 0.4, 0.03, 0.4)
"""Size of a grid cell: metres, metres a second, radians, radians a second."""
SCALE = np.array([2.4, 3.0, 0.21, 3.0])
"""What the policy divides a state by."""


def push_right(weights: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The policy's probability of a push to the right in each state."""
    return 1 / (1 + np.exp(-(states / SCALE) @ weights))


def play(weights: np.ndarray, tasks: range, group_size: int, rng: np.random.Generator) -> dict[str, list]:
    """Columns of the steps of `group_size` episodes from the start of each task."""
    columns: dict[str, list] = {
        name: [] for name in ("task_id", "trajectory_id", "step_index", "reward", "state", "action")
    }
    environment = gymnasium.make("CartPole-v1").unwrapped
    for task in tasks:
        for member in range(group_size):
            state, _ = environment.reset(seed=task)
            for step in range(200):
                action = int(rng.random() < push_right(weights, state))
                following, reward, fallen, _, _ = environment.step(action)
                row = (task, (task, member), step, float(reward), state, action)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
                state = following
                if fallen:
                    break
    return columns


def learn(seed: int, iterations: int = 25, tasks: int = 4, group_size: int = 8) -> list[float]:
    """Train a policy; the mean number of balanced steps in each iteration's episodes."""
    rng = np.random.default_rng(seed)
    estimator = hgpo.HGPO(discount=0.98)
    weights = np.zeros(4)
    lengths = []
    for iteration in range(iterations):
        first = tasks * iteration
        columns = play(weights, range(first, first + tasks), group_size, rng)
        states, actions = np.array(columns.pop("state")), np.array(columns.pop("action"))
        steps = hgpo.StepTable(**columns, state_key=grid_keys(states, CELL))
        advantages = estimator(steps)
        # The gradient of log π of a logistic policy is (action − π) · state.
        score = (actions - push_right(weights, states))[:, None] * states / SCALE
        weights += 20.0 * (score * advantages[:, None]).mean(axis=0)
        lengths.append(len(steps) / (tasks * group_size))
    return lengths


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    for iteration, length in enumerate(learn(parser.parse_args().seed), 1):
        print(f"iteration {iteration:2}  balanced steps {length:5.1f}")


if __name__ == "__main__":
    main()
