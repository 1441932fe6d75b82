"""Speed and memory of the game engine on every valid game, beside the reference engine where it is installed.

    python benchmarks/environments.py [--data DIR] [--games N]

Random admissible commands, the admissible commands asked for at every step, one core. With neither --data nor
$ALFWORLD_DATA it plays the household games instead. The reference is TextWorld's PDDL engine with ALFWorld's
wrapper (pip install alfworld textworld); it plays a few games only, as it is slow.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import random
import resource
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from hgpo.envs import AlfworldSuite, HouseholdSuite, Task
from hgpo.envs.textgame import Episode, Game, compile_game

STEPS = 200
"""Commands given in each game; an episode that is won starts again."""
LIVE = 128
"""Episodes alive at once, as in the published training setting."""
REFERENCE_GAMES, REFERENCE_STEPS = 3, 20


def steps_per_second(game: Game, rng: random.Random) -> float:
    """Random play of one game."""
    episode = Episode(game)
    started = time.perf_counter()
    for _ in range(STEPS):
        episode.step(rng.choice(episode.admissible_commands))
        if episode.won:
            episode = Episode(game)
    return STEPS / (time.perf_counter() - started)


def measured(compile_task: Callable[[Task], Game], tasks: Sequence[Task]) -> tuple[list[float], list[float]]:
    """Seconds to load each game, and its steps a second."""
    compile_task(tasks[0])  # the domain and the grammar are compiled once for all games
    loads, speeds = [], []
    rng = random.Random(0)
    for task in tasks:
        started = time.perf_counter()
        game = compile_task(task)
        loads.append(time.perf_counter() - started)
        speeds.append(steps_per_second(game, rng))
    return loads, speeds


def bytes_a_live_game(compile_task: Callable[[Task], Game], tasks: Sequence[Task]) -> float:
    """What a compiled game with one episode of it under way takes, in Python's own count."""
    chosen = tasks[:20]
    compile_task(chosen[0])
    gc.collect()
    tracemalloc.start()
    live = []
    for task in chosen:
        episode = Episode(compile_task(task))
        episode.step(episode.admissible_commands[0])
        live.append(episode)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(live)


def peak_with_live_games(compile_task: Callable[[Task], Game], tasks: Sequence[Task]) -> float:
    """Peak bytes of this process with `LIVE` episodes of different games alive, after some steps of each."""
    live = [Episode(compile_task(tasks[i % len(tasks)])) for i in range(LIVE)]
    for episode in live:
        for _ in range(5):
            episode.step(episode.admissible_commands[-1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reference_speed(paths: Sequence[Path]) -> tuple[float, float]:
    """Median seconds to load and steps a second of the reference engine."""
    import textworld  # pyright: ignore[reportMissingImports]
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler  # pyright: ignore

    loads, speeds = [], []
    rng = random.Random(0)
    for path in paths:
        started = time.perf_counter()
        infos = textworld.EnvInfos(admissible_commands=True, won=True)
        environment = textworld.start(str(path), infos, wrappers=[AlfredDemangler()])
        state = environment.reset()
        loads.append(time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(REFERENCE_STEPS):
            state, _, done = environment.step(rng.choice(state["admissible_commands"]))
            if done:
                state = environment.reset()
        speeds.append(REFERENCE_STEPS / (time.perf_counter() - started))
        environment.close()
    return statistics.median(loads), statistics.median(speeds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the official games; by default $ALFWORLD_DATA")
    parser.add_argument("--games", type=int, help="only the first N tasks of each panel")
    options = parser.parse_args()
    official = options.data or os.environ.get("ALFWORLD_DATA")
    suite = AlfworldSuite(data=official) if official else HouseholdSuite()
    tasks = [task for split in suite.splits[1:] for task in suite.tasks(split, options.games)]

    def compile_task(task: Task) -> Game:
        return task.game.compile() if official else compile_game(task.game)

    peak = peak_with_live_games(compile_task, tasks)
    size = bytes_a_live_game(compile_task, tasks)
    loads, speeds = measured(compile_task, tasks)
    print(f"{'ALFWorld' if official else 'household'}: {len(tasks)} games, {STEPS} random commands each")
    print(f"  steps a second    median {statistics.median(speeds):9,.0f}   slowest {min(speeds):9,.0f}")
    print(
        f"  load, ms          median {statistics.median(loads) * 1e3:9.1f}   slowest {max(loads) * 1e3:9.1f}"
    )
    print(f"  a live game       {size / 1e6:.2f} MB")
    print(f"  {LIVE} live games    {peak / 1e6:.0f} MB in all, the process with its imports")
    if not official or importlib.util.find_spec("alfworld") is None:
        print("  the reference engine is not installed: pip install alfworld textworld")
        return
    load, speed = reference_speed([task.game.folder / "game.tw-pddl" for task in tasks[:REFERENCE_GAMES]])
    print(f"  reference         {speed:.1f} steps a second, {load * 1e3:,.0f} ms to load")
    print(f"  ratio             {statistics.median(speeds) / speed:,.0f} times the steps")


if __name__ == "__main__":
    main()
