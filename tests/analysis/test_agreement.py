"""Correlation and agreement of signs, worked out by hand."""

from __future__ import annotations

import numpy as np

from hgpo import StepTable
from hgpo.analysis.agreement import agreement


def test_agreement_by_hand():
    # a = [1, −1, 0, 0], b = [2, 1, −3, 0]: means 0; Σ ab = 2 − 1 = 1; |a| = √2, |b| = √14.
    # Rows where one is not 0: three; the same sign in the first alone.
    steps = StepTable(
        task_id=[0] * 4, trajectory_id=range(4), step_index=[0] * 4, state_key=["s"] * 4, reward=[0.0] * 4
    )
    estimators = {
        "a": lambda steps: np.array([1.0, -1, 0, 0]),
        "b": lambda steps: np.array([2.0, 1, -3, 0]),
        "nothing": lambda steps: np.zeros(4),
    }
    found = agreement(steps, estimators)
    assert found.names == ("a", "b", "nothing")
    np.testing.assert_allclose(found.correlation[0, 1], 1 / np.sqrt(28))
    np.testing.assert_allclose(np.diag(found.correlation)[:2], 1.0)
    assert np.isnan(found.correlation[2]).all()
    assert found.same_sign[0, 1] == found.same_sign[1, 0] == 1 / 3
    assert found.same_sign[0, 0] == 1.0
    assert found.same_sign[0, 2] == 0.0
    assert np.isnan(found.same_sign[2, 2])
    assert found.zero_share.tolist() == [0.5, 0.25, 1.0]
