"""Processes that play games for verl: a few with many episodes each, beside one for each game.

    python benchmarks/verl_environments.py --games 16 --env alfworld

Games are played at random, all at once. Of each way: seconds until all have begun, steps a second once they
have, memory of all processes. The ratio is of these, in the same run, median of several rounds. One process a
game is how the released system does it. Needs pip install 'hgpo[verl]'.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import ray
import tyro

from hgpo.adapters.task_stream import TaskReference
from hgpo.adapters.verl.environments import EnvironmentHost, EnvironmentPool
from hgpo.adapters.verl.settings import StepwiseSettings


@dataclass(frozen=True)
class Options:
    """Measure."""

    env: str = "household"
    """The games."""
    games: int = 16
    """Live at once, and the number of processes of the other way."""
    processes: tuple[int, ...] = (1, 2, 4)
    """Numbers of processes to try."""
    steps: int = 20
    """Of each game and round."""
    rounds: int = 3
    """The median of so many is shown."""


def main() -> None:
    """Print a table."""
    options = tyro.cli(Options)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    print(f"{options.games} games of {options.env}, {options.steps} steps each, median of {options.rounds}")
    print(f"{'processes':>9} {'begin s':>9} {'steps/s':>9} {'memory GB':>10}")
    for count in (*options.processes, options.games):
        begun, rate, memory = _measure(options, count)
        print(f"{count:9} {begun:9.1f} {rate:9.0f} {memory:10.2f}")


def _measure(options: Options, count: int) -> tuple[float, float, float]:
    settings = StepwiseSettings(env={"type": options.env})
    split = settings.suite().splits[0]
    actor: Any = ray.remote(EnvironmentHost)
    began = time.perf_counter()
    hosts = [actor.options(num_cpus=0).remote(settings) for _ in range(count)]
    ray.get([host.episodes.remote() for host in hosts])
    ready = time.perf_counter() - began
    rates = [
        asyncio.run(_round(EnvironmentPool(hosts), options, TaskReference(split, options.games, number, 0)))
        for number in range(options.rounds)
    ]
    pids = ray.get([host.__ray_call__.remote(lambda self: __import__("os").getpid()) for host in hosts])
    memory = sum(_memory(pid) for pid in pids)
    for host in hosts:
        ray.kill(host)
    return ready, median(rates), memory


async def _round(pool: EnvironmentPool, options: Options, draw: TaskReference) -> float:
    rng = random.Random(0)
    barrier = asyncio.Barrier(options.games)
    taken = 0
    began = 0.0

    async def play(number: int) -> None:
        nonlocal taken, began
        async with pool.episode(str(number)) as episode:
            _, now = await episode.start(TaskReference(draw.split, draw.count, draw.seed, number))
            await barrier.wait()
            began = began or time.perf_counter()
            for _ in range(options.steps):
                if now.over:
                    return
                command = rng.choice(now.info.admissible_commands).replace("<words>", "red shoes")
                now = await episode.step(command)
                taken += 1

    await asyncio.gather(*map(play, range(options.games)))
    return taken / (time.perf_counter() - began)


def _memory(pid: int) -> float:
    """Gigabytes of a process, what it shares with others counted in parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1e6
    return 0.0


if __name__ == "__main__":
    main()
