"""AEM and EMPG: numbers by hand, and laws over any table and estimator."""

import dataclasses
from math import e, exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, any_rows, walk_rows, walks

from hgpo import AEM, EMPG, GRPO, HGPO, DrGRPO, ReinforcePlusPlus, StepTable, in_parallel
from hgpo.estimators import ENTROPY_CREDITS

INNER = DrGRPO()


def with_entropy(rows: Rows, seed: int = 0, scale: float = 1.0) -> StepTable:
    entropy = scale * np.random.default_rng(seed).random(len(rows))
    return StepTable.from_rows(rows).with_entropy(entropy)


def test_aem_by_hand():
    # Sums 4 and 0: advantages 2, 2, −2. H = 0.5, 1.5, 1.0, so H̃ = 0, 1, ½; with λ = 1 the weights are 1, 1/e
    # and 1/√e, divided by their mean.
    steps = walks(("AB", [0.0, 4.0]), ("A", [0.0])).with_entropy([0.5, 1.5, 1.0])
    mean = (1 + 1 / e + e**-0.5) / 3
    expected = np.array([2.0, 2.0 / e, -2.0 * e**-0.5]) / mean
    np.testing.assert_allclose(AEM(INNER)(steps), expected, rtol=1e-14)


def test_aem_compares_entropies_within_a_task():
    # Either task has the relative entropies 0 and 1, whatever the level of its entropies.
    rows = walk_rows(("A", [4.0]), ("A", [0.0]), task="easy") + walk_rows(
        ("A", [4.0]), ("A", [0.0]), task="hard"
    )
    steps = StepTable.from_rows(rows).with_entropy([0.1, 0.3, 2.0, 4.0])
    easy, hard = np.split(AEM(INNER)(steps), 2)
    np.testing.assert_allclose(easy, hard, rtol=1e-12)
    np.testing.assert_allclose(easy, np.array([2.0, -2.0 / e]) * 2 / (1 + 1 / e), rtol=1e-12)


@pytest.mark.parametrize(("difference", "changed"), [(0.0, False), (0.09, False), (0.11, True)])
def test_aem_takes_small_differences_for_none(difference, changed):
    steps = walks(("A", [4.0]), ("A", [0.0])).with_entropy([1.0, 1.0 + difference])
    assert (AEM(INNER)(steps).tolist() != [2.0, -2.0]) == changed
    assert AEM(INNER, min_range=0.0)(walks(("A", [4.0])).with_entropy([1.0])).tolist() == [0.0]


@given(any_rows(), st.integers(0, 5), st.floats(0, 3))
def test_aem_weighs_one_on_average_in_every_task_and_keeps_signs(rows, seed, sensitivity):
    steps = with_entropy(rows, seed)
    ones = AEM(lambda steps: np.ones(len(steps)), sensitivity=sensitivity)(steps)
    for task in range(int(steps.task_code.max(initial=-1)) + 1):
        assert ones[steps.task_code == task].mean() == pytest.approx(1.0)
    assert np.sign(AEM(GRPO())(steps)).tolist() == np.sign(GRPO()(steps)).tolist()
    # A higher entropy never weighs more in the same task.
    assert steps.entropy is not None
    for task in range(int(steps.task_code.max(initial=-1)) + 1):
        own = steps.task_code == task
        by_entropy = ones[own][np.argsort(steps.entropy[own])]
        assert (np.diff(by_entropy) <= 1e-12).all()


@given(any_rows(), st.sampled_from([HGPO(), GRPO(), ReinforcePlusPlus()]))
def test_equal_entropies_change_nothing_under_aem(rows, estimator):
    steps = StepTable.from_rows(rows)
    assert AEM(estimator)(steps.with_entropy([0.7] * len(rows))).tolist() == estimator(steps).tolist()
    assert AEM(estimator, sensitivity=0.0)(with_entropy(rows)).tolist() == estimator(steps).tolist()


@given(any_rows(min_tasks=1))
def test_units_and_levels_of_the_entropy_do_not_matter_to_aem(rows):
    # H̃ is the same for H and 3 H + 2, as long as all differences count.
    steps = with_entropy(rows)
    assert steps.entropy is not None
    moved = steps.with_entropy(3 * steps.entropy + 2)
    found = [AEM(GRPO(), min_range=0.0)(table) for table in (steps, moved)]
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12)


