"""Fixtures of more than one test module."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes says nothing of whether it is right, and differs between machines.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def handlers() -> Iterator[Callable[[Mapping[signal.Signals, Any]], None]]:
    """Sets what signals do until the end of the test, whatever they do where the tests were started."""
    before: dict[signal.Signals, Any] = {}

    def set_handlers(wanted: Mapping[signal.Signals, Any]) -> None:
        for number, handler in wanted.items():
            before.setdefault(number, signal.signal(number, handler))

    yield set_handlers
    for number, handler in before.items():
        signal.signal(number, handler)
