"""Adapters read the registry of estimators, and name none of their own."""

from __future__ import annotations

import numpy as np
import pytest
from tables import walk_rows

from hgpo.adapters.step_records import shown_estimator, step_advantages
from hgpo.adapters.verl.methods import in_verl
from hgpo.adapters.verl.settings import PREFIX, estimator_of
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS, CriticEstimator
from hgpo.training.presets import METHODS

RECORDS = [row | {"action": "x", "value": 0.0} for row in walk_rows(("AB", [0.0, 8.0]), ("AB", [0.0, 0.0]))]


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_a_removed_line_breaks_no_adapter(name, monkeypatch):
    """All other estimators work, and asking for the removed one is refused in one line."""
    cls = ESTIMATORS[name]
    monkeypatch.delitem(ESTIMATORS.built_in, name)
    assert ESTIMATORS
    for other in ESTIMATORS:
        assert np.isfinite(step_advantages(RECORDS, other)).all()
        assert estimator_of(PREFIX + other, {name: {}}) == ESTIMATORS[other]()
        # TRL, Trinity and SkyRL.
        if not issubclass(ESTIMATORS[other], CriticEstimator):
            assert type(shown_estimator(other, {}, 2, stack="TRL")) is ESTIMATORS[other]
    with pytest.raises(SettingError, match=f"estimator {name}: choose from [^\n]*$"):
        step_advantages(RECORDS, name)
    with pytest.raises(SettingError, match=f"estimator {name}: choose from [^\n]*$"):
        shown_estimator(name, {}, 2, stack="TRL")
    with pytest.raises(SettingError, match=f"adv_estimator is '{PREFIX}{name}': expected one of [^\n]*$"):
        estimator_of(PREFIX + name, None)
    # The class itself can still be named, by its module.
    place = f"{cls.__module__}:{cls.__name__}"
    assert estimator_of(PREFIX + place, None) == cls()
    # A published method names the class, so that its settings in verl still load.
    for method in METHODS:
        sections = [line for line in in_verl([method]).overrides if "algorithm.stepwise" in line]
        assert not [line for line in sections if line.partition("=")[0].count(":")]
