"""Carries a comparison out: runs in parallel processes, each of which goes on where it stopped."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgpo.compare.plan import Plan
from hgpo.errors import RunError
from hgpo.files import atomic_write
from hgpo.runs.folder import RunLog
from hgpo.runs.interrupts import SIGNALS, terminate_like_interrupt
from hgpo.training.checkpoint_folder import latest_checkpoint
from hgpo.training.config import TrainConfig, from_json, load_config, save_config, to_json

POLL_SECONDS = 1.0
_stop: Any = None
"""In a worker: the event that says that no further run is to be begun."""


@dataclass(frozen=True)
class Progress:
    """How far a comparison is."""

    runs_done: int
    iterations_done: int


def run_folder(folder: Path, arm: str, seed: int) -> Path:
    """Where the run of an arm of the plan with a seed is."""
    # A method of the user's own may be named by a path.
    return folder / "runs" / f"{arm.replace('/', '-')}-seed{seed}"


def carry_out(
    plan: Plan, folder: Path, jobs: int, on_progress: Callable[[Progress], None] = lambda progress: None
) -> None:
    """Do what of the plan is not done yet.

    The warm start and the first evaluation depend neither on the method nor on the loss: they are done once
    for each seed, in a run of no iterations. The runs of all arms continue from its checkpoint.

    Args:
        plan: the comparison.
        folder: where its runs are.
        jobs: processes at the same time, each with one thread.
        on_progress: told about once per second.

    Raises:
        KeyboardInterrupt: after every process has saved its run.
    """
    # Seed by seed, so that a comparison that is cut short has whole seeds. Of a run that is finished metrics
    # and evaluations may be all that was kept.
    everything = [(arm, seed) for seed in range(plan.seeds) for arm in plan.arms]
    to_do = [run for run in everything if not (run_folder(folder, *run) / "finished").exists()]
    starts = {
        folder / "starts" / f"seed{seed}": dataclasses.replace(
            plan.config(plan.arms[0], seed), iterations=0, track=()
        )
        for seed in dict.fromkeys(seed for _, seed in to_do)
    }

    def report() -> None:
        runs = [run_folder(folder, *run) for run in everything]
        iterations = [len(RunLog(run).read_metrics()) for run in runs]
        done = sum((run / "finished").exists() for run in runs)
        on_progress(Progress(done, sum(iterations)))

    # Processes start afresh: a fork of one that has used threads may hang.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(stop,)) as pool:
        try:
            _wait([pool.submit(_run, start, to_json(config)) for start, config in starts.items()], report)
            for arm, seed in to_do:
                start = folder / "starts" / f"seed{seed}"
                _prepare(run_folder(folder, arm, seed), plan.config(arm, seed), start)
            _wait(
                [pool.submit(_run, run_folder(folder, *run), to_json(plan.config(*run))) for run in to_do],
                report,
            )
        except KeyboardInterrupt:
            stop.set()
            for worker in multiprocessing.active_children():
                worker.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _wait(futures: list, report: Callable[[], None]) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        report()


def _start_worker(stop: Any) -> None:
    """Wait for work; `stop` is set when none is to be begun any more."""
    global _stop
    import transformers

    transformers.utils.logging.disable_progress_bar()
    _stop = stop
    # Ctrl-C reaches all processes of a terminal, a scheduler's signal only one: the parent tells the others.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """End this process when the parent is killed; the run loses no more than its iteration under way."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _prepare(run: Path, config: TrainConfig, start: Path) -> None:
    """A run's folder, at the end of the warm start."""
    if latest_checkpoint(run / "checkpoints") is not None:
        return
    partial = run.with_name(f"{run.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(start, partial, ignore=shutil.ignore_patterns("finished", "samples"))
    except shutil.Error as error:
        # It has one entry for each file, with what went wrong at its end.
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"{run} cannot be written: {error.args[0][0][-1]}") from None
    save_config(config, partial / "config.json")
    shutil.rmtree(run, ignore_errors=True)
    partial.rename(run)


def _run(run: Path, settings: Any) -> None:
    """Train to the end of the run, if that is not done; its metrics tell the parent how far it is.

    Args:
        run: its folder.
        settings: those of a new run as JSON values, as classes of the user's own are loaded by their names.
    """
    from hgpo.training.trainer import Trainer

    # In this order, as the parent sets `stop` before it sends the signal: one of the two is noticed.
    with terminate_like_interrupt():
        if _stop.is_set() or (run / "finished").exists():
            return
        begun = (run / "config.json").exists()
        config = load_config(run / "config.json") if begun else from_json(settings)
        started = time.time()
        Trainer(config, run).run()
        atomic_write(run / "finished", f"{time.time() - started:.0f} seconds in the last part\n")
