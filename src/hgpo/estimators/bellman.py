"""Values of contexts from the steps that follow: the fixed point of Bellman's equation on a batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.steps import StepTable

TOLERANCE = 1e-6
"""A task's sweeps end when none of its values changes by more than this share of its largest return."""
MAX_SWEEPS = 2_000
"""After this number of sweeps the values of a task are used as they are, with a warning."""

PART_ROWS = 30_000
"""Tasks are processed a few at a time, so that the data of a sweep fits in a core's cache."""


@dataclass(frozen=True, eq=False)
class BellmanValues:
    """The fixed point for each row, in the order of the table."""

    target: NDArray[np.float64]
    """T, shape (rows,): the reward and the discounted value of the step after it."""
    value: NDArray[np.float64]
    """V of the row's deepest context, shape (rows,)."""
    precision: NDArray[np.float64]
    """Shape (rows,), in units of reward: smaller differences between targets of a task are only the remaining
    error of the iteration."""


def bellman_values(
    steps: StepTable,
    groups: Sequence[NDArray[np.int64]],
    returns: NDArray[np.float64],
    *,
    discount: float,
    shrinkage: Sequence[float],
) -> BellmanValues:
    """Values of nested contexts, computed from the steps taken in them.

        T_i = r_i + γ V_{i+1},   V after the last step = 0
        v_0 = mean_{C_0} T,   v_k = v_{k−1} + n_k / (n_k + κ_k) (mean_{C_k} T − v_{k−1}),   V_i = v_K

    n_k is the number of rows in C_k. The first sweep starts from the same means of the returns to go. A
    task's sweeps end when its values converge, so that they depend on that task only.

    Args:
        steps: The step table.
        groups: The contexts C_0 … C_K as dense ids, each (rows,). A group lies within one task, and each
            level splits the groups of the level before it.
        returns: Shape (rows,), the discounted returns to go, in units of reward.
        discount: γ, between 0 and 1.
        shrinkage: κ_1 … κ_K, in rows: the weight of the shallower context's value.

    Warns:
        RuntimeWarning: if values of some tasks have not converged after `MAX_SWEEPS` sweeps.
    """
    order = steps.time_order
    # Rows of a context, of the context around it and of a task are consecutive, so sums run over slices.
    by_context = np.lexsort([*(ids[order] for ids in reversed(groups)), steps.task_code[order]])
    place = np.empty_like(by_context)
    place[by_context] = np.arange(len(order))
    # In time order the next step of a trajectory is the next row.
    ahead = np.append(place[1:], -1)[: len(order)]
    ahead[np.append(steps.step_index[order][1:] == 0, True)[: len(order)]] = -1
    rows = order[by_context]
    sorted_steps = _Rows(
        steps.task_code[rows], [ids[rows] for ids in groups], steps.reward[rows], ahead[by_context]
    )
    target, value, precision = np.empty((3, len(rows)))
    unsettled = 0
    for part in _parts(sorted_steps.task):
        equation = _Bellman.of(sorted_steps.part(part), discount, shrinkage)
        tolerance = TOLERANCE * equation.largest(np.abs(returns[rows[part]]))
        start = equation.values(equation.sums(returns[rows[part]]))
        values, moving = _fixed_point(equation, start, tolerance)
        unsettled += np.count_nonzero(moving)
        target[rows[part]] = equation.targets(values)
        value[rows[part]] = values[equation.context]
        precision[rows[part]] = tolerance[equation.task[equation.context]]
    if unsettled:
        warnings.warn(
            f"the values of {unsettled} tasks have not converged after {MAX_SWEEPS} sweeps, so their "
            "advantages are inexact: with a smaller discount they converge sooner",
            RuntimeWarning,
            stacklevel=2,
        )
    return BellmanValues(target, value, precision)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Steps of whole tasks, sorted by task, context of level 0, …, context of level K, and time."""

    task: NDArray[np.int64]
    groups: list[NDArray[np.int64]]
    """The contexts of each row, by level."""
    reward: NDArray[np.float64]
    ahead: NDArray[np.int64]
    """Index of the row of the step after each one; −1 after the last step."""

    def part(self, rows: slice) -> _Rows:
        """The rows of some consecutive tasks."""
        ahead = self.ahead[rows]
        return _Rows(
            self.task[rows],
            [ids[rows] for ids in self.groups],
            self.reward[rows],
            np.where(ahead < 0, -1, ahead - rows.start),
        )

    def of_tasks(self, rows: NDArray[np.bool_]) -> _Rows:
        """The rows of some tasks, given by a mask of all their rows."""
        ahead, place = self.ahead[rows], np.cumsum(rows) - 1
        return _Rows(
            self.task[rows],
            [ids[rows] for ids in self.groups],
            self.reward[rows],
            np.where(ahead < 0, -1, place[ahead]),
        )


@dataclass(frozen=True, eq=False)
class _Bellman:
    """Bellman's equation for all contexts of some tasks; its values are those of the deepest contexts."""

    rows: _Rows
    discount: float
    shrinkage: Sequence[float]
    context: NDArray[np.int64]
    """The deepest context of each row; contexts are numbered in the order of the rows."""
    ahead: NDArray[np.int64]
    """The deepest context of the step after each row; −1 after the last step."""
    starts: list[NDArray[np.int64]]
    """Start index of each context among those of the next level, or, at the deepest level, among the rows."""
    size: list[NDArray[np.int64]]
    """Number of rows of each context, by level."""
    parent: list[NDArray[np.int64]]
    """Index of the context of level k − 1 around each context of level k, for k = 1 … K."""
    weight: list[NDArray[np.float64]]
    """n / (n + κ) of each context of level k, for k = 1 … K."""
    task: NDArray[np.int64]
    """The task of each deepest context; tasks are numbered in the order of the rows."""
    first_of_task: NDArray[np.int64]
    """The first deepest context of each task."""
    rewards: NDArray[np.float64]
    """Sums amounts per row over each deepest context."""

    @classmethod
    def of(cls, rows: _Rows, discount: float, shrinkage: Sequence[float]) -> _Bellman:
        """The equation of these rows."""
        count = len(rows.task)
        first_rows = [_first_rows(ids) for ids in rows.groups]
        numbers = [_numbers(first, count) for first in first_rows]
        size = [np.diff(first, append=count) for first in first_rows]
        task = rows.task[first_rows[-1]]
        return cls(
            rows=rows,
            discount=discount,
            shrinkage=shrinkage,
            context=numbers[-1],
            ahead=np.append(numbers[-1], -1)[rows.ahead],
            starts=[*map(np.searchsorted, first_rows[1:], first_rows[:-1]), first_rows[-1]],
            size=size,
            parent=[number[first] for number, first in zip(numbers[:-1], first_rows[1:], strict=True)],
            weight=[n / (n + kappa) for n, kappa in zip(size[1:], shrinkage, strict=True)],
            task=_numbers(_first_rows(task), len(task)),
            first_of_task=_first_rows(task),
            rewards=np.add.reduceat(rows.reward, first_rows[-1]),
        )

    def of_tasks(self, tasks: NDArray[np.bool_]) -> _Bellman:
        """The equation of a part of the tasks."""
        return _Bellman.of(self.rows.of_tasks(tasks[self.task][self.context]), self.discount, self.shrinkage)

    def targets(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """T of each row."""
        return self.rows.reward + self.discount * np.append(values, 0.0)[self.ahead]

    def sums(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of amounts per row over each deepest context."""
        return np.add.reduceat(amounts, self.starts[-1])

    def largest(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest of the amounts per row in each task."""
        return np.maximum.reduceat(np.maximum.reduceat(amounts, self.starts[-1]), self.first_of_task)

    def values(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """v_K of each context, from the sums of T over it."""
        means = [sums / self.size[-1]]
        for starts, size in zip(self.starts[-2::-1], self.size[-2::-1], strict=True):
            sums = np.add.reduceat(sums, starts)
            means.append(sums / size)
        values = means.pop()
        for parent, weight in zip(self.parent, self.weight, strict=True):
            shallower = values[parent]
            values = shallower + weight * (means.pop() - shallower)
        return values

    def sweep(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values that follow from `values`."""
        following = self.sums(np.append(values, 0.0)[self.ahead])
        return self.values(self.rewards + self.discount * following)


def _fixed_point(
    equation: _Bellman, values: NDArray[np.float64], tolerance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The values after convergence, and which tasks have not converged."""
    found, contexts = values.copy(), np.arange(len(values))
    unsettled, tasks = np.ones(len(tolerance), np.bool_), np.arange(len(tolerance))
    moving = unsettled.copy()
    for _ in range(MAX_SWEEPS):
        following = equation.sweep(values)
        moved = np.maximum.reduceat(np.abs(following - values), equation.first_of_task)
        values = np.where(moving[equation.task], following, values)
        moving &= moved > tolerance[tasks]
        # Converged tasks are removed once they are half of all, because removing them costs a few sweeps.
        if 2 * np.count_nonzero(moving) <= len(moving):
            found[contexts], unsettled[tasks] = values, moving
            if not moving.any():
                break
            left = moving[equation.task]
            contexts, values, tasks = contexts[left], values[left], tasks[moving]
            equation, moving = equation.of_tasks(moving), moving[moving]
    found[contexts], unsettled[tasks] = values, moving
    return found, unsettled


def _parts(task: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of whole tasks with about `PART_ROWS` rows each."""
    starts = _first_rows(task)
    begin = 0
    for end in (*starts[1:].tolist(), len(task)):
        if end - begin >= PART_ROWS or end == len(task) > begin:
            yield slice(begin, end)
            begin = end


def _first_rows(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Start indices of the runs of equal ids."""
    return np.flatnonzero(np.append(True, ids[1:] != ids[:-1])[: len(ids)])


def _numbers(first_rows: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """0 for the rows of the first slice, 1 for those of the second, …"""
    return np.repeat(np.arange(len(first_rows)), np.diff(first_rows, append=rows))
