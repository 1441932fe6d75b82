"""Gradients and learning on finite processes."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from hgpo.cli import main
from hgpo.estimators import GRPO
from hgpo.lab import learning
from hgpo.lab.decision_processes import draw_processes, exact_values
from hgpo.lab.gradient import GradientSetting, corrected_cosine, gradient_cosines, noisy_cosine
from hgpo.lab.kinds import KINDS, NO_EFFECT, STRONGLY
from hgpo.lab.learning import Adam, LearningSetting, learn, learn_all, optimum

FEW = GradientSetting(group_sizes=(8,), groups=64, processes=6)


def processes(kind: str, count: int):
    return draw_processes(KINDS[kind], [np.random.default_rng([7, each]) for each in range(count)])


class TestCosines:
    def test_noise_is_taken_out_of_the_expected_gradient(self):
        """The expected gradient is (1, 1), the true one (1, 0): 1/√2, whatever the noise of 4,000 groups of
        standard deviation 3. The mean alone would say the same here; each group alone is far off."""
        rng = np.random.default_rng(0)
        gradients = np.array([1.0, 1.0]) + 3 * rng.normal(size=(1, 4000, 2))
        truth = np.array([[[1.0, 0.0]]] * 2)
        assert corrected_cosine(gradients, truth) == pytest.approx([np.sqrt(0.5)], abs=0.05)
        assert noisy_cosine(gradients, truth[0])[0] < 0.4

    def test_few_groups_are_not_shrunk_by_their_noise(self):
        """Where noise is as large as the mean of a half, a plain cosine is too small; the mean over 2,000
        processes of the products is not."""
        rng = np.random.default_rng(1)
        gradients = np.concatenate([np.ones(4), np.zeros(60)]) + rng.normal(size=(2000, 16, 64))
        truth = np.concatenate([np.ones(4), np.zeros(60)])[None, None].repeat(2, 0).repeat(2000, 1)
        assert np.median(corrected_cosine(gradients, truth)) == pytest.approx(1.0, abs=0.05)

    def test_by_hand(self):
        """(3, 4) and (1, 0): 3/5; (0, 0) counts as 0."""
        gradients = np.array([[[3.0, 4.0], [0.0, 0.0]]])
        assert noisy_cosine(gradients, np.array([[1.0, 0.0]])) == pytest.approx([0.3])

    def test_what_is_unbiased_has_the_true_gradient(self):
        """GRPO's mean has the row's own return in it: its expectation is 7/8 of the true gradient."""
        found = {line.estimator: line.cosines for line in gradient_cosines(NO_EFFECT, FEW, seed=0)}
        assert found["GRPO"].expected.mean == pytest.approx(1.0, abs=0.05)
        for cosines in found.values():
            assert cosines.few.mean < cosines.many.mean < cosines.expected.mean

    def test_a_rows_cosine_is_not_the_gradients(self):
        """Where the past decides, states alone have the better rows and the worse expected gradient."""
        found = {line.estimator: line.cosines for line in gradient_cosines(STRONGLY, FEW, seed=0)}
        states = next(cosines for name, cosines in found.items() if "states only" in name)
        assert states.row.mean > found["GRPO"].row.mean
        assert states.expected.mean < found["GRPO"].expected.mean - 0.05


class TestLearning:
    setting = LearningSetting(iterations=5)

    def test_the_first_step_of_adam_is_the_rate(self):
        """m / √v = g / |g| after one step; a weight without a gradient stays."""
        found = Adam(0.1).ascend(np.array([1.0, 1.0, 1.0]), np.array([5.0, -0.01, 0.0]))
        np.testing.assert_allclose(found, [1.1, 0.9, 1.0])

    def test_without_advantages_nothing_is_learned(self):
        start = processes(NO_EFFECT, 3)
        curve = learn(start, lambda steps: np.zeros(len(steps)), self.setting, 8, 0.3, 0)
        assert curve.shape == (6, 3)
        assert (curve == exact_values(start, 1.0).start).all()

    def test_learning_is_below_the_optimum_and_above_the_start(self):
        start = processes(STRONGLY, 20)
        curve = learn(start, GRPO(normalization="mean"), self.setting, 8, 0.3, 0)
        best = optimum(start)
        assert (curve[-1] <= best + 1e-6).all()
        assert curve[-1].mean() > curve[0].mean() + 0.3 * (best - curve[0]).mean()

    def test_a_process_learns_the_same_in_any_batch(self):
        """Rows and gradients of different processes are kept apart: the last of three, whose random numbers
        come after those of the others, has its advantages from its own rollouts alone."""
        start = processes(STRONGLY, 3)
        seen = []

        def spy(steps):
            seen.append(len(np.unique(steps.task_code)))
            return np.where(steps.task_code < 4, 0.0, GRPO()(steps))

        curve = learn(start, spy, self.setting, 8, 0.3, 0)
        assert (curve[-1, :2] == curve[0, :2]).all()
        assert curve[-1, 2] != curve[0, 2]
        assert set(seen) == {6}

    def test_rates_are_chosen_on_other_processes(self, monkeypatch):
        drawn = []

        def draw(shape, rngs):
            found = draw_processes(shape, rngs)
            drawn.append(found.weights)
            return found

        monkeypatch.setattr(learning, "draw_processes", draw)
        monkeypatch.setattr(learning, "OPTIMUM_STEPS", 20)
        setting = LearningSetting(group_sizes=(8,), iterations=2, processes=6, tuning_processes=6)
        lines = learn_all(STRONGLY, setting, seed=0)
        tuning, reported = drawn
        assert not np.isin(tuning, reported).any()
        assert all(line.learning_rate in learning.RATES for line in lines)
        ours = next(line for line in lines if line.estimator == "HGPO")
        assert ours.less["HGPO"].mean == ours.less["HGPO"].high == 0


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "OPTIMUM_STEPS", 5)
    few = ["--seed", "3", "--workers", "1"]
    for name in ("a", "b"):
        out = ["--out", str(tmp_path / name), *few, "--processes.group-sizes", "4"]
        gradient = ["--processes.processes", "2", "--processes.groups", "32"]
        games = ["--games.agents", "2", "--games.groups", "16", "--games.reference", "64"]
        assert main(["lab", "gradient", *out, *gradient, *games]) == 0
        learned = ["--processes.processes", "6", "--processes.tuning-processes", "1"]
        learned += ["--processes.iterations", "2", "--games.seeds", "2", "--games.tuning-seeds", "1"]
        learned += ["--games.iterations", "1", "--games.games", "10", "--games.held-out", "4"]
        assert main(["lab", "learning", *out, *learned, "--games.group-sizes", "4"]) == 0
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab")
    assert first == second
    stems = ("gradient_N4", "gradient_household", "learning_N4", "learning_household_N4")
    assert set(first) == {f"{stem}.{suffix}" for stem in stems for suffix in ("md", "csv")}
    with (tmp_path / "a" / "learning_N4.csv").open() as file:
        assert {row["kind"] for row in csv.DictReader(file)} == set(KINDS)
