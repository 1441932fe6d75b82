"""Distributes work over processes of one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

J = TypeVar("J")
R = TypeVar("R")


def mapped(function: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[R]:
    """The result of each job, in order. Workers import the function, so it must be defined in a module."""
    if workers == 1:
        yield from map(function, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, jobs)
