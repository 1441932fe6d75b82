"""Standard streams that are closed, full, or read by nobody any more: no command ends in a traceback then."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

READER_GONE = 141
"""The exit code of a program that SIGPIPE ends, as a shell tells it: 128 + 13."""


class ReaderGone(KeyboardInterrupt):
    """Nobody reads the standard output any more: the command stops as after Ctrl-C, and saves what it has."""


class GuardedStream:
    """A text stream that is given up when it cannot be written: whatever follows is dropped."""

    def __init__(self, stream: Any, *, stops: bool) -> None:
        """Take the stream.

        Args:
            stream: is written to.
            stops: whether ReaderGone is raised, in the main thread, when its reader has gone.
        """
        self._stream = stream
        self._stops = stops
        self.error: OSError | None = None
        """Why it was given up."""

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        if self.error is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless it has been given up."""
        if self.error is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        self.error = error
        # What is still in the buffer must go somewhere when the interpreter ends.
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        in_main_thread = threading.current_thread() is threading.main_thread()
        if self._stops and isinstance(error, BrokenPipeError) and in_main_thread:
            raise ReaderGone from None


@contextmanager
def guarded_streams() -> Iterator[GuardedStream]:
    """Guard standard output and error in the block; gives the guard of the output."""
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may hold characters that the terminal's encoding does not have.
        sys.stdout.reconfigure(errors="backslashreplace")
    output = GuardedStream(sys.stdout, stops=True)
    previous = sys.stdout, sys.stderr
    # The streams are replaced by what has their methods, as it is usual.
    sys.stdout, sys.stderr = output, GuardedStream(sys.stderr, stops=False)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield output
    finally:
        sys.stdout, sys.stderr = previous


def _open_what_is_closed() -> None:
    """Let streams that are closed lead nowhere; else the next file that is opened would be taken for one."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # Python has None for a stream that is closed. The lowest number that is free is taken: the stream's.
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
