"""Returns to go, and the penalty for actions that the environment did not understand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.rounding import ARITHMETIC, merge_equal
from hgpo.steps import StepTable


@dataclass(frozen=True)
class Returns:
    """One return per row, and a bound on the rounding error of each."""

    values: NDArray[np.float64]
    """Shape (rows,)."""
    rounding: NDArray[np.float64]
    """Shape (rows,): the largest possible rounding error of each."""

    def merged(self, groups: NDArray[np.int64]) -> Returns:
        """The same returns, but values of a group that are equal up to rounding are made exactly equal."""
        return Returns(merge_equal(self.values, self.rounding, groups), self.rounding)


def discounted_returns(
    steps: StepTable, discount: float, *, invalid_penalty: float = 0.0, propagate_penalty: bool = False
) -> NDArray[np.float64]:
    """The discounted return to go of every row.

        R_t = r_t + γ R_{t+1},  R after the last step = 0

    Two rows with the same future rewards get exactly the same return, bit for bit, wherever they are.

    Args:
        steps: The step table.
        discount: γ, between 0 and 1; 0.95 in HGPO (arXiv 2602.22817).
        invalid_penalty: Subtracted at rows whose `action_valid` is False; in units of reward.
        propagate_penalty: Subtract the penalty from the row's reward, so that it also lowers the returns of
            earlier steps. If False it lowers only that row's return.

    Returns:
        Shape (rows,), in the order of the table.

    Raises:
        ValueError: `discount` outside [0, 1], a negative penalty, or a penalty without `action_valid`.
    """
    return _discounted(steps, discount, invalid_penalty, propagate_penalty).values


def returns_to_go(
    steps: StepTable,
    discount: float,
    *,
    invalid_penalty: float = 0.0,
    propagate_penalty: bool = False,
    groups: NDArray[np.int64] | None = None,
) -> Returns:
    """The same returns, but returns of a task that are equal up to rounding are made exactly equal.

    Args:
        steps, discount, invalid_penalty, propagate_penalty: As in `discounted_returns`.
        groups: Shape (rows,), dense ids of the rows that are compared, if not all rows of a task.
    """
    returns = _discounted(steps, discount, invalid_penalty, propagate_penalty)
    return returns.merged(steps.task_code if groups is None else groups)


def given_returns(steps: StepTable, values: NDArray[np.float64], kept: NDArray[np.float64] | None) -> Returns:
    """Returns to go that were computed elsewhere, from the end of each trajectory to its start.

    R_t = r_t + γ R_{t+1} rounds a reward, a product and a sum, none of which is larger than
    |R_t| + |R_{t+1}|; the rounding error of R_t therefore follows from the returns from t on.

    Args:
        steps: The step table; its rewards are not read.
        values: Shape (rows,), penalties included.
        kept: Rounding error of each from the precision of its type; see `hgpo.rounding.kept_rounding`.
    """
    own = ARITHMETIC * np.abs(values) + (0.0 if kept is None else kept)
    return Returns(values, 4.0 * _sum_to_go(steps, own, 1.0)).merged(steps.task_code)


def given_scores(
    steps: StepTable, values: NDArray[np.float64], kept: NDArray[np.float64] | None, to_go: Returns
) -> Returns:
    """Returns of whole trajectories that were computed elsewhere.

    Args:
        steps: The step table; its rewards are not read.
        values: Shape (rows,), the return of each row's trajectory.
        kept: As in `given_returns`.
        to_go: The returns to go of the rows; those of the first steps give the size of the summed rewards.
    """
    first = np.flatnonzero(steps.step_index == 0)
    whole = np.zeros(len(first))
    whole[steps.trajectory_code[first]] = to_go.rounding[first]
    own = ARITHMETIC * np.abs(values) + (0.0 if kept is None else kept)
    return Returns(values, own + whole[steps.trajectory_code]).merged(steps.task_code)


def generalized_advantages(
    steps: StepTable, discount: float, gae_lambda: float, *, invalid_penalty: float = 0.0
) -> NDArray[np.float64]:
    """Generalised advantage estimates over the steps of each trajectory.

        δ_t = r_t + γ V_{t+1} − V_t,   A_t = Σ_l (γ λ)^l δ_{t+l},   V after the last step = 0

    Args:
        steps: The step table, with `value`.
        discount: γ, between 0 and 1.
        gae_lambda: λ, between 0 and 1.
        invalid_penalty: Subtracted from the reward of a row whose `action_valid` is False; in units of
            reward.

    Returns:
        Shape (rows,), in the order of the table.

    Raises:
        ValueError: The table has no values.

    Source: arXiv 1506.02438 (eqs. 11 and 16).
    """
    if steps.value is None:
        raise ValueError(
            "these advantages need a critic's values, but the table has none: give StepTable(value=…), the "
            "return to go that is expected at each step"
        )
    rewards = steps.reward - invalid_penalties(steps, invalid_penalty)
    order = steps.time_order
    values = steps.value[order]
    ahead = np.append(values[1:], 0.0)[: len(values)]
    ahead[np.append(steps.step_index[order][1:] == 0, True)[: len(values)]] = 0.0
    errors = np.empty(len(steps))
    errors[order] = rewards[order] + discount * ahead - values
    return _sum_to_go(steps, errors, discount * gae_lambda)


def trajectory_returns(
    steps: StepTable, *, invalid_penalty: float = 0.0, propagate_penalty: bool = False
) -> NDArray[np.float64]:
    """The undiscounted return of the whole trajectory, Σ_t r_t, on each of its rows.

    Args:
        steps: The step table.
        invalid_penalty: As in `discounted_returns`.
        propagate_penalty: If True the sum includes the trajectory's penalties; if False only a row's own
            penalty is subtracted from its sum, so that rows of one trajectory can differ.

    Returns:
        Shape (rows,), in the order of the table.
    """
    return whole_returns(steps, invalid_penalty=invalid_penalty, propagate_penalty=propagate_penalty).values


def whole_returns(
    steps: StepTable, *, invalid_penalty: float = 0.0, propagate_penalty: bool = False
) -> Returns:
    """The same returns, but returns of a task that are equal up to rounding are made exactly equal."""
    return _undiscounted(steps, invalid_penalty, propagate_penalty).merged(steps.task_code)


def invalid_penalties(steps: StepTable, invalid_penalty: float) -> NDArray[np.float64]:
    """`invalid_penalty` on the rows whose action was not valid, 0 on the others; shape (rows,)."""
    if not (math.isfinite(invalid_penalty) and invalid_penalty >= 0.0):
        raise ValueError(f"invalid_penalty is {invalid_penalty}; give a finite number ≥ 0, e.g. 0.1")
    if invalid_penalty == 0.0 or len(steps) == 0:
        return np.zeros(len(steps))
    if steps.action_valid is None:
        raise ValueError(
            f"invalid_penalty is {invalid_penalty}, but the table does not say which actions were valid; "
            "give StepTable(action_valid=…) or set invalid_penalty=0"
        )
    return np.where(steps.action_valid, 0.0, invalid_penalty)


def require_discount(discount: float) -> None:
    """Raise an error unless `discount` lies between 0 and 1."""
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount is {discount!r}; give a number between 0 and 1, e.g. 0.95")


def _discounted(
    steps: StepTable, discount: float, invalid_penalty: float, propagate_penalty: bool
) -> Returns:
    require_discount(discount)
    return _added_up(
        steps, lambda amounts: _sum_to_go(steps, amounts, discount), invalid_penalty, propagate_penalty
    )


def _undiscounted(steps: StepTable, invalid_penalty: float, propagate_penalty: bool) -> Returns:
    return _added_up(
        steps, lambda amounts: _sum_over_trajectory(steps, amounts), invalid_penalty, propagate_penalty
    )


def _added_up(
    steps: StepTable,
    all_reduce: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    invalid_penalty: float,
    propagate_penalty: bool,
) -> Returns:
    """Sums of rewards and penalties, and bounds on their rounding errors.

    Args:
        steps: The step table.
        all_reduce: A sum over rows of the same trajectory, its weights between 0 and 1.
        invalid_penalty, propagate_penalty: As in `discounted_returns`.
    """
    penalties = invalid_penalties(steps, invalid_penalty)
    amounts = steps.reward - penalties if propagate_penalty else steps.reward
    values = all_reduce(amounts)
    if steps.reward_rounding is None and amounts.min(initial=0.0) >= 0.0:
        rounding = ARITHMETIC * values  # the sum has the size of its terms
    else:
        size = np.abs(steps.reward) + penalties if propagate_penalty else np.abs(steps.reward)
        kept = 0.0 if steps.reward_rounding is None else steps.reward_rounding
        rounding = all_reduce(ARITHMETIC * size + kept)
    if not propagate_penalty and invalid_penalty:
        values = values - penalties
        rounding += ARITHMETIC * penalties
    return Returns(values, rounding)


def _sum_to_go(steps: StepTable, rewards: NDArray[np.float64], discount: float) -> NDArray[np.float64]:
    # Each pass doubles the number of rewards that a row has gathered: after it, row t holds the rewards of
    # t … t + 2·reach − 1. This takes log2(longest trajectory) passes over all rows, for all trajectories.
    order = steps.time_order
    gathered = rewards[order]
    length = np.bincount(steps.trajectory_code)
    steps_left = (length[steps.trajectory_code] - 1 - steps.step_index)[order]
    reach, factor = 1, discount
    while reach < length.max(initial=0):
        ahead = np.where(steps_left[:-reach] >= reach, gathered[reach:], 0.0)
        ahead *= factor
        gathered[:-reach] += ahead
        reach, factor = 2 * reach, factor * factor
    returns = np.empty_like(gathered)
    returns[order] = gathered
    return returns


def _sum_over_trajectory(steps: StepTable, rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    # Added up in time order, so that the order of the rows cannot change the last bit. (The type is set
    # because an empty bincount consists of integers.)
    order = steps.time_order
    sums = np.bincount(steps.trajectory_code[order], weights=rewards[order]).astype(np.float64)
    return sums[steps.trajectory_code]
