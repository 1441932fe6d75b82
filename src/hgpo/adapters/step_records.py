"""Advantages from per-step records in one call, for adapters to other training frameworks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators import ESTIMATORS, Estimator
from hgpo.steps import StepTable


def step_advantages(
    records: Sequence[Mapping[str, Any] | None], estimator: str | Estimator = "hgpo", **settings: Any
) -> NDArray[np.float64]:
    """The advantage of each step, in the order of the records.

        advantages = step_advantages(records, "hbc", discount=0.95)

    Args:
        records: One mapping per row with `task_id`, `trajectory_id`, `step_index`, `state_key` and `reward`,
            and any other column of `StepTable`, such as `action` and `action_valid`, in every row or in none.
            None is a padding row: it is in no group and gets 0.
        estimator: A name in `ESTIMATORS`, the MODULE:CLASS of your own estimator, or an estimator object.
        settings: the settings of an estimator that is given by name.

    Returns:
        Shape (records,), float64.

    Raises:
        ValueError: if there is no estimator of that name, or a setting or a record is not valid.
        TypeError: if the estimator has no such setting, or settings are given with an estimator object.
    """
    rows = [row for row, record in enumerate(records) if record is not None]
    advantages = np.zeros(len(records))
    advantages[rows] = _estimator(estimator, settings)(
        StepTable.from_rows([record for record in records if record is not None])
    )
    return advantages


def _estimator(estimator: str | Estimator, settings: Mapping[str, Any]) -> Estimator:
    if not isinstance(estimator, str):
        if settings:
            raise TypeError(
                f"{', '.join(settings)}: give settings only with the name of an estimator; {estimator!r} has "
                "its own"
            )
        return estimator
    return ESTIMATORS.find(estimator, "estimator")(**settings)
