"""How long the live page waits for its answers, over 100,000 rollouts of twelve steps.

    python benchmarks/view.py                 a run of 200 iterations, and one file with all rollouts
    python benchmarks/view.py --iterations 20

Each answer is timed twice: when the server has just started, and when what it needs has been read. The last
column is the share of what it takes to read all rollouts whole, with `read_rollouts`, as without an index.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hgpo import HGPO, StepTable
from hgpo.rollout_files import read_rollouts, write_rollouts
from hgpo.training.config import TrainConfig, save_config
from hgpo.view.rollouts import Filter, Rollouts
from hgpo.view.sources import open_source

STEPS, GROUP, PER_ITERATION = 12, 16, 512
OWN = json.dumps({"name": "own"})


def rollouts(count: int, seed: int = 0) -> StepTable:
    """Rollouts of tasks with 40 states each, whose last step is rewarded in half of them."""
    rng = np.random.default_rng(seed)
    rows = count * STEPS
    trajectory, step = np.repeat(np.arange(count), STEPS), np.tile(np.arange(STEPS), count)
    task, state = trajectory // GROUP, rng.integers(0, 40, rows)
    action = rng.integers(0, 20, rows)
    won = np.repeat(rng.integers(0, 2, count), STEPS)
    return StepTable(
        task_id=[f"{number}/train/{number}" for number in task],
        trajectory_id=[f"{t}/train/{t}/{n}" for t, n in zip(task, trajectory, strict=True)],
        step_index=step,
        state_key=[f"state {number}" for number in state],
        reward=10.0 * won * (step == STEPS - 1),
        observation=[f"you are in room {number}; there is a door, a table and a lamp." for number in state],
        action=[f"go to thing {number}" for number in action],
        prompt_tokens=list(rng.integers(0, 200, (rows, 60))),
        response_tokens=list(rng.integers(0, 200, (rows, 5))),
        response_logprobs=list(-rng.random((rows, 5)).round(2)),
    )


def details(steps: StepTable) -> dict[str, list[Any]]:
    """Six types of tasks."""
    total = np.bincount(steps.trajectory_code, steps.reward)[steps.trajectory_code]
    return {"task_type": [f"type {code % 6}" for code in steps.task_code], "won": (total > 0).tolist()}


def write_run(folder: Path, iterations: int) -> None:
    """A run whose iterations are copies of one."""
    folder.mkdir()
    config = TrainConfig(estimator=HGPO(history_length=2), iterations=iterations, keep_rollouts=True)
    save_config(config, folder / "config.json")
    steps = rollouts(PER_ITERATION)
    first = folder / "rollouts" / "000001.parquet"
    write_rollouts(first, steps, details=details(steps))
    for iteration in range(2, iterations + 1):
        shutil.copy(first, first.with_name(f"{iteration:06d}.parquet"))
    record = {f"metric_{number}": 0.5 for number in range(40)}
    lines = [json.dumps({"iteration": number, **record}) for number in range(1, iterations + 1)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(name: str, path: Path, files: list[Path]) -> None:
    """Print the times of a page's questions over a source."""
    whole = seconds(lambda: read_rollouts(files[0])) * len(files)
    found = Rollouts([open_source(path, {}, None)])
    latest = found.sources[0].batches()[-1].iteration
    print(f"\n{name}: all rollouts read whole with read_rollouts take {whole:.1f} s")
    print("| question | at first | again | again, of reading all |\n|---|---|---|---|")

    def every(wanted: Filter = Filter(), **settings: Any) -> Callable[[], Any]:  # noqa: B008
        return lambda: found.find(0, wanted, OWN, seconds=1e9, **settings)

    row = found.find(0, Filter(), OWN).rows[0]
    found = Rollouts(found.sources)
    questions: dict[str, Callable[[], Any]] = {
        "curves, settings and what there is": lambda: (found.sources[0].about(), found.sources[0].state()),
        "the first page, the latest rollouts": lambda: found.find(0, Filter(), OWN, seconds=0.0),
        "all rollouts indexed, with advantages": every(),
        "credit by task type and iteration": lambda: found.credit_by_type(0, OWN, seconds=1e9),
        "sorted by advantage, the 500th page": every(sort="advantage", first=50_000),
        "filtered by success, type and advantage": every(
            Filter(won=True, task_type="type 3", advantage=(0, None))
        ),
        "a text in observations and actions": every(Filter(text="thing 7")),
        "a task with its group map": lambda: found.task(0, latest, row["task"], OWN, row["trajectory"]),
        "a rollout's prompts and answers": lambda: found.answers(0, latest, row["trajectory"]),
    }
    for question, ask in questions.items():
        first, again = seconds(ask), seconds(ask)
        print(f"| {question} | {first:.3f} s | {again:.3f} s | 1/{whole / max(again, 1e-6):.0f} |")


def main() -> None:
    """Make the rollouts, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=200)
    iterations = parser.parse_args().iterations
    with tempfile.TemporaryDirectory() as name:
        run, file = Path(name) / "run", Path(name) / "rollouts.parquet"
        write_run(run, iterations)
        files = sorted((run / "rollouts").iterdir())
        measure(f"A run of {iterations} iterations, {iterations * PER_ITERATION:,} rollouts", run, files)
        steps = rollouts(iterations * PER_ITERATION)
        write_rollouts(file, steps, details=details(steps))
        del steps
        measure(f"One file of {iterations * PER_ITERATION:,} rollouts", file, [file])


if __name__ == "__main__":
    main()
