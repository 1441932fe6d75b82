"""Chooses the tasks that a suite returns: drawn for training, the first of a fixed list otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from hgpo.errors import SettingError

T = TypeVar("T")

HELD_OUT = 5
"""Every fifth task of a single list is held out; of fewer than five tasks, the last one."""


def require_split(split: str, splits: Sequence[str]) -> None:
    """Raise ValueError if there is no such split."""
    if split not in splits:
        raise ValueError(f"no split {split!r}: choose from {', '.join(splits)}")


def choose_tasks(
    split: str,
    splits: Sequence[str],
    count: int | None,
    *,
    draw: Callable[[int], Sequence[T]],
    fixed: Callable[[], Sequence[T]],
) -> Sequence[T]:
    """The items of a split for `TaskSuite.tasks`, from which the suite makes its tasks.

    Args:
        split: the name of the split.
        splits: all names, with the training split first.
        count: number of items; None for all of a held-out split.
        draw: returns the given number of training items.
        fixed: returns all items of the held-out split in order.

    Raises:
        ValueError: if there is no such split, or `count` is None for training.
        SettingError: if the held-out split has fewer than `count`.
    """
    require_split(split, splits)
    if split == splits[0]:
        if count is None or count < 0:
            raise ValueError(f"count is {count}: give the number of tasks to draw from {split}")
        return draw(count)
    every = fixed()
    if count is not None and not 0 <= count <= len(every):
        raise SettingError(f"{split} has {len(every)} tasks, not {count}")
    return every[:count]


def drawn_in_rounds(items: Sequence[T], count: int, rng: random.Random) -> list[T]:
    """`count` of the items, without repetition until all have been drawn, then again from the start."""
    drawn: list[T] = []
    while len(drawn) < count:
        drawn += rng.sample(items, min(len(items), count - len(drawn)))
    return drawn


def divided(tasks: Sequence[T]) -> dict[str, list[T]]:
    """Tasks for training, and every fifth one held out."""
    held_out = set(range(HELD_OUT - 1, len(tasks), HELD_OUT) or [len(tasks) - 1])
    return {
        "train": [task for number, task in enumerate(tasks) if number not in held_out],
        "held_out": [task for number, task in enumerate(tasks) if number in held_out],
    }
