"""Advantages from step records of any training stack."""

import numpy as np
import pytest
from tables import walk_rows

from hgpo import ESTIMATORS, HBC, StepTable
from hgpo.adapters.step_records import step_advantages


def records() -> list[dict]:
    rows = walk_rows(("AB", [0.0, 8.0]), ("AB", [0.0, 0.0]))
    return [row | {"action": action} for row, action in zip(rows, "xxyz", strict=True)]


def test_padding_enters_no_group_and_gets_nothing():
    # GRPO without division: 8 and 0, mean 4; a third, empty trajectory would move it to 8/3.
    first, second, third, fourth = records()
    padded = [first, None, second, third, fourth, None]
    found = step_advantages(padded, "grpo", normalization="mean")
    assert found.tolist() == [4.0, 0.0, 4.0, -4.0, -4.0, 0.0]
    assert step_advantages([None]).tolist() == [0.0] and step_advantages([]).tolist() == []


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"ppo"}))
def test_another_method_is_another_word(name: str):
    expected = ESTIMATORS[name]()(StepTable.from_rows(records()))
    np.testing.assert_array_equal(step_advantages(records(), name), expected)


def test_an_estimator_may_be_made_already():
    expected = HBC(discount=0.5)(StepTable.from_rows(records()))
    assert step_advantages(records(), HBC(discount=0.5)).tolist() == expected.tolist()
    assert step_advantages(records(), "hbc", discount=0.5).tolist() == expected.tolist()


def test_what_is_wrong_is_told():
    with pytest.raises(ValueError, match="estimator hppo: choose from hgpo, hbc"):
        step_advantages(records(), "hppo")
    with pytest.raises(TypeError, match=r"alpha: give settings only with the name.*HBC\("):
        step_advantages(records(), HBC(), alpha=2.0)
    with pytest.raises(ValueError, match="row 1: 'action' is missing"):
        step_advantages([records()[0], {k: v for k, v in records()[1].items() if k != "action"}])
