"""Dr. GRPO, RLOO, REINFORCE++ and PPO: numbers by hand, and how they relate to each other."""

import numpy as np
import plain_loop
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, any_rows, walk_rows, walks

from hgpo import ESTIMATORS, GRPO, HGPO, PPO, RLOO, DrGRPO, GiGPO, ReinforcePlusPlus, StepTable
from hgpo.returns import discounted_returns, generalized_advantages


def with_values(rows: Rows, seed: int = 0) -> StepTable:
    values = np.random.default_rng(seed).normal(size=len(rows))
    return StepTable.from_rows([row | {"value": value} for row, value in zip(rows, values, strict=True)])


def test_rloo_compares_with_the_others_mean():
    # Sums 6, 0, 3: 6 − 1.5, 0 − 4.5, 3 − 3, on every row.
    steps = walks(("AB", [2.0, 4.0]), ("A", [0.0]), ("AB", [3.0, 0.0]))
    assert RLOO()(steps).tolist() == [4.5, 4.5, -4.5, 0.0, 0.0]


def test_dr_grpo_does_not_divide():
    # Sums 6, 0, 3: mean 3.
    steps = walks(("AB", [2.0, 4.0]), ("A", [0.0]), ("AB", [3.0, 0.0]))
    assert DrGRPO()(steps).tolist() == [3.0, 3.0, -3.0, 0.0, 0.0]


@given(any_rows(), st.booleans())
def test_rloo_is_dr_grpo_times_n_over_n_minus_1(rows: Rows, propagate: bool):
    # R − (S − R) / (n − 1) = (n R − S) / (n − 1) = n / (n − 1) (R − S / n); a row's own penalty, where it is
    # not propagated, is no part of S, so there are none in that case.
    settings = {"invalid_penalty": 0.5 * propagate, "propagate_penalty": propagate}
    trajectories: dict[str, set] = {}
    for row in rows:
        trajectories.setdefault(row["task_id"], set()).add(row["trajectory_id"])
    n = np.array([len(trajectories[row["task_id"]]) for row in rows])
    steps = StepTable.from_rows(rows)
    expected = DrGRPO(**settings)(steps) * n / np.maximum(n - 1, 1)
    np.testing.assert_allclose(RLOO(**settings)(steps), expected, atol=1e-10)


@given(any_rows())
def test_dr_grpo_is_grpo_without_the_deviation(rows: Rows):
    steps = StepTable.from_rows(rows)
    assert DrGRPO()(steps).tolist() == GRPO(normalization="mean")(steps).tolist()


def test_reinforce_plus_plus_normalises_over_the_batch():
    # γ = 1, returns 4, 4 | 0 and, in another task, 0: mean 2, Bessel's variance 16/3.
    rows = walk_rows(("AB", [0.0, 4.0]), ("A", [0.0])) + walk_rows(("A", [0.0]), task="other")
    expected = np.array([2, 2, -2, -2]) / (np.sqrt(16 / 3) + 1e-6)
    np.testing.assert_allclose(ReinforcePlusPlus()(StepTable.from_rows(rows)), expected, rtol=1e-14)


def test_reinforce_plus_plus_with_baseline_takes_the_tasks_mean_off_first():
    # Task one: 4, 4, 1 − 3 = 1, 1, −2; task two: 0 alone → 0. Mean 0, Bessel's variance 6/3 = 2.
    rows = walk_rows(("AB", [0.0, 4.0]), ("A", [1.0])) + walk_rows(("A", [0.0]), task="other")
    expected = np.array([1, 1, -2, 0]) / (np.sqrt(2) + 1e-6)
    found = ReinforcePlusPlus(baseline="task")(StepTable.from_rows(rows))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_gae_by_hand():
    # γ = 0.5, λ = 0.5; rewards 0, 8; values 2, 4; nothing follows the last step.
    # δ = [0 + 0.5·4 − 2, 8 + 0 − 4] = [0, 4]; A = [0 + 0.25·4, 4] = [1, 4].
    rows = walk_rows(("AB", [0.0, 8.0]))
    steps = StepTable.from_rows([row | {"value": v} for row, v in zip(rows, [2.0, 4.0], strict=True)])
    assert generalized_advantages(steps, 0.5, 0.5).tolist() == [1.0, 4.0]
    estimator = PPO(discount=0.5, gae_lambda=0.5, whiten=False)
    assert estimator(steps).tolist() == [1.0, 4.0]
    assert estimator.value_targets(steps).tolist() == [3.0, 8.0]
    # Whitened: mean 2.5, deviations ±1.5, Bessel's deviation 1.5 √2.
    whitened = PPO(discount=0.5, gae_lambda=0.5)(steps)
    np.testing.assert_allclose(whitened, np.array([-1.5, 1.5]) / (1.5 * np.sqrt(2) + 1e-6), rtol=1e-14)


