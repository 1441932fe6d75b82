"""HGPO for verl-agent: the released recipe's function, with its name and signature.

    from hgpo.adapters.verl_agent import compute_hgpo_outcome_advantage

is the only import that a user of the recipe changes. It needs torch. If rows have been copied, dropped or
reordered, as trainers do to make batches of equal size, it needs their `step_index`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hgpo.adapters.row_order import check_time_order, originals, rank_within
from hgpo.columns import Column, as_sequence, integers, objects
from hgpo.estimators.baseline import Normalization
from hgpo.estimators.hgpo import HGPO
from hgpo.keys import factorize
from hgpo.returns import given_returns, given_scores
from hgpo.rounding import kept_rounding
from hgpo.steps import StepTable

MODES: dict[str, Normalization] = {"mean_std_norm": "mean_std", "mean_norm": "mean"}
"""The recipe's names for the two normalizations."""


def compute_hgpo_outcome_advantage(
    token_level_rewards: torch.Tensor,
    step_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    anchor_obs: NDArray[Any] | Sequence[Any],
    index: NDArray[Any] | Sequence[Hashable],
    traj_index: NDArray[Any] | Sequence[Hashable],
    history_length: int,
    epsilon: float = 1e-6,
    mode: str = "mean_std_norm",
    length_weight_alpha: float = 1.0,
    base_group: bool = False,
    step_index: Column | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages of a batch by `HGPO.reference`, spread over the response tokens.

    The recipe's batches have no step numbers. Without `step_index` the rows of a trajectory are assumed to be
    all its steps, each once, in time order. Rows that were copied, dropped or reordered would then give other
    advantages. `hgpo.adapters.row_order` detects only some of these cases from the returns, so give the
    numbers, or call this function first. With `step_index` rows may be in any order; a copy gets the
    advantage of its original and does not enter any group.

    Args:
        token_level_rewards: Shape (batch, response_length). Its sum over tokens is the return of the row's
            whole trajectory minus the row's own penalty; read only with `base_group`.
        step_rewards: Shape (batch,). The discounted returns to go, penalties included (not rewards).
        response_mask: Shape (batch, response_length), 1 on response tokens.
        anchor_obs: Length batch, the state of each row: a string, number, array, or nested lists and dicts.
        index: Length batch, the task of each row.
        traj_index: Length batch, the trajectory of each row.
        history_length: K.
        epsilon: ε added to the standard deviation and to the sum of the level weights.
        mode: "mean_std_norm" or "mean_norm".
        length_weight_alpha: α.
        base_group: Add the episode level, its statistics over step rows.
        step_index: Length batch, the number of each row's step in its trajectory, from 0.

    Returns:
        The advantages twice (as advantages and as returns), float32, shape (batch, response_length), on the
        device of `response_mask`: the row's advantage on its response tokens, 0 elsewhere.

    Raises:
        ValueError: An unknown `mode`, a trajectory in two tasks, lengths that differ, non-finite returns, or
            a missing id or state. With `step_index`: a step is missing, or copies differ. Without: the
            returns of a trajectory are not those of all its steps in time order.
        TypeError: An id or state that cannot be hashed, or is compared by identity, as tensors are.

    Warns:
        UserWarning: if two rows of a trajectory seem to be in the wrong order.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; choose from {', '.join(map(repr, MODES))}")
    rows = len(response_mask)
    returns = _row_values("step_rewards", step_rewards, rows)
    tokens = token_level_rewards.detach().double() if base_group else torch.zeros(rows, 1)
    scores = _row_values("token_level_rewards", tokens.sum(dim=-1), rows)
    task, trajectory = _codes("index", index, rows), _codes("traj_index", traj_index, rows)
    state = _codes("anchor_obs", list(map(_by_value, anchor_obs)), rows)
    if step_index is None:
        check_time_order(returns, trajectory, state, list(as_sequence("traj_index", traj_index)))
        step = rank_within(trajectory)
    else:
        step = integers("step_index", step_index)
        _require_length("step_index", len(step), rows)
    original = originals(
        trajectory,
        step,
        {"index": task, "anchor_obs": state, "step_rewards": returns, "token_level_rewards": scores},
    )
    kept = np.unique(original)
    steps = StepTable(
        task_id=objects("index", index)[kept],
        trajectory_id=objects("traj_index", traj_index)[kept],
        step_index=step[kept],
        state_key=state[kept],
        # The caller has already summed the rewards; the table gives the task, trajectory and state of each
        # row.
        reward=np.zeros(len(kept)),
    )
    to_go = given_returns(steps, returns[kept], _kept_rounding(returns, step_rewards, kept))
    whole = None
    if base_group:
        size = tokens.abs().sum(dim=-1).cpu().numpy()
        whole = given_scores(steps, scores[kept], _kept_rounding(size, token_level_rewards, kept), to_go)
    estimator = HGPO.reference(
        history_length=history_length,
        alpha=length_weight_alpha,
        normalization=MODES[mode],
        weight_epsilon=epsilon,
        episode_level=base_group,
        epsilon=epsilon,
    )
    advantages = estimator.advantages_from_returns(steps, to_go, whole)
    by_row = torch.from_numpy(advantages[np.searchsorted(kept, original)])
    by_row = by_row.to(device=response_mask.device, dtype=torch.float32)
    by_token = by_row.unsqueeze(-1) * response_mask.to(torch.float32)
    return by_token, by_token


def _codes(name: str, column: Column, rows: int) -> NDArray[np.int64]:
    codes = factorize(as_sequence(name, column), name)
    _require_length(name, len(codes), rows)
    return codes


def _require_length(name: str, length: int, rows: int) -> None:
    if length != rows:
        raise ValueError(f"{name} has {length} rows but response_mask has {rows}; give one value for each")


def _kept_rounding(
    size: NDArray[np.float64], given: torch.Tensor, rows: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    rounding = kept_rounding(size, given)
    return None if rounding is None else rounding[rows]


def _row_values(name: str, values: torch.Tensor, rows: int) -> NDArray[np.float64]:
    array = values.detach().double().cpu().numpy()
    if array.shape != (rows,):
        raise ValueError(
            f"{name} has shape {array.shape}; response_mask has {rows} rows, give one value for each"
        )
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"row {row}: {name} is {array[row]}; give finite returns")
    return array


def _by_value(state: Any) -> Any:
    """The state in a form that compares by value: arrays by their elements, dicts by their items."""
    if isinstance(state, np.ndarray):
        if state.dtype.kind in "biufc" and not np.isnan(state).any():
            return state.dtype.str, state.shape, (state + state.dtype.type(0)).tobytes()  # −0.0 + 0.0 is 0.0
        return state.dtype.kind, state.shape, tuple(map(_by_value, state.ravel().tolist()))
    if isinstance(state, list | tuple):
        return tuple(map(_by_value, state))
    if isinstance(state, dict):
        return frozenset((key, _by_value(value)) for key, value in state.items())
    return state
