"""An estimator of a user's own is tried on a few steps before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS, Comparison
from hgpo.estimators.trial import wrong_results


@dataclass(frozen=True)
class Right:
    def __call__(self, steps: Any) -> Any:
        return steps.reward - 0.5

    def comparison(self, steps: Any) -> Any:
        return Comparison(steps.reward, ())


@dataclass(frozen=True)
class Text(Right):
    def __call__(self, steps: Any) -> Any:
        return "high"


@dataclass(frozen=True)
class Short(Right):
    def __call__(self, steps: Any) -> Any:
        return np.zeros(3)


@dataclass(frozen=True)
class Nan(Right):
    def __call__(self, steps: Any) -> Any:
        return np.full(len(steps), np.nan)


@dataclass(frozen=True)
class NoComparison(Right):
    def comparison(self, steps: Any) -> Any:
        return None


@dataclass(frozen=True)
class NoReturns(Right):
    def comparison(self, steps: Any) -> Any:
        return Comparison(steps.reward[:1], ())


@dataclass(frozen=True)
class NeedsMore(Right):
    def __call__(self, steps: Any) -> Any:
        return steps.state_keys["mine"]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ("Text", "called with 4 rows, it returned 'high': expected one finite number per row"),
        ("Short", "called with 4 rows, it returned array([0., 0., 0.]): expected one finite number per row"),
        ("Nan", "it returned array([nan, nan, nan, nan]): expected one finite number"),
        ("NoComparison", "comparison returned None: expected an hgpo.estimators.Comparison"),
        ("NoReturns", "comparison has the returns array([0.]): expected one finite number per row"),
    ],
)
def test_wrong_results_are_refused_in_one_line(own, words):
    with pytest.raises(SettingError) as refused:
        ESTIMATORS.find(f"{__name__}:{own}", "estimator")
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("own", [Right, NeedsMore])
def test_an_estimator_that_cannot_be_judged_is_accepted(own):
    assert ESTIMATORS.find(f"{__name__}:{own.__name__}", "estimator") is own


@pytest.mark.parametrize("name", ESTIMATORS.built_in)
def test_the_packages_own_pass_the_trial(name):
    assert wrong_results(ESTIMATORS[name]()) is None
