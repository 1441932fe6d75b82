"""Speed of the suites of generated games on one core: tasks generated and steps taken per second.

    python benchmarks/suites.py

Random admissible commands, with the observation, the admissible commands and all state keys of every step.
Starting episodes counts, choosing commands does not.
"""

from __future__ import annotations

import time

import numpy as np

from hgpo.envs import CraftingSuite, FrozenLakeSuite, SearchQASuite, SokobanSuite
from hgpo.envs.commands import random_command
from hgpo.envs.generated import GeneratedSuite

SUITES: dict[str, GeneratedSuite] = {
    "sokoban": SokobanSuite(),
    "sokoban, 8x8, 3 boxes": SokobanSuite(size=8, boxes=3),
    "frozenlake": FrozenLakeSuite(),
    "frozenlake, slippery": FrozenLakeSuite(slippery=True),
    "frozenlake, hidden key": FrozenLakeSuite(hidden_key=True),
    "crafting": CraftingSuite(),
    "crafting, depth 4": CraftingSuite(depth=4),
    "search_qa": SearchQASuite(),
    "search_qa, 10,000 articles": SearchQASuite(articles=10_000),
}
TASKS, STEPS = 500, 5000


def tasks_per_second(suite: GeneratedSuite) -> float:
    """How many training tasks are generated per second."""
    suite.tasks("train", 1)  # an encyclopaedia is made once
    started = time.process_time()
    suite.tasks("train", TASKS, seed=1)
    return TASKS / (time.process_time() - started)


def steps_per_second(suite: GeneratedSuite) -> float:
    """How many random commands are carried out per second, with new episodes where they end."""
    rng = np.random.default_rng(0)
    environment = suite.make()
    spent, steps = 0.0, 0
    for task in suite.tasks("train", TASKS, seed=1):
        started = time.process_time()
        _, info = environment.reset(task)
        spent += time.process_time() - started
        over = False
        while not over:
            command = random_command(info.admissible_commands, task.instruction, rng)
            started = time.process_time()
            _, _, terminated, truncated, info = environment.step(command)
            spent += time.process_time() - started
            steps += 1
            over = terminated or truncated
        if steps >= STEPS:
            break
    return steps / spent


def main() -> None:
    """Measure and print."""
    print(f"{'suite':28}{'tasks/s':>10}{'steps/s':>10}")
    for name, suite in SUITES.items():
        suite.make().reset(suite.tasks("train", 1)[0])  # an index is built once
        print(f"{name:28}{tasks_per_second(suite):10,.0f}{steps_per_second(suite):10,.0f}")


if __name__ == "__main__":
    main()
