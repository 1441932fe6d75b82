"""Advantages on several cores: tasks are independent, so each thread processes some of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators import Estimator
from hgpo.steps import StepTable

SHARD_ROWS = 250_000
"""Approximate size of a shard, small enough for sorting in a core's cache."""


def in_parallel(estimator: Estimator, steps: StepTable, workers: int | None = None) -> NDArray[np.float64]:
    """The result of `estimator(steps)`, bit for bit, computed by several threads.

    Tasks are divided among the threads, each with about the same number of rows; numpy's sorts and sums run
    outside Python's lock. Within a group the rows keep their order, so every sum has the same rounding. An
    estimator with statistics over all tasks (its `task_local` is not True) is computed by one thread.

    Args:
        estimator: Any estimator.
        steps: The step table.
        workers: Number of threads; None uses as many as there are cores.

    Raises:
        ValueError: `workers` is below 1.
    """
    if workers is None:
        workers = os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers is {workers}; give an integer of at least 1, or None for one per core")
    if workers == 1 or not getattr(estimator, "task_local", False):
        return estimator(steps)
    shards = _shards(steps.task_code, max(workers, len(steps) // SHARD_ROWS))
    advantages = np.empty(len(steps))

    def estimate(rows: NDArray[np.int64]) -> None:
        advantages[rows] = estimator(steps.take_tasks(rows))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(estimate, shards))
    return advantages


def _shards(task: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """The rows of about `count` shards of whole tasks, each in the order of the table."""
    size = np.bincount(task)
    shard_of_task = (np.cumsum(size) - 1) * count // max(1, len(task))
    shard = shard_of_task[task]
    return [rows for number in range(count) if len(rows := np.flatnonzero(shard == number))]
