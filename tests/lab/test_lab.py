"""The laboratory's own arithmetic: exact values, samples, errors, weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hgpo.cli import main
from hgpo.estimators import HGPO
from hgpo.lab.decision_processes import (
    Processes,
    ProcessShape,
    draw_processes,
    exact_gradient,
    exact_values,
    sample_steps,
    score_gradients,
)
from hgpo.lab.errors import split_errors
from hgpo.lab.estimators import Compared, FixedWeights, SingleLevel, WholeHistory, fitted_critic
from hgpo.lab.measure import Setting, alignment_of, draw_sample, estimates, score
from hgpo.lab.sweeps import AHEAD, AXES, setting_at, sweep
from hgpo.lab.theory import Moments, best_weights, check_claims, level_moments, settings_of_kinds
from hgpo.returns import discounted_returns
from hgpo.steps import StepTable

SHAPE = ProcessShape(
    states=3, horizon=3, memory=2, history_dependence=1.0, history_reward_scale=0.7, transition_noise=0.4
)


def drawn(shape: ProcessShape, *seeds: int) -> Processes:
    return draw_processes(shape, [np.random.default_rng(seed) for seed in seeds])


def by_enumeration(processes: Processes, number: int, discount: float) -> float:
    """The value of the start, by every path there is and its probability."""
    shape = processes.shape
    total = 0.0
    for actions in itertools.product(range(shape.actions), repeat=shape.horizon):
        for states in itertools.product(range(shape.states), repeat=shape.horizon):
            state, memory, probability, value = 0, processes.empty_memory, 1.0, 0.0
            for time, (action, after) in enumerate(zip(actions, states, strict=True)):
                observation = processes.observation_of[state]
                probability *= processes.policy[number, observation, memory, action]
                probability *= processes.transition[number, state, action, after]
                reward = processes.history_reward[number, memory]
                reward += processes.final_reward[number, after] if time == shape.horizon - 1 else 0.0
                value += discount**time * reward
                memory = int(processes.remember(np.array(memory), observation))
                state = after
            total += probability * value
    return total


@pytest.mark.parametrize("aliasing", [1, 2])
@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_values_are_those_of_all_paths(aliasing, discount):
    """Rejects: a memory that is remembered too early or too late, a discount at the wrong place, processes of
    a batch that are mixed up."""
    processes = drawn(ProcessShape(**{**vars(SHAPE), "aliasing": aliasing}), 3, 4)
    start = exact_values(processes, discount).start
    expected = [by_enumeration(processes, number, discount) for number in range(2)]
    assert start.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("aliasing", [1, 2])
def test_the_gradient_is_that_of_finite_differences(aliasing):
    """∂V/∂θ ≈ (V(θ + ε) − V(θ − ε)) / 2ε for every weight of two processes at once."""
    processes = drawn(ProcessShape(**{**vars(SHAPE), "aliasing": aliasing, "horizon": 5}), 3, 4)
    found = exact_gradient(processes, exact_values(processes, 1.0))
    differences = np.empty_like(found)
    for place in np.ndindex(found.shape[1:]):
        step = np.zeros(found.shape)
        step[(slice(None), *place)] = 1e-5
        above, below = (
            exact_values(processes.with_weights(processes.weights + sign * step), 1.0).start
            for sign in (1, -1)
        )
        differences[(slice(None), *place)] = (above - below) / 2e-5
    np.testing.assert_allclose(found, differences, atol=1e-8)
    assert np.abs(found).max() > 0.01


def test_the_sampled_gradient_is_the_exact_one_on_average():
    """With the exact advantages Σ A ∇θ log π per rollout has the exact gradient as its mean."""
    processes = drawn(SHAPE, 3, 4)
    values = exact_values(processes, 1.0)
    sample = sample_steps(processes, values, groups=5000, group_size=4, rng=np.random.default_rng(0))
    found = score_gradients(processes, sample, sample.advantage, sample.process, 2) / 20_000
    np.testing.assert_allclose(found, exact_gradient(processes, values), atol=0.02)


def test_score_gradients_by_hand():
    """Without weights both actions have probability 1/2: an advantage of 2 for action 1 gives −1 and 1 at the
    features of its row: the observation, and the two before the start."""
    processes = drawn(ProcessShape(states=2, horizon=1), 0)
    processes = processes.with_weights(np.zeros_like(processes.weights))
    sample = sample_steps(
        processes, exact_values(processes, 1.0), groups=1, group_size=8, rng=np.random.default_rng(0)
    )
    second = (sample.action == 1).astype(int)
    assert 0 < second.sum() < 8
    first, rest = score_gradients(processes, sample, 2.0 * second, np.arange(8), 8)[second == 1][:2]
    np.testing.assert_allclose(first, rest)
    # Observations 0 and 1, then digits 0, 1 and "before the start" of each of two remembered ones.
    np.testing.assert_allclose(first[[0, 4, 7]], [[-1, 1]] * 3)
    np.testing.assert_allclose(first[[1, 2, 3, 5, 6]], 0)


def test_advantages_average_to_nothing_under_the_policy():
    """Σ_a π(a) (Q(a) − V) = 0 in every state with its memory."""
    processes = drawn(SHAPE, 0)
    values = exact_values(processes, 0.9)
    policy = processes.policy[:, processes.observation_of][:, None]
    np.testing.assert_allclose((policy * values.action_value).sum(axis=4), values.value, atol=1e-12)


def test_samples_have_the_returns_that_are_expected():
    """Returns less Q have mean 0 in each kind of row, and their standard error is what chance makes of them."""
    processes = drawn(SHAPE, *range(12))
    values = exact_values(processes, 0.9)
    sample = sample_steps(processes, values, groups=2000, group_size=4, rng=np.random.default_rng(2))
    off = discounted_returns(sample.steps, 0.9) - sample.value - sample.advantage
    _, kind, count = np.unique(sample.kind, return_inverse=True, return_counts=True)
    mean = np.bincount(kind, off) / count
    error = np.sqrt(np.bincount(kind, off**2) / count / count)
    many = count > 200
    assert many.sum() > 100
    assert np.abs(mean[many] / error[many]).max() < 4.5
    assert np.mean((mean[many] / error[many]) ** 2) == pytest.approx(1.0, abs=0.4)


def test_the_action_is_a_column():
    sample = draw_sample(Setting(rows=2000), seed=0, number=0)
    assert sample.steps.action is not None
    assert sample.steps.action.tolist() == [str(action) for action in sample.action]


def test_without_a_clock_states_come_back():
    """Four states in eight steps: one of them has to occur twice."""
    with_clock, without = (
        draw_sample(Setting(shape=ProcessShape(clock=clock), rows=2000), seed=0, number=0).steps
        for clock in (True, False)
    )
    assert len(np.unique(with_clock.state_key)) > 4 == len(np.unique(without.state_key))


def test_a_million_steps():
    """As many rows as are asked for, in order of rollout and step."""
    sample = draw_sample(Setting(rows=1_000_000), seed=0, number=0)
    assert len(sample.steps) == 1_000_000
    assert sample.steps.step_index[:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert sample.steps.task_code[-1] == 1_000_000 // 64 - 1


class TestErrors:
    def test_by_hand(self):
        """Kind 0: means 1 + 2 in the first half, 3 in the second: (1.5)(3). Kind 1: (−1)(−1). Kind 2 has one
        half alone and does not count. Weighted by 3 and 2 rows: (3 · 4.5 + 2 · 1) / 5 = 3.1."""
        error = np.array([1.0, 2.0, 3.0, -1.0, -1.0, 7.0])
        kind = np.array([0, 0, 0, 1, 1, 2])
        half = np.array([False, False, True, False, True, True])
        found = split_errors(error, kind, half)
        assert found.bias_squared == pytest.approx(3.1)
        assert found.mean_squared == pytest.approx((1 + 4 + 9 + 1 + 1 + 49) / 6)
        assert found.variance == pytest.approx(65 / 6 - 3.1)

    def test_noise_is_no_bias(self):
        """Bias 0.3, noise 1, five rows a kind: a mean squared would say 0.09 + 1/5 per half."""
        rng = np.random.default_rng(0)
        kind = np.repeat(np.arange(20_000), 10)
        half = np.tile(np.arange(10) % 2 == 0, 20_000)
        found = split_errors(0.3 + rng.normal(size=200_000), kind, half)
        assert found.bias_squared == pytest.approx(0.09, abs=0.01)
        assert found.variance == pytest.approx(1.0, abs=0.02)

    def test_noise_of_the_truth_is_neither(self):
        """The truth is known to ± 1, twice: both parts are what they are with the exact one."""
        rng = np.random.default_rng(1)
        kind = np.repeat(np.arange(20_000), 10)
        half = np.tile(np.arange(10) % 2 == 0, 20_000)
        error = 0.3 + rng.normal(size=200_000)
        truth, other = np.repeat(rng.normal(size=(2, 20_000)), 10, axis=1)
        found = split_errors(error - truth, kind, half, error - other)
        assert found.bias_squared == pytest.approx(0.09, abs=0.03)
        assert found.variance == pytest.approx(1.0, abs=0.03)

    def test_alignment(self):
        """(1, 2) and (2, 1): 4 / √(5 · 5)."""
        truth = np.array([2.0, 1.0])
        assert alignment_of(np.array([1.0, 2.0]), truth, truth) == pytest.approx(0.8)
        assert alignment_of(np.array([10.0, 20.0]), truth, truth) == pytest.approx(0.8)
        assert alignment_of(np.zeros(2), truth, truth) == 0.0


class TestContestants:
    sample = draw_sample(Setting(rows=4000), seed=1, number=0)

    def test_fixed_weights_of_a_power_are_hgpo(self):
        """1, 2, 3 over the levels that count is α = 1."""
        ours = FixedWeights((1.0, 2.0, 3.0), 1.0)(self.sample.steps)
        theirs = HGPO(discount=1.0, normalization="mean")(self.sample.steps)
        np.testing.assert_allclose(np.nan_to_num(ours), theirs, atol=1e-12)

    def test_a_level_by_itself(self):
        """Level 0 alone is HGPO with K = 0; at level 2 rows of the first two steps are compared with nothing."""
        alone = SingleLevel(0, 1.0)(self.sample.steps)
        theirs = HGPO(history_length=0, discount=1.0, normalization="mean")(self.sample.steps)
        np.testing.assert_allclose(np.nan_to_num(alone), theirs, atol=1e-12)
        deep = SingleLevel(2, 1.0)(self.sample.steps)
        assert np.isnan(deep[self.sample.steps.step_index < 2]).all()
        assert not np.isnan(deep).all()

    def test_the_whole_history(self):
        """Two rollouts a b c and x b c: at c, level 1 compares them and the whole history does not; two
        a b c are compared at every step. Returns 1 and 3 about their mean are −1 and 1."""

        def table(first: str) -> StepTable:
            return StepTable(
                task_id=[0] * 6, trajectory_id=[0, 0, 0, 1, 1, 1], step_index=[0, 1, 2] * 2,
                state_key=["a", "b", "c", first, "b", "c"], reward=[0, 0, 1, 0, 0, 3],
            )  # fmt: skip

        assert np.isnan(WholeHistory(1.0)(table("x"))).all()
        assert WholeHistory(1.0)(table("a")).tolist() == [-1, -1, -1, 1, 1, 1]
        assert SingleLevel(1, 1.0)(table("x"))[[2, 5]].tolist() == [-1, 1]

    def test_a_row_that_is_compared_with_nothing(self):
        assert np.isnan(Compared(lambda steps: np.array([0.0, 1.0]))(self.sample.steps)).tolist() == [
            True,
            False,
        ]

    def test_a_fitted_critic(self):
        value = fitted_critic(np.array([7, 3, 7]), np.array([1.0, 5.0, 3.0]))
        assert value(np.array([3, 7, 4, 9])).tolist() == [5.0, 2.0, 3.0, 3.0]


def test_the_exact_value_has_no_bias_and_an_estimator_that_is_off_has():
    sample, found = estimates(Setting(), 0, 0)
    exact = score(sample, found["exact value"])
    assert abs(exact.errors.bias_squared) < 0.002
    assert exact.coverage == 1.0
    off = score(sample, found["exact value"] + 0.5)
    assert off.errors.bias_squared == pytest.approx(0.25, abs=0.02)
    assert off.errors.variance == pytest.approx(exact.errors.variance, rel=0.02)


class TestTheory:
    def test_weights_of_least_error(self):
        """Without bias and covariance weights go like 1 / variance: 3/4 and 1/4 for 1 and 3. With a bias of 1
        in the first, M = diag(2, 3): 3/5 and 2/5."""
        none = np.zeros((2, 2))
        moments = Moments(bias=none, noise=np.diag([1.0, 3.0]), share=1.0)
        assert moments.best_weights().tolist() == pytest.approx([0.75, 0.25])
        moments = Moments(bias=np.diag([1.0, 0.0]), noise=np.diag([1.0, 3.0]), share=1.0)
        assert moments.best_weights().tolist() == pytest.approx([0.6, 0.4])

    def test_moments_are_those_of_the_errors(self):
        """The diagonal is what `split_errors` says of each level on the same rows."""
        setting = Setting(rows=50_000, history_length=1)
        moments = level_moments(setting, 0, 0)
        sample = draw_sample(setting, 0, 0)
        levels = [SingleLevel(level, 1.0)(sample.steps) for level in (0, 1)]
        both = ~np.isnan(levels[0]) & ~np.isnan(levels[1])
        assert moments.share == pytest.approx(both.mean())
        half = (sample.steps.task_code % 2 == 1)[both]
        for level in (0, 1):
            error = (levels[level] - sample.advantage)[both]
            found = split_errors(error, sample.kind[both], half)
            assert moments.bias[level, level] == pytest.approx(found.bias_squared, abs=1e-12)
            assert moments.noise[level, level] == pytest.approx(found.variance, abs=1e-12)

    def test_where_state_groups_win_and_where_deep_ones_do(self):
        """With the row itself left out, as its own return is in its own mean."""
        kinds = settings_of_kinds(Setting(rows=60_000, processes=4, group_size=16))
        nothing = best_weights(kinds["history has no effect"], 0)
        much = best_weights(kinds["reward depends strongly on history"], 0)
        assert nothing == pytest.approx([1, 0, 0], abs=0.1)
        assert much[2] > 0.5 > 0.3 > much[0]

    def test_claims(self):
        setting = Setting(rows=60_000, processes=4, group_size=16)
        kinds = settings_of_kinds(setting)
        verdicts = {
            name: {claim.claim: claim.verdict for claim in check_claims(kinds[name], name, 0)}
            for name in ("history has no effect", "reward depends strongly on history")
        }
        assert verdicts["reward depends strongly on history"]["bias² falls from level 0 to 1"] == "holds"
        assert verdicts["history has no effect"]["bias² falls from level 0 to 1"] != "holds"
        for found in verdicts.values():
            assert found["levels 0 and 1 are uncorrelated: advantages"] == "fails"
            assert found["the weighted mean's variance is Σ w² Var, as without covariance"] == "fails"
            assert found["the weighted mean's variance is at most that of the noisiest level"] == "holds"


class TestSweeps:
    base = Setting(rows=3000, processes=3)

    def test_the_numbers_do_not_depend_on_the_workers(self):
        alone, shared = (list(sweep(self.base, ["alpha"], seed=2, workers=w)) for w in (1, 2))
        assert alone == shared
        assert {line.at for line in alone} == set(AXES["alpha"])

    def test_each_value_is_what_it_says(self):
        assert setting_at(self.base, "N", 32).group_size == 32
        assert setting_at(self.base, "K", 4).history_length == 4
        assert setting_at(self.base, "horizon", 16).shape.horizon == 16
        lines = list(sweep(self.base, ["N"], seed=0, workers=1))
        of_levels = [line for line in lines if line.estimator == "level 0"]
        assert [line.at for line in of_levels] == [4, 8, 16, 32]
        assert all(line.figures[AHEAD].mean == 0 for line in of_levels)
        coverage = [line.figures["coverage"].mean for line in of_levels]
        assert coverage == sorted(coverage)


class TestCommand:
    def test_the_same_seed_gives_the_same_files(self, tmp_path):
        few = ["--axes", "history_reward_scale", "--rows", "2000", "--processes", "2", "--workers", "1"]
        for name in "ab":
            assert main(["lab", "bias-variance", *few, "--out", str(tmp_path / name)]) == 0
        for suffix in ("md", "csv", "svg", "png"):
            first, second = (
                (tmp_path / name / f"sweep_history_reward_scale.{suffix}").read_bytes() for name in "ab"
            )
            assert first == second

    def test_tables_and_pictures(self, tmp_path, capsys):
        few = ["--rows", "2000", "--processes", "2", "--out", str(tmp_path)]
        assert main(["lab", "bias-variance", "--axes", "history_reward_scale", "--workers", "1", *few]) == 0
        assert main(["lab", "theory", *few]) == 0
        names = {path.name for path in tmp_path.iterdir()}
        assert {f"sweep_history_reward_scale.{suffix}" for suffix in ("png", "svg", "md", "csv")} <= names
        assert {"theory_claims.md", "theory_claims.csv", "theory_weights.md", "theory_weights.csv"} <= names
        header = (tmp_path / "sweep_history_reward_scale.csv").read_text().splitlines()[0]
        assert header.startswith("history_reward_scale,estimator,bias,bias low,bias high,spread")
        assert "all of" not in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["bias-variance", "--axes", "speed"], "no axis 'speed': choose from N, K, alpha, horizon"),
            (["bias-variance", "--rows", "10"], "--rows is 10: expected 1000 or more"),
            (["theory", "--processes", "1"], "--processes is 1: expected 2 or more"),
            (["bias-variance", "--shape.states", "1"], "states is 1: expected 2 or more"),
            (["oracle", "--policy", "random", "--env", "chess"], "--env chess: choose from household"),
            (
                ["oracle", "--policy", "random", "--error", "0.5"],
                "--error applies to the expert, not to random",
            ),
            (["oracle", "--policy", "expert", "--error", "1.5"], "--error is 1.5: expected a probability"),
            (["oracle", "--policy", "random", "--groups", "3"], "expected an even number of at least 2"),
        ],
    )
    def test_wrong_use_is_one_line(self, arguments, message, capsys, tmp_path):
        assert main(["lab", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
