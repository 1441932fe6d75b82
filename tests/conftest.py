"""Fixtures of more than one test module."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes says nothing of whether it is right, and differs between machines. The same code
# is tried with the same examples each time. `make test` takes the profile quick, which has fewer of them;
# `pytest --hypothesis-profile explore` tries others, and more.
settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=40)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("reproducible")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    # Most tests need no browser.
    from browser import chromium

    with chromium() as started:
        yield started


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
