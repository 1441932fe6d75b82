"""What two threads gain on a busy and on an idle machine, by how they wait for one another.

    python benchmarks/threads.py [--load 0 4 9] [--repeats 5] [--passes 10]

Forward and backward passes of the model that `hgpo train` makes, over rows as long as those of household
games, in three processes that take turns:

one thread    there is nobody to wait for
spinning      two threads as OpenMP has them by default: who waits keeps its core busy
asleep        two threads as `hgpo` lets them wait

Each load is so many other processes that compute all the time. What is told is the median of each, and of the
ratios of each turn. On a machine with other work the load is that much higher; its average is told, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from hgpo.threads import WAITING, wait_asleep

WAYS = {"one thread": 1, "spinning": 2, "asleep": 2}
"""The threads of each process."""


def main() -> None:
    """Measure and print a table."""
    arguments = _parser().parse_args()
    if arguments.work is not None:
        _work(arguments.work, arguments.passes)
        return
    print(f"{os.cpu_count()} cores; seconds of {arguments.passes} passes, median of {arguments.repeats}")
    print("| other processes | one thread | spinning | asleep | one / asleep | spinning / asleep | load |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    with ExitStack() as stack:
        workers = {way: stack.enter_context(_worker(way, arguments.passes)) for way in WAYS}
        for load in arguments.load:
            with _others(load):
                turns = [
                    {way: _turn(worker) for way, worker in workers.items()} for _ in range(arguments.repeats)
                ]
            _print_row(load, turns)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--load", type=int, nargs="+", default=[0, 4, 9], help="other processes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--passes", type=int, default=10, help="forward and backward passes of each turn")
    parser.add_argument("--work", choices=WAYS, help=argparse.SUPPRESS)
    return parser


def _print_row(load: int, turns: Sequence[dict[str, float]]) -> None:
    seconds = " | ".join(f"{median(turn[way] for turn in turns):.2f}" for way in WAYS)
    ratios = " | ".join(
        f"{median(turn[way] / turn['asleep'] for turn in turns):.2f}" for way in ("one thread", "spinning")
    )
    print(f"| {load} | {seconds} | {ratios} | {os.getloadavg()[0]:.1f} |", flush=True)


@contextmanager
def _worker(way: str, passes: int) -> Iterator[subprocess.Popen]:
    """A process that works when it is told to; it is ready when this returns."""
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    environment["OMP_NUM_THREADS"] = str(WAYS[way])
    command = [sys.executable, __file__, "--work", way, "--passes", str(passes)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, **pipes)
    try:
        _turn(process)
        yield process
    finally:
        process.kill()
        process.wait()


def _turn(worker: subprocess.Popen) -> float:
    """Seconds that the worker says it needed."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


@contextmanager
def _others(count: int) -> Iterator[None]:
    """So many processes that compute all the time."""
    busy = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(busy) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _work(way: str, passes: int) -> None:
    """Do the passes whenever a line comes in, and say how many seconds they took."""
    if way == "asleep":
        wait_asleep(os.environ)
    import numpy as np
    import torch

    from hgpo.policies.tiny import TinyModel, create_policy

    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(100)]
    policy = create_policy(words, TinyModel(), max_tokens=200, max_commands=10, seed=0)
    rng = np.random.default_rng(0)
    prompts = [tuple(row) for row in rng.integers(3, 100, (32, 100)).tolist()]
    responses = list(rng.integers(3, 100, (32, 6)))
    torch.set_num_threads(WAYS[way])
    for _ in sys.stdin:
        started = time.perf_counter()
        for _ in range(passes):
            for reading in policy.readings(prompts, responses):
                policy.score(reading, 1.0).logprobs.sum().backward()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
