"""Tries an estimator of a user's own on a few steps, so that wrong results are found before a run begins."""

from __future__ import annotations

from typing import Any

import numpy as np

from hgpo.estimators.comparison import Comparison
from hgpo.steps import StepTable

ROWS = 4


def wrong_results(estimator: Any) -> str | None:
    """What is wrong with an estimator's results on two trajectories of one task; None if nothing is.

    An estimator that raises an error here is not judged: it may need a column that these steps lack.
    """
    steps = StepTable(
        task_id=["task"] * ROWS,
        trajectory_id=["a", "a", "b", "b"],
        step_index=[0, 1, 0, 1],
        state_key=["start", "left", "start", "right"],
        reward=[0.0, 1.0, 0.0, 0.0],
        observation=["start", "left", "start", "right"],
        action=["go left", "take", "go right", "take"],
        action_valid=[True, True, True, False],
        value=[0.5, 0.5, 0.5, 0.0],
        entropy=[1.0, 0.5, 1.0, 0.5],
    )
    try:
        advantages, compared = estimator(steps), estimator.comparison(steps)
    except Exception:
        return None
    if not _one_number_per_row(advantages):
        return f"called with {ROWS} rows, it returned {advantages!r:.60}: expected one finite number per row"
    if not isinstance(compared, Comparison):
        return f"comparison returned {compared!r:.60}: expected an hgpo.estimators.Comparison"
    if not _one_number_per_row(compared.returns):
        return f"comparison has the returns {compared.returns!r:.60}: expected one finite number per row"
    return None


def _one_number_per_row(values: Any) -> bool:
    found = np.asarray(values)
    return found.shape == (ROWS,) and found.dtype.kind in "fiu" and bool(np.isfinite(found).all())
