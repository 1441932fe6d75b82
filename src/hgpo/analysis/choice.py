"""Scores state keys and depths K by an estimate of the alignment of their advantages with the true ones.

HGPO's advantage of a row is Â = R − b, its return minus a baseline. If b is computed only from other
trajectories, it is independent of the row's action, given the state and its history. The true advantage A
then has mean 0, and the return has mean V + A after the action. So E b A = E V A = 0 and E Â A = E A², and
the alignment of all rows, their cosine with the true advantages, is in expectation

    Σ Â A / √(Σ Â² Σ A²)  =  Σ_c A² / √(Σ_c Â² Σ A²)  ≈  a Σ_c w / √(Σ_c Â² Σ w)

where Σ_c is over the rows that are compared. The last step assumes that A² is a² w, with the same a for every
key and depth, so that the score does not need the true advantages. w is the squared error with which the
choice that compares most rows predicts a row's return, because there is something to learn where returns
vary; w is 0 where any choice finds the outcome decided, i.e. all of the row's peers have its return. A finer
key or a deeper level may predict returns better (a smaller Σ_c Â² for the same rows), but compares fewer
rows. docs/estimators.md shows how well the score agrees with the alignment in cases where that is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators import HGPO
from hgpo.steps import StepTable


@dataclass(frozen=True)
class Choice:
    """A state key and a depth K with which steps can be compared."""

    key: str
    """Name of the state key."""
    history_length: int
    """K of HGPO."""
    score: float
    """Σ_c w / √(Σ_c Â² Σ w), proportional to the expected alignment; 0 if nothing is compared."""
    behind: float
    """Difference between the highest score and this one."""
    chance: float
    """Twice the standard error of that difference, by leaving out one task at a time; infinite with one
    task."""

    @property
    def distinct(self) -> bool:
        """Whether the score is significantly lower than the highest one."""
        return self.behind > self.chance


def score_choices(tables: Mapping[str, StepTable], estimator: HGPO) -> list[Choice]:
    """The score of every key with K = 0, 1, … up to the estimator's own.

    Args:
        tables: The same steps with different state keys, by the name of the key.
        estimator: Its discount and penalty define the returns.
    """
    settings = [
        (name, replace(estimator, history_length=depth, peers="other_trajectories", normalization="mean"))
        for name in tables
        for depth in range(estimator.history_length + 1)
    ]
    task = next(iter(tables.values())).task_code
    advantages = [setting(tables[name]) for name, setting in settings]
    weights = np.square(max(advantages, key=np.count_nonzero))
    for (name, setting), each in zip(settings, advantages, strict=True):
        if setting.history_length == 0:
            weights[(each == 0.0) & _has_peer(tables[name], setting)] = 0.0
    sums = [_sums_by_task(task, each, weights) for each in advantages]
    scores = np.array([_score(each.sum(axis=1)) for each in sums])
    best = int(np.argmax(scores))
    left_out = np.array([[_score(rest) for rest in (each.sum(axis=1)[:, None] - each).T] for each in sums])
    differences = left_out[best] - left_out
    tasks = differences.shape[1]
    errors = np.sqrt((tasks - 1) * differences.var(axis=1)) if tasks > 1 else np.full(len(sums), np.inf)
    return [
        Choice(name, setting.history_length, *map(float, values))
        for (name, setting), *values in zip(settings, scores, scores[best] - scores, 2 * errors, strict=True)
    ]


def advice(choices: Sequence[Choice]) -> str:
    """The recommended key and K in one or two sentences; or that these rollouts do not distinguish them."""
    best = max(choices, key=lambda choice: choice.score)
    if best.score == 0:
        return "There is no basis for a choice: no two returns that are compared differ."
    words = f"Compare steps by {best.key} with K = {best.history_length}: it has the highest score."
    equal = [choice for choice in choices if choice is not best and not choice.distinct]
    if len(equal) + 1 == len(choices) > 1:
        return "These rollouts do not show what to compare by: no score is lower by more than chance."
    if equal:
        listed = "; ".join(
            f"{key} with K = {', '.join(str(choice.history_length) for choice in some)}"
            for key, some in groupby(equal, key=lambda choice: choice.key)
        )
        words += f" The difference may be chance for: {listed}."
    return words


def _has_peer(steps: StepTable, estimator: HGPO) -> NDArray[np.bool_]:
    return estimator.comparison(steps).levels[0].peer_counts() > 0


def _sums_by_task(
    task: NDArray[np.int64], advantages: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Σ_c w, Σ Â² and Σ w of every task, [3, tasks]."""
    columns = weights * (advantages != 0.0), np.square(advantages), weights
    return np.array([np.bincount(task, column) for column in columns], np.float64)


def _score(sums: NDArray[np.float64]) -> float:
    reached, squares, weight = np.maximum(sums, 0.0)
    return float(reached / np.sqrt(squares * weight)) if squares * weight > 0 else 0.0
