"""The training tasks of a run."""

from __future__ import annotations

from hgpo.envs.base import Task, tasks_of
from hgpo.random_streams import RandomStreams
from hgpo.training.config import TrainConfig


def training_tasks(config: TrainConfig, count: int, *stream: int) -> list[Task]:
    """Tasks of the training split, drawn by the run's seed.

    Args:
        config: names the tasks and the seed.
        count: how many.
        stream: the random stream, and the place in the run (see `hgpo.random_streams`).
    """
    suite = config.env
    return list(tasks_of(suite, suite.splits[0], count, seed=RandomStreams(config.seed).integer(*stream)))
