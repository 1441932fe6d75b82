"""Handles standard streams that are closed, full, or no longer read, so that no traceback is printed."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

READER_GONE = 141
"""The exit code that a shell reports for a program ended by SIGPIPE: 128 + 13."""


class ReaderGone(KeyboardInterrupt):
    """The reader of standard output has closed it: the command saves and stops as after Ctrl-C."""


class GuardedStream:
    """A text stream that is abandoned once it cannot be written to; later output is dropped."""

    def __init__(self, stream: Any, *, stops: bool) -> None:
        """Wrap the stream.

        Args:
            stream: the stream to write to.
            stops: whether to raise ReaderGone, in the main thread, when the reader has closed the stream.
        """
        self._stream = stream
        self._stops = stops
        self.error: OSError | None = None
        """The error for which the stream was abandoned, if any."""

    def write(self, text: str) -> int:
        """Write the text, or drop it if the stream is abandoned."""
        if self.error is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless it is abandoned."""
        if self.error is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        self.error = error
        # The interpreter flushes the buffer when it ends, so the file descriptor must be writable.
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        in_main_thread = threading.current_thread() is threading.main_thread()
        if self._stops and isinstance(error, BrokenPipeError) and in_main_thread:
            raise ReaderGone from None


@contextmanager
def guarded_streams() -> Iterator[GuardedStream]:
    """Guard standard output and standard error in the block; yields the guard of standard output."""
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may contain characters that the terminal's encoding cannot represent. A line of progress
        # is written at once, also into a file or a pipe, where someone may follow the run.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    output = GuardedStream(sys.stdout, stops=True)
    previous = sys.stdout, sys.stderr
    # Python allows any objects with the same methods as standard streams.
    sys.stdout, sys.stderr = output, GuardedStream(sys.stderr, stops=False)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield output
    finally:
        sys.stdout, sys.stderr = previous


def _open_what_is_closed() -> None:
    """Open closed streams on os.devnull; otherwise the next opened file would get their file descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # Python has None for a closed stream. open() takes the lowest free descriptor, which is the stream's.
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
