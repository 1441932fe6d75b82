import numpy as np
import plain_loop
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, any_rows, walk_rows, walks

from hgpo import GRPO, HGPO, GiGPO, StepTable


def test_grpo_compares_whole_trajectories():
    # Sums 6, 0, 0: mean 2, deviations [4, −2, −2], Bessel's std √(24/2) = √12; the same on all rows.
    steps = walks(("AB", [2.0, 4.0]), ("A", [0.0]), ("ABC", [0.0, 0.0, 0.0]))
    assert GRPO(normalization="mean")(steps).tolist() == [4, 4, -2, -2, -2, -2]
    expected = np.array([4, 4, -2, -2, -2, -2]) / (np.sqrt(12) + 1e-6)
    np.testing.assert_allclose(GRPO()(steps), expected, rtol=1e-14)


def test_grpo_over_rows_weighs_long_trajectories_more():
    # Over the rows the scores are 6, 6, 0, 0, 0: mean 12/5 = 2.4.
    steps = walks(("AB", [2.0, 4.0]), ("ABC", [0.0, 0.0, 0.0]))
    np.testing.assert_allclose(
        GRPO(normalization="mean", statistics="rows")(steps), [3.6, 3.6, -2.4, -2.4, -2.4]
    )
    # Over the trajectories: 6 and 0, mean 3.
    np.testing.assert_allclose(GRPO(normalization="mean")(steps), [3, 3, -3, -3, -3])


@pytest.mark.parametrize("statistics", ["trajectories", "rows"])
def test_a_lone_trajectory_gets_0(statistics: str):
    assert GRPO(statistics=statistics)(walks(("AB", [1.0, 9.0]))).tolist() == [0.0, 0.0]  # pyright: ignore


def test_gigpo_is_the_episode_term_plus_the_weighted_step_term():
    # γ = 1, so R = 3 for the first trajectory, 1 for the second. Both start in A, then part.
    # Episode: 3, 1 → ±1. Step: in A 3, 1 → ±1; B and C are alone → 0. ω = 0.5 → 1.5, 1, −1.5, −1.
    steps = walks(("AB", [0.0, 3.0]), ("AC", [0.0, 1.0]))
    estimator = GiGPO(discount=1.0, normalization="mean", step_weight=0.5)
    assert estimator(steps).tolist() == [1.5, 1.0, -1.5, -1.0]


def test_gigpo_takes_bessels_std_in_the_step_term():
    # In A the returns are 3 and 1: deviations ±1, Bessel's std √2 (the population's would be 1).
    steps = walks(("A", [3.0]), ("A", [1.0]))
    step_term = GiGPO(discount=1.0)(steps) - GRPO()(steps)
    np.testing.assert_allclose(step_term, [1 / (np.sqrt(2) + 1e-6), -1 / (np.sqrt(2) + 1e-6)], rtol=1e-12)


@given(any_rows(), st.sampled_from(["mean_std", "mean"]))
def test_gigpos_step_term_is_hgpo_without_history(rows: Rows, normalization: str):
    steps = StepTable.from_rows(rows)
    settings = {"normalization": normalization, "invalid_penalty": 0.1}
    step_term = GiGPO(**settings, ddof=0)(steps) - GRPO(**settings, ddof=0)(steps)
    np.testing.assert_allclose(step_term, HGPO(**settings, history_length=0)(steps), atol=1e-11)


@given(
    any_rows(),
    st.builds(
        GRPO,
        normalization=st.sampled_from(["mean_std", "mean"]),
        statistics=st.sampled_from(["trajectories", "rows"]),
        peers=st.sampled_from(["all", "other_trajectories"]),
        ddof=st.sampled_from([0, 1]),
        invalid_penalty=st.sampled_from([0.0, 0.1]),
        propagate_penalty=st.booleans(),
    ),
)
def test_grpo_equals_the_plain_loop(rows: Rows, settings: GRPO):
    np.testing.assert_allclose(
        settings(StepTable.from_rows(rows)), np.array(plain_loop.grpo(rows, settings)), atol=1e-10
    )


def test_equal_sums_give_exactly_0_whatever_the_order_of_addition():
    # 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in the last bit; over ε = 0 that bit would become ±0.7.
    steps = walks(("ABC", [0.1, 0.2, 0.3]), ("ABC", [0.3, 0.2, 0.1]))
    assert GRPO(epsilon=0.0)(steps).tolist() == [0.0] * 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalization": "std"}, "normalization is 'std'; choose from 'mean_std', 'mean'"),
        ({"statistics": "steps"}, "statistics is 'steps'; choose from 'trajectories', 'rows'"),
        ({"epsilon": -1.0}, "epsilon is -1.0; give a finite number of at least 0"),
        ({"ddof": 2}, "ddof is 2; choose from 0, 1"),
        ({"invalid_penalty": float("nan")}, "invalid_penalty is nan"),
    ],
)
def test_unknown_settings_say_what_is_allowed(settings: dict, message: str):
    for estimator in (GRPO, GiGPO):
        with pytest.raises(ValueError, match=message):
            estimator(**settings)


def test_gigpos_own_settings_are_checked():
    with pytest.raises(ValueError, match="discount is 2"):
        GiGPO(discount=2)
    with pytest.raises(ValueError, match="step_weight is nan"):
        GiGPO(step_weight=float("nan"))


def test_tasks_do_not_mix():
    # Each task has a lone trajectory: nothing to compare, though the sums differ between tasks.
    rows = walk_rows(("A", [5.0]), task="one") + walk_rows(("A", [1.0]), task="two")
    for estimator in (GRPO(), GiGPO(), GRPO(statistics="rows")):
        assert estimator(StepTable.from_rows(rows)).tolist() == [0.0, 0.0]
