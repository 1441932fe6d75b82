"""What the garbage collector looks at while a run trains."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def older_objects_left_alone() -> Iterator[None]:
    """Let the garbage collector look only at objects that are made from here on.

    What PyTorch and transformers consist of is several hundred thousand objects, and looking at all of them
    again and again takes a twentieth of a small model's iteration.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
