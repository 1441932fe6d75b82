"""Weights by reliability: the components of variance, and whether the weights reduce the error."""

import numpy as np
import pytest
from level_weights import CASES, FIXED, WEIGHTS, baseline_error, nested_walks
from tables import walks

from hgpo import HGPO
from hgpo.variance import NestedVariance, nested_variance


def test_components_of_a_balanced_design():
    # One outer group, inner groups [1, 3] and [5, 7]: means 2 and 6, overall 4.
    # σ² = 4·1 / (4 − 2) = 2. Σ n_j (mean_j − mean)² = 2·4 + 2·4 = 16; (16 − 1·2) / (4 − (4 + 4)/4) = 7.
    found = nested_variance(np.array([1.0, 3, 5, 7]), np.zeros(4, np.int64), np.array([0, 0, 1, 1], np.int64))
    assert found == NestedVariance(between=7.0, within=2.0)


def test_components_of_an_unbalanced_design():
    # Two outer groups: {[0, 2, 4], [8]} and {[5]}; the last is alone and tells nothing of τ².
    # σ² = (4 + 0 + 4 + 0 + 0) / (5 − 3) = 4. Means 2 and 8 about (6 + 8)/4 = 3.5: 3·2.25 + 1·20.25 = 27.
    # τ² = (27 − (3 − 2)·4) / (5 − (9 + 1)/4 − 1/1) = 23 / 1.5.
    found = nested_variance(np.array([0.0, 2, 4, 8, 5]), np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 2]))
    np.testing.assert_allclose([found.between, found.within], [23 / 1.5, 4.0], rtol=1e-14)


def test_what_cannot_be_estimated_is_0():
    zeros, ids = np.zeros(2, np.int64), np.arange(2)
    assert nested_variance(np.array([1.0, 2.0]), zeros, zeros) == NestedVariance(0.0, 0.5)  # one inner group
    assert nested_variance(np.array([1.0, 2.0]), zeros, ids).within == 0.0  # nothing to differ within
    assert nested_variance(np.array([1.0, 1.0, 1.0, 9.0]), np.zeros(4, np.int64), np.array([0, 0, 1, 1])) == (
        NestedVariance(0.0, 16.0)  # less between than noise explains: not below 0
    )
    assert nested_variance(np.ones(2), zeros, ids - 2) == NestedVariance(0.0, 0.0)


def test_components_are_unbiased():
    # τ = 3, σ = 2, inner groups of 1 … 5, three in each of 40 outer groups. τ² = 9 is far from 0, so that
    # cutting at 0 plays no part. Over 400 draws the means' standard errors are about 0.1 and 0.02.
    rng = np.random.default_rng(0)
    size = rng.integers(1, 6, size=120)
    inner = np.repeat(np.arange(120), size)
    outer = inner // 3
    found = []
    for _ in range(400):
        values = rng.normal(0, 5, 40)[outer] + rng.normal(0, 3, 120)[inner] + rng.normal(0, 2, len(inner))
        components = nested_variance(values, outer, inner)
        found.append((components.between, components.within))
    between, within = np.mean(found, axis=0)
    assert between == pytest.approx(9, abs=0.4)
    assert within == pytest.approx(4, abs=0.1)


def test_a_level_takes_over_by_its_share_of_variance():
    # γ = 0. State B at t = 1: AB has 1, 3, CB has 5, 7. Level 0: mean 4. At level 1 τ² = 7, σ² = 2, n = 2:
    # B = 7 / (7 + 2/2) = 7/8. First: −3 at level 0, −1 at level 1: −3 + 7/8 (−1 + 3) = −1.25.
    steps = walks(("AB", [0, 1.0]), ("AB", [0, 3.0]), ("CB", [0, 5.0]), ("CB", [0, 7.0]))
    estimator = HGPO(history_length=1, discount=0.0, normalization="mean", level_weights="reliability")
    np.testing.assert_allclose(estimator(steps)[1::2], [-1.25, 0.75, -0.75, 1.25], rtol=1e-14)


@pytest.mark.parametrize(("spread", "noise"), CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("seed", range(3))
def test_the_baseline_comes_closer_to_the_truth_than_any_fixed_weights(spread, noise, seed):
    # The baseline is R − A; its error is measured against the expected return of the whole history. What
    # fixed weights are best depends on the case; estimated ones may be worse by 5 % at most in each of them.
    walks = nested_walks(np.random.default_rng(seed), spread, noise)
    fixed = [baseline_error(estimator, *walks) for estimator in FIXED.values()]
    reliability = baseline_error(WEIGHTS["reliability"], *walks)
    assert reliability < 1.05 * min(fixed)
    assert reliability < 0.8 * max(fixed)
