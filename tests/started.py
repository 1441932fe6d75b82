"""Commands in processes that tests signal or kill."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from hgpo.compare import runs

PRELOADED = ["hgpo.cli.train_run", *runs.PRELOADED]
"""What training imports: it takes seconds, and happens once for all processes that a worker of pytest starts."""


def started(words: Sequence[str], output: Path) -> BaseProcess:
    """`hgpo WORDS` in a process of its own, which writes what it says to a file.

    The process is forked from one that has imported `PRELOADED` and done nothing else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(list(words), output))
    process.start()
    return process


def _run(words: list[str], output: Path) -> None:
    from hgpo.cli import main

    with output.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    raise SystemExit(main(words))
