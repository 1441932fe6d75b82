"""Memory, which can be counted; time is measured by benchmarks/estimators.py."""

import tracemalloc

import numpy as np
import pytest

from hgpo import HGPO, StepTable


@pytest.mark.parametrize("history_length", [2, 8])
def test_a_row_costs_at_most_200_bytes(history_length: int):
    rows = 26 * 800
    rng = np.random.default_rng(0)
    columns = {
        "task_id": [f"task-{row // 208}" for row in range(rows)],
        "trajectory_id": [f"rollout-{row // 26}" for row in range(rows)],
        "step_index": [row % 26 for row in range(rows)],
        "state_key": [f"room {state}" for state in rng.integers(40, size=rows)],
        "reward": rng.integers(2, size=rows).astype(float).tolist(),
    }
    tracemalloc.start()
    HGPO(history_length=history_length)(StepTable(**columns))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / rows <= 200
