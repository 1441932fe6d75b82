"""How near HGPO's baseline comes to the true expectation, by its level weights.

    python benchmarks/level_weights.py [--draws 10]

A row's baseline is R − A. It is compared with the expected return of the row's state and history, which is
known, as the walks are made up here. The lines differ in how strongly returns depend on history, and in their
noise.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hgpo import HGPO, StepTable

CASES: dict[str, tuple[tuple[float, float], float]] = {
    "nothing / 3": ((0.0, 0.0), 3.0),
    "0.3 each / 3": ((0.3, 0.3), 3.0),
    "1 each / 1": ((1.0, 1.0), 1.0),
    "3 by one state / 1": ((3.0, 0.0), 1.0),
    "3 each / 0.3": ((3.0, 3.0), 0.3),
}
"""History effect / noise: standard deviations of what the state before, and the one before that, add to the
expected return; and the standard deviation of the return about it."""
BASE = HGPO(discount=1.0, normalization="mean", peers="others")
FIXED = {
    "state alone": replace(BASE, history_length=0),
    "α = 0": replace(BASE, alpha=0.0),
    "α = 1": replace(BASE, alpha=1.0),
    "α = 2": replace(BASE, alpha=2.0),
    "α = ∞": replace(BASE, alpha=float("inf")),
}
"""Weights that are the same for all rows."""
WEIGHTS = {
    **FIXED,
    "size": replace(BASE, level_weights="size"),
    "reliability": replace(BASE, level_weights="reliability"),
}
TASKS, WALKS, STATES = 40, 16, 3


def nested_walks(
    rng: np.random.Generator, spread: tuple[float, float], noise: float
) -> tuple[StepTable, NDArray[np.float64]]:
    """Walks of three steps over few states, the last of which is paid; and what each is expected to be paid.

    The expectation depends on the last state, and by `spread` on the states before it.
    """
    rows, truth = [], []
    for task in range(TASKS):
        first = rng.normal(0, 2, STATES)
        second = rng.normal(0, spread[0], (STATES, STATES))
        third = rng.normal(0, spread[1], (STATES, STATES, STATES))
        for walk in range(WALKS):
            c, b, a = rng.integers(STATES, size=3)
            expected = first[a] + second[a, b] + third[a, b, c]
            for step, state in enumerate((c, b, a)):
                rows.append(
                    {
                        "task_id": task,
                        "trajectory_id": (task, walk),
                        "step_index": step,
                        "state_key": int(state) + 10 * step,
                        "reward": float(expected + rng.normal(0, noise)) if step == 2 else 0.0,
                    }
                )
            truth.append(expected)
    return StepTable.from_rows(rows), np.array(truth)


def baseline_error(estimator: HGPO, steps: StepTable, truth: NDArray[np.float64]) -> float:
    """Mean squared error of the baseline R − A of the walks' last steps."""
    baseline = (steps.reward - estimator(steps))[2::3]
    return float(np.mean((baseline - truth) ** 2))


def main() -> None:
    """Print the table; the least error of each line is bold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=10, help="of the walks; each figure is a mean over them")
    draws = range(parser.parse_args().draws)
    print(f"| history effect / noise | {' | '.join(WEIGHTS)} |\n|---|{'---|' * len(WEIGHTS)}")
    for name, (spread, noise) in CASES.items():
        walks = [nested_walks(np.random.default_rng(draw), spread, noise) for draw in draws]
        errors = [np.mean([baseline_error(each, *walk) for walk in walks]) for each in WEIGHTS.values()]
        cells = [f"**{error:.2f}**" if error == min(errors) else f"{error:.2f}" for error in errors]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
