"""Ctrl-C, and SIGTERM, by which schedulers stop a job: both save the run, and neither cuts a write in two."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block, as Ctrl-C does."""
    with _handling({signal.SIGTERM: signal.default_int_handler}):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold both signals back until the block is done: half an update is no state to go on from."""
    pending: list[int] = []

    def hold_back(number: int, frame: Any) -> None:
        pending.append(number)

    # What is ignored, as a shell ignores Ctrl-C for what it runs in the background, stays ignored.
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    with _handling(dict.fromkeys(heeded, hold_back)):
        yield
    if pending:
        signal.raise_signal(signal.Signals(pending[0]))


@contextmanager
def _handling(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    previous: dict[signal.Signals, Any] = {}
    try:
        for number, handler in handlers.items():
            previous[number] = signal.signal(number, handler)
    except ValueError:
        # Signals reach the main thread only; elsewhere there is nothing to handle.
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