@given(any_rows(min_tasks=1), st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_gae_equals_the_sum_it_is_defined_by(rows: Rows, discount: float, gae_lambda: float):
    steps = with_values(rows)
    assert steps.value is not None
    at = {(row["trajectory_id"], row["step_index"]): i for i, row in enumerate(rows)}
    value = steps.value

    def error(trajectory: str, step: int) -> float:
        following = at.get((trajectory, step + 1))
        ahead = 0.0 if following is None else value[following]
        here = at[trajectory, step]
        return rows[here]["reward"] + discount * ahead - value[here]

    expected = []
    for row in rows:
        trajectory, t = row["trajectory_id"], row["step_index"]
        later = [s for s in range(t, 6) if (trajectory, s) in at]
        expected.append(sum((discount * gae_lambda) ** (s - t) * error(trajectory, s) for s in later))
    np.testing.assert_allclose(
        generalized_advantages(steps, discount, gae_lambda), np.array(expected), atol=1e-12
    )


@given(any_rows(min_tasks=1), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_with_lambda_1_the_advantage_is_the_return_less_the_value(rows: Rows, discount: float):
    # The values telescope: Σ γ^l (γ V_{t+l+1} − V_{t+l}) = −V_t.
    steps = with_values(rows)
    assert steps.value is not None
    expected = discounted_returns(steps, discount) - steps.value
    found = PPO(discount=discount, gae_lambda=1.0, whiten=False)(steps)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_penalty_lowers_the_rows_own_advantage_or_is_part_of_the_reward():
    # γ = λ = 1, values 0: R = 4, 4, the second row invalid. On the row: 4, 3.5. Propagated: 3.5, 3.5.
    rows = walk_rows(("AB", [0.0, 4.0]))
    steps = StepTable.from_rows(
        [row | {"value": 0.0, "action_valid": v} for row, v in zip(rows, [True, False], strict=True)]
    )
    settings = {"discount": 1.0, "gae_lambda": 1.0, "whiten": False, "invalid_penalty": 0.5}
    assert PPO(**settings)(steps).tolist() == [4.0, 3.5]
    assert PPO(**settings, propagate_penalty=True)(steps).tolist() == [3.5, 3.5]
    # What the critic is to learn has only penalties in it that are part of the reward.
    assert PPO(**settings).value_targets(steps).tolist() == [4.0, 4.0]
    assert PPO(**settings, propagate_penalty=True).value_targets(steps).tolist() == [3.5, 3.5]


@pytest.mark.parametrize("name", ESTIMATORS)
@given(rows=any_rows(min_tasks=1), random=st.randoms())
def test_the_order_of_rows_changes_nothing_for_any_estimator(name: str, rows: Rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    rows = [row | {"value": float(i % 3)} for i, row in enumerate(rows)]
    estimator = ESTIMATORS[name](invalid_penalty=0.1)
    shuffled = estimator(StepTable.from_rows([rows[row] for row in order]))
    np.testing.assert_allclose(shuffled, estimator(StepTable.from_rows(rows))[order], atol=1e-9)


@given(any_rows(), st.sampled_from([0.0, 1.0]))
def test_gigpo_without_a_step_term_is_grpo(rows: Rows, weight: float):
    steps = StepTable.from_rows(rows)
    step_term = weight * HGPO(history_length=0, normalization="mean")(steps)
    expected = GRPO(normalization="mean")(steps) + step_term
    found = GiGPO(normalization="mean", step_weight=weight)(steps)
    np.testing.assert_allclose(found, expected, atol=1e-11)


@given(any_rows(), st.sampled_from(["batch", "task"]))
def test_reinforce_plus_plus_equals_the_plain_loop(rows: Rows, baseline):
    returns = plain_loop.returns_to_go(rows, 0.9, 0.1, False)
    if baseline == "task":
        of_task = [
            [r for r, other in zip(returns, rows, strict=True) if other["task_id"] == row["task_id"]]
            for row in rows
        ]
        returns = [plain_loop.normalized(r, g, "mean", 0, 0) for r, g in zip(returns, of_task, strict=True)]
    expected = [plain_loop.normalized(r, returns, "mean_std", 1e-6, 1) for r in returns]
    found = ReinforcePlusPlus(baseline=baseline, discount=0.9, invalid_penalty=0.1)(StepTable.from_rows(rows))
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_ppo_without_values_says_what_is_missing():
    with pytest.raises(ValueError, match=r"the table has none: give StepTable\(value=…\)"):
        PPO()(walks(("A", [1.0])))


def test_a_value_must_be_finite():
    with pytest.raises(ValueError, match="row 0: value is nan; give a finite number, the return to go"):
        StepTable.from_rows([row | {"value": float("nan")} for row in walk_rows(("A", [1.0]))])


@pytest.mark.parametrize(
    ("estimator", "wrong", "message"),
    [
        (PPO, {"gae_lambda": 1.5}, "gae_lambda is 1.5; give a number between 0 and 1"),
        (PPO, {"discount": -1}, "discount is -1"),
        (ReinforcePlusPlus, {"baseline": "none"}, "baseline is 'none'; choose from 'batch', 'task'"),
        (ReinforcePlusPlus, {"discount": 2}, "discount is 2"),
        (DrGRPO, {"statistics": "steps"}, "statistics is 'steps'"),
        (RLOO, {"invalid_penalty": -1.0}, "invalid_penalty is -1.0"),
        (GRPO, {"peers": "some"}, "peers is 'some'"),
    ],
)
def test_wrong_settings_say_what_is_allowed(estimator, wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        estimator(**wrong)