def test_empg_by_hand():
    # Sums 4 and 0: advantages 2, 2, −2. H = 0, 2, 1, so H̃ = 0, 1, ½ (ε is 1e-8). With k = 1 the weights are
    # 1, 1/e, 1/√e over their mean. Only the first step has another after it, with H̃ = 1: with k' = 2 and
    # ζ = 0.5 its bonus is 0.5 e^−2. At last the mean is taken off.
    steps = walks(("AB", [0.0, 4.0]), ("A", [0.0])).with_entropy([0.0, 2.0, 1.0])
    mean = (1 + 1 / e + e**-0.5) / 3
    raw = np.array([2.0, 2.0 / e, -2.0 * e**-0.5]) / mean + np.array([0.5 * exp(-2), 0.0, 0.0])
    found = EMPG(INNER, clarity=2.0, bonus=0.5)(steps)
    np.testing.assert_allclose(found, raw - raw.mean(), rtol=1e-7)


def test_the_bonus_is_for_the_step_before_in_whatever_order_rows_come():
    # No rewards: bonuses alone, of e^0 for what leads to the sure step B and e^−1 to the unsure C; 0.05 each.
    rows = walk_rows(("ABC", [0.0, 0.0, 0.0]))
    steps = StepTable.from_rows([rows[2], rows[0], rows[1]]).with_entropy([1.0, 0.5, 0.0])
    raw = np.array([0.0, 0.05, 0.05 / e])
    np.testing.assert_allclose(EMPG(INNER)(steps), raw - raw.mean(), atol=1e-9)


@given(any_rows(min_tasks=1), st.integers(0, 5))
def test_empg_has_the_mean_zero_and_is_the_estimator_where_nothing_is_weighed(rows, seed):
    steps = with_entropy(rows, seed)
    assert EMPG(HGPO())(steps).mean() == pytest.approx(0.0, abs=1e-10)
    advantages = GRPO()(steps)
    found = EMPG(GRPO(), scaling=0.0, bonus=0.0)(steps)
    np.testing.assert_allclose(found, advantages - advantages.mean(), atol=1e-12)


@given(any_rows(), st.sampled_from([AEM, EMPG]), st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(rows, credit, random):
    steps = with_entropy(rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    assert steps.entropy is not None
    shuffled = StepTable.from_rows([rows[i] for i in order]).with_entropy(steps.entropy[order])
    np.testing.assert_allclose(credit(GRPO())(shuffled), credit(GRPO())(steps)[order], atol=1e-12)


@pytest.mark.parametrize("credit", [AEM, EMPG])
@pytest.mark.parametrize("estimator", [HGPO(), ReinforcePlusPlus()])
def test_several_threads_compute_the_same(credit, estimator):
    rows = [
        row
        for task in range(9)
        for row in walk_rows(("ABA", [0.0, 1.0, 2.0]), ("AB", [0.0, 1.0 * task]), task=str(task))
    ]
    steps = with_entropy(rows)
    assert in_parallel(credit(estimator), steps, 4).tolist() == credit(estimator)(steps).tolist()


def test_what_is_compared_is_what_the_estimator_compares():
    steps = with_entropy(walk_rows(("AB", [0.0, 4.0]), ("A", [0.0])))
    for credit in (AEM, EMPG):
        found, expected = credit(HGPO()).comparison(steps), HGPO().comparison(steps)
        assert found.returns.tolist() == expected.returns.tolist()
        assert [level.name for level in found.levels] == [level.name for level in expected.levels]


def test_a_table_without_entropies_is_refused():
    for credit in (AEM, EMPG):
        with pytest.raises(ValueError, match=r"give StepTable\(entropy=…\)"):
            credit(INNER)(walks(("A", [1.0])))


@pytest.mark.parametrize(
    ("credit", "settings"),
    [
        (AEM, {"sensitivity": -1.0}),
        (AEM, {"min_range": -0.1}),
        (EMPG, {"scaling": float("nan")}),
        (EMPG, {"clarity": -1.0}),
        (EMPG, {"bonus": -1.0}),
        (EMPG, {"epsilon": 0.0}),
    ],
)
def test_settings_that_mean_nothing_are_refused(credit, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        credit(INNER, **settings)


def test_every_credit_goes_by_its_name():
    assert ENTROPY_CREDITS["none"](INNER) is INNER
    assert {name: make(INNER) for name, make in ENTROPY_CREDITS.items()} == {
        "none": INNER,
        "aem": AEM(INNER),
        "empg": EMPG(INNER),
    }
    assert dataclasses.is_dataclass(AEM) and dataclasses.is_dataclass(EMPG)
    assert EMPG(INNER)(StepTable.from_rows([]).with_entropy([])).shape == (0,)


def test_an_entropy_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="row 1: entropy is nan"):
        walks(("AB", [0.0, 1.0])).with_entropy([0.0, float("nan")])
    with pytest.raises(ValueError, match="row 0: entropy is inf"):
        StepTable.from_rows([row | {"entropy": float("inf")} for row in walk_rows(("A", [1.0]))])
