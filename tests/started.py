"""Commands in processes that tests signal or kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from hgpo.compare import runs

PRELOADED = ["hgpo.cli.train_run", *runs.PRELOADED]
"""What training imports: it takes seconds, and happens once for all processes that a worker of pytest starts."""


def started(
    words: Sequence[str],
    output: Path,
    errors: Path | None = None,
    ignored: Sequence[signal.Signals] = (),
) -> BaseProcess:
    """`hgpo WORDS` in a process of its own, which writes what it says to a file or a named pipe.

    The process is forked from one that has imported `PRELOADED` and done nothing else.

    Args:
        errors: where standard error goes; None: where the output goes.
        ignored: signals that are ignored when the command begins, as under `nohup`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(list(words), output, errors or output, ignored))
    process.start()
    return process


def _run(words: list[str], output: Path, errors: Path, ignored: Sequence[signal.Signals]) -> None:
    from hgpo.cli import main

    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    for descriptor, path in ((1, output), (2, errors)):
        with path.open("ab") as file:
            os.dup2(file.fileno(), descriptor)
    # The streams of the process that was forked know whether they could seek, not whether these can.
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    raise SystemExit(main(words))
