"""Metrics of a batch's rollouts and groups, reported under `hgpo/`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hgpo.adapters import step_records
from hgpo.adapters.verl.rows import StepRow
from hgpo.estimators import Estimator
from hgpo.steps import StepTable


def diagnostics(
    rows: Sequence[StepRow],
    steps: StepTable,
    advantages: NDArray[np.float64],
    estimator: Estimator,
    *,
    tried: int,
) -> dict[str, float]:
    """Every metric by its name (see `step_records.diagnostics`), and the number of restarted trajectories."""
    figures = step_records.diagnostics(rows, steps, advantages, estimator, tried=tried)
    figures["restarted_trajectories"] = float(len({row.trajectory for row in rows if row.restarts > 0}))
    return {f"hgpo/{name}": value for name, value in figures.items()}
