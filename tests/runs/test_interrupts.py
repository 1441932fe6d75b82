"""Signals: those that stop a run, those that were ignored when it began, and what `nohup hgpo train &` does."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from started import started
from toy_runs import command

from hgpo.runs.interrupts import deferred_signals, terminate_like_interrupt

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
SMALL = "--iterations 5000 --tasks-per-iteration 2 --group-size 2 --evaluation-tasks 2"


@pytest.mark.parametrize("number", [INT, TERM, HUP])
def test_each_signal_interrupts(handlers, number):
    handlers({INT: signal.default_int_handler, TERM: signal.SIG_DFL, HUP: signal.SIG_DFL})
    with pytest.raises(KeyboardInterrupt), terminate_like_interrupt():
        signal.raise_signal(number)
    assert (signal.getsignal(TERM), signal.getsignal(HUP)) == (signal.SIG_DFL, signal.SIG_DFL)


@pytest.mark.parametrize("number", [INT, TERM, HUP])
def test_signals_wait_for_the_end_of_what_is_not_to_be_interrupted(handlers, number):
    handlers({INT: signal.default_int_handler, TERM: signal.SIG_DFL, HUP: signal.SIG_DFL})
    done = []
    with pytest.raises(KeyboardInterrupt), terminate_like_interrupt():
        with deferred_signals():
            signal.raise_signal(number)
            done.append("written")
        done.append("not reached")
    assert done == ["written"]


def test_what_was_ignored_at_the_beginning_stays_ignored(handlers):
    handlers({INT: signal.SIG_IGN, HUP: signal.SIG_IGN, TERM: signal.SIG_DFL})
    with terminate_like_interrupt():
        signal.raise_signal(INT)
        signal.raise_signal(HUP)
        with deferred_signals():
            signal.raise_signal(INT)
            signal.raise_signal(HUP)
    # One that is heeded is not lost behind one that is not.
    with pytest.raises(KeyboardInterrupt), terminate_like_interrupt(), deferred_signals():
        signal.raise_signal(INT)
        signal.raise_signal(TERM)


def until(happened, process: BaseProcess, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.05)


def test_in_the_background_under_nohup_only_sigterm_stops_a_run_and_saves_it(tmp_path):
    # A script that runs "nohup hgpo train &" ignores both of these for it.
    run, said = tmp_path / "run", tmp_path / "said"
    process = started(command(*SMALL.split(), "--out", str(run)), said, ignored=(INT, HUP))

    def iterations() -> int:
        metrics: Path = run / "metrics.jsonl"
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    try:
        until(lambda: iterations() >= 1, process)
        assert process.pid is not None
        os.kill(process.pid, INT)
        os.kill(process.pid, HUP)
        seen = iterations()
        until(lambda: iterations() >= seen + 2, process)
        process.terminate()
        process.join(120)
    finally:
        process.kill()
    assert process.exitcode == 130
    done = iterations()
    assert (
        f"stopped after iteration {done}; continue with: hgpo train --resume {run}"
        in said.read_text().replace("\n", "")
    )
    assert (run / "checkpoints" / f"{done:06d}" / "state.json").exists()
