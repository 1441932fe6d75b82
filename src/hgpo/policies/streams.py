"""Streams: items are answered as soon as each is ready, and others may be added in the meantime."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
Asked = TypeVar("Asked", contravariant=True)
Result = TypeVar("Result")
Choice = TypeVar("Choice")


@dataclass(frozen=True, eq=False)
class Request(Generic[Choice]):
    """A prompt that waits for its response; the parts are those of `Policy.generate`, for one row."""

    prompt: tuple[int, ...]
    """Token ids."""
    uniforms: NDArray[np.float64]
    """Random numbers in [0, 1), one for each token of the longest response."""
    choices: Choice | None = None
    """The responses to which sampling is restricted; None: any."""


class Stream(Protocol[Asked, Result]):
    """Answers that are being written."""

    def add(self, items: Sequence[Asked]) -> list[int]:
        """Begin an answer to each item; returns their numbers."""
        ...

    def advance(self) -> list[tuple[int, Result]]:
        """Continue the answers; returns those that are ready, with their numbers.

        It may return none, but after enough calls every answer has been returned once.
        """
        ...


class AnsweredTogether(Generic[Item, Result]):
    """A stream whose items are answered in one call, all that have been added since the last."""

    def __init__(self, answer: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        """Take the function that answers items, in their order."""
        self._answer, self._numbers = answer, itertools.count()
        self._waiting: list[tuple[int, Item]] = []

    def add(self, items: Sequence[Item]) -> list[int]:
        """See `Stream.add`."""
        numbers = [next(self._numbers) for _ in items]
        self._waiting += zip(numbers, items, strict=True)
        return numbers

    def advance(self) -> list[tuple[int, Result]]:
        """See `Stream.advance`."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        answers = self._answer([item for _, item in waiting])
        return [(number, answer) for (number, _), answer in zip(waiting, answers, strict=True)]
