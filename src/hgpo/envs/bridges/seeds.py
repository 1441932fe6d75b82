"""Tasks that are seeds: of an environment that makes a task from a number."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hgpo.envs.base import TaskSuite
from hgpo.envs.drawing import choose_tasks
from hgpo.envs.plain import NOT_POSSIBLE
from hgpo.envs.shown_texts import shown_texts

SPLITS = ("train", "held_out")
HELD_OUT_SEEDS = 10**6
"""Seeds of training tasks are below this number, those of held-out tasks begin with it."""
TASKS_READ = 50
"""Training tasks that are played for the words they show."""


def choose_seeds(split: str, count: int | None, seed: int, held_out: int) -> Sequence[int]:
    """The seeds of a split's tasks (see `TaskSuite.tasks`).

    Args:
        split: train or held_out.
        count: number of seeds; None for all of the held-out split.
        seed: draws those of training.
        held_out: size of the held-out split.
    """
    rng = random.Random(f"tasks {seed}")
    return choose_tasks(
        split,
        SPLITS,
        count,
        draw=lambda n: [rng.randrange(HELD_OUT_SEEDS) for _ in range(n)],
        fixed=lambda: range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + held_out),
    )


def texts_of_play(suite: TaskSuite) -> Iterator[str]:
    """What is shown in some training tasks, played at random and by their walkthroughs."""
    yield NOT_POSSIBLE
    yield from shown_texts(suite, suite.tasks(SPLITS[0], TASKS_READ), random.Random(suite.name))
