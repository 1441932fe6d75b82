"""Limits the work of the garbage collector while a run trains."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def older_objects_left_alone() -> Iterator[None]:
    """Let the garbage collector examine only objects that are created within the block.

    PyTorch and transformers consist of several hundred thousand objects; examining all of them repeatedly
    takes a twentieth of a small model's iteration.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
