"""Handles Ctrl-C, SIGTERM (schedulers stop a job with it) and SIGHUP (sent when a terminal is closed).

Each of them stops the run after it is saved, and none interrupts a write. Ctrl-C and SIGHUP are ignored if
they were ignored when the program started: nohup ignores SIGHUP, and a shell script ignores Ctrl-C in its
background jobs.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Windows has no SIGHUP.
_HANGUP = tuple(number for number in signal.Signals if number.name == "SIGHUP")
SIGNALS = (signal.SIGINT, signal.SIGTERM, *_HANGUP)


@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP unless it is ignored, raise KeyboardInterrupt in the block, as Ctrl-C does."""
    heeded = (signal.SIGTERM, *filter(_is_heeded, _HANGUP))
    with _handling(dict.fromkeys(heeded, signal.default_int_handler)):
        yield


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Delay the signals until the block is done, because a run cannot continue from half an update."""
    pending: list[int] = []

    def hold_back(number: int, frame: Any) -> None:
        pending.append(number)

    with _handling(dict.fromkeys(filter(_is_heeded, SIGNALS), hold_back)):
        yield
    if pending:
        signal.raise_signal(signal.Signals(pending[0]))


def _is_heeded(number: signal.Signals) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN


@contextmanager
def _handling(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    previous: dict[signal.Signals, Any] = {}
    try:
        for number, handler in handlers.items():
            previous[number] = signal.signal(number, handler)
    except ValueError:
        # Signals reach only the main thread, so other threads have nothing to handle.
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
