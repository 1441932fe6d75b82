"""Advantages of one size for every estimator."""

import numpy as np
import pytest
from tables import walks
from toy_runs import config, figures, run

from hgpo import GRPO, HGPO, StepTable
from hgpo.rollout_files import read_rollouts
from hgpo.training.advantage_scale import matched, root_mean_square
from hgpo.training.choices import default_estimator


def test_the_root_mean_square_counts_rows_without_advantage():
    # √((3² + 4² + 0² + 0²) / 4) = 2.5
    assert root_mean_square(np.array([3.0, -4.0, 0.0, 0.0])) == 2.5
    assert root_mean_square(np.array([])) == 0.0


def test_matched_advantages_have_the_other_size_and_their_own_ratios():
    # GRPO without division on sums 8 and 0: ±4 on all rows, rms 4. HGPO (γ = 1) compares the first rows, in A:
    # ±4, and not those in B and C: rms √(2 · 16 / 4) = √8.
    steps = walks(("AB", [0.0, 8.0]), ("AC", [0.0, 0.0]))
    grpo, hgpo = GRPO(normalization="mean"), HGPO(normalization="mean", discount=1.0)
    expected = np.array([1, 1, -1, -1]) * 8**0.5
    np.testing.assert_allclose(matched(grpo(steps), steps, hgpo), expected, rtol=1e-12)


def test_advantages_that_are_all_0_stay_so():
    steps = StepTable(task_id=["t"], trajectory_id=["a"], step_index=[0], state_key=["A"], reward=[1.0])
    np.testing.assert_array_equal(matched(np.zeros(1), steps, HGPO()), [0.0])


def test_a_run_learns_from_matched_advantages(tmp_path):
    settings = config(iterations=2, keep_rollouts=True, estimator=GRPO(), advantage_scale="match")
    run(settings, tmp_path)
    for file, record in zip(sorted((tmp_path / "rollouts").iterdir()), figures(tmp_path), strict=True):
        steps = read_rollouts(file).steps
        size = root_mean_square(default_estimator(HGPO)(steps))
        assert record["advantage_rms"] == pytest.approx(size, rel=1e-12) != root_mean_square(GRPO()(steps))
