"""The merged graph of a task's rollouts: a node per state, an edge per step from its state to the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators.bellman import BellmanValues, bellman_values
from hgpo.groups import level_groups
from hgpo.returns import discounted_returns
from hgpo.steps import StepTable


@dataclass(frozen=True, eq=False)
class MergedGraph:
    """The graphs of all tasks in one; no edge leads from one task to another."""

    node: NDArray[np.int64]
    """Shape (rows,), the node in which each row acted: dense ids, different for different tasks."""
    following: NDArray[np.int64]
    """Shape (rows,), the node of the trajectory's next step; −1 after the last."""
    task: NDArray[np.int64]
    """Shape (rows,), `task_code` of each row."""

    @classmethod
    def of(cls, steps: StepTable) -> MergedGraph:
        """The graph of a step table."""
        node = level_groups(steps, history_length=0)[0]
        order = steps.time_order
        following = np.full(len(steps), -1)
        goes_on = np.flatnonzero(steps.step_index[order][1:] > 0)
        following[order[goes_on]] = node[order[goes_on + 1]]
        return cls(node, following, steps.task_code)

    @cached_property
    def visits(self) -> NDArray[np.int64]:
        """Number of rows of each node, shape (nodes,)."""
        return np.bincount(self.node)

    @cached_property
    def ends(self) -> NDArray[np.bool_]:
        """Whether each row is the last of its trajectory."""
        return self.following < 0

    def mean(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean over the rows of each node, shape (nodes,)."""
        return np.bincount(self.node, amounts) / self.visits

    def ahead(self, values: NDArray[np.float64], at_end: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value of the node that each row leads to, shape (rows,).

        Args:
            values: the values of the nodes.
            at_end: Shape (rows,), the value after the last step of a trajectory.
        """
        return np.where(self.ends, at_end, np.append(values, 0.0)[self.following])

    def largest_of_task(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest amount among the rows of each row's task, shape (rows,); amounts are at least 0."""
        largest = np.zeros(int(self.task.max(initial=-1)) + 1)
        np.maximum.at(largest, self.task, amounts)
        return largest[self.task]

    def distance_ahead(self, goals: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The length of the shortest known path to the goal from the node that each row leads to.

        Args:
            goals: Shape (rows,), whether the row is a last step and reaches the goal.

        Returns:
            Shape (rows,): 0 if the row reaches the goal; if no path is known, one more than the longest known
            path in the task.
        """
        inner = np.flatnonzero(~self.ends)
        by_target = inner[np.argsort(self.following[inner], kind="stable")]
        source = self.node[by_target]
        count = np.bincount(self.following[inner], minlength=len(self.visits))
        first = np.cumsum(count) - count
        distance = np.zeros(len(self.visits), np.int64)
        frontier, steps = np.unique(self.node[goals]), 0
        while len(frontier):
            steps += 1
            distance[frontier] = steps
            # The edges that lead to node n are number first[n] … first[n] + count[n] − 1.
            into = count[frontier]
            edges = np.arange(into.sum()) + np.repeat(first[frontier] - np.cumsum(into) + into, into)
            frontier = np.unique(source[edges][distance[source[edges]] == 0])
        far = self.largest_of_task(distance[self.node].astype(np.float64)).astype(np.int64) + 1
        known = np.append(distance, 0)[self.following]
        return np.where(goals, 0, np.where(known > 0, known, far))

    def closure(self, steps: StepTable, discount: float) -> BellmanValues:
        """Values of the nodes: V(s) = mean over the rows of s of r + γ V(s'), V after the last step = 0.

        A visit of a state can therefore continue like any rollout of the task that visited it.

        Args:
            steps: the table from which the graph was made.
            discount: γ.
        """
        returns = discounted_returns(steps, discount)
        return bellman_values(steps, [self.node], returns, discount=discount, shrinkage=())
