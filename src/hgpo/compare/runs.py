"""Runs a comparison: its runs train in parallel processes, and each continues where it stopped."""

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
PRELOADED = ["hgpo.training.trainer", "transformers.models.llama.modeling_llama"]
"""What a run imports. It takes seconds, and is imported once for all processes."""

_stop: Any = None
"""In a worker: the event that is set when no further run may start."""


@dataclass(frozen=True)
class Progress:
    """The progress of a comparison."""

    runs_done: int
    iterations_done: int


def run_folder(folder: Path, arm: str, seed: int) -> Path:
    """The folder of the run of an arm with a seed."""
    # The name of a user's own method may be a path.
    return folder / "runs" / f"{arm.replace('/', '-')}-seed{seed}"


def carry_out(
    plan: Plan, folder: Path, jobs: int, on_progress: Callable[[Progress], None] = lambda progress: None
) -> None:
    """Train all runs of the plan that are not finished yet.

    The warm start and the first evaluation depend neither on the method nor on the loss: they are done once
    per seed, in a run without iterations. The runs of all arms continue from its checkpoint.

    Args:
        plan: the comparison.
        folder: the comparison's folder, in which its runs lie.
        jobs: number of processes at the same time, each with one thread.
        on_progress: called about once per second.

    Raises:
        KeyboardInterrupt: after every process has saved its run.
    """
    # Runs are ordered by seed, so that a comparison that stops early has complete seeds. The folder of a
    # finished run may have only metrics and evaluations.
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

    # A fork of a process that has used threads may hang, so processes are forked from one that only imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
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
    """Prepare a worker process; `stop` is set when no further run may start."""
    global _stop
    import transformers

    transformers.utils.logging.disable_progress_bar()
    _stop = stop
    # Ctrl-C reaches all processes of a terminal, a scheduler's signal only one, so the parent passes it on.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """End this process when the parent is killed; only the current iteration of the run is lost."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _prepare(run: Path, config: TrainConfig, start: Path) -> None:
    """Create a run's folder as a copy of the run that has made the warm start."""
    if latest_checkpoint(run / "checkpoints") is not None:
        return
    partial = run.with_name(f"{run.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(start, partial, ignore=shutil.ignore_patterns("finished", "samples"))
    except shutil.Error as error:
        # The error has one entry per file, and each entry ends with the reason.
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"{run} cannot be written: {error.args[0][0][-1]}") from None
    save_config(config, partial / "config.json")
    shutil.rmtree(run, ignore_errors=True)
    partial.rename(run)


def _run(run: Path, settings: Any) -> None:
    """Train to the end of the run unless it is finished. The parent reads the progress from its metrics.

    Args:
        run: the run's folder.
        settings: the settings of a new run as JSON values, because a user's own classes are loaded by name.
    """
    from hgpo.training.trainer import Trainer

    # Signals are handled before `stop` is read. The parent sets `stop` before it sends the signal, so that
    # one of the two is always noticed.
    with terminate_like_interrupt():
        if _stop.is_set() or (run / "finished").exists():
            return
        begun = (run / "config.json").exists()
        config = load_config(run / "config.json") if begun else from_json(settings)
        started = time.time()
        Trainer(config, run).run()
        atomic_write(run / "finished", f"{time.time() - started:.0f} seconds in the last part\n")
