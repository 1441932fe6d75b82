"""HGPO for verl-agent: the function of the released HGPO recipe, under its own name and signature.

    from hgpo.adapters.verl_agent import compute_hgpo_outcome_advantage

is the one import that a user of the recipe changes. It needs torch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hgpo.columns import as_sequence
from hgpo.estimators.baseline import Normalization
from hgpo.estimators.hgpo import HGPO
from hgpo.keys import factorize
from hgpo.steps import StepTable

MODES: dict[str, Normalization] = {"mean_std_norm": "mean_std", "mean_norm": "mean"}
"""The recipe's names of the two normalizations."""


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
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages of a batch by `HGPO.reference`, spread over the response tokens.

    The recipe's batches carry no step index: the rows of a trajectory are taken to stand in time order, so
    the step index is the row's rank among the rows of its `traj_index`. Batches that were reordered within a
    trajectory, or padded with copies, belong in a StepTable with the true step indices.

    Args:
        token_level_rewards: Shape (batch, response_length). Summed over tokens, the return of the row's whole
            trajectory, less the row's own penalty; read with `base_group` only.
        step_rewards: Shape (batch,). The discounted returns to go, penalties included (not rewards).
        response_mask: Shape (batch, response_length), 1 on response tokens.
        anchor_obs: Length batch, the state of each row: a string, number, array, or nested lists and dicts.
        index: Length batch, the task of each row.
        traj_index: Length batch, the trajectory of each row.
        history_length: K.
        epsilon: ε beside the standard deviation and beside the sum of the level weights.
        mode: "mean_std_norm" or "mean_norm".
        length_weight_alpha: α.
        base_group: Add the episode level, its statistics over step rows.

    Returns:
        The advantages twice (as advantages and as returns), float32, shape (batch, response_length), on the
        device of `response_mask`: the row's advantage on its response tokens, 0 elsewhere.

    Raises:
        ValueError: An unknown `mode`, a trajectory in two tasks, lengths that differ, or non-finite returns.
        TypeError: A state that cannot be made hashable; the message names the row.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; choose from {', '.join(map(repr, MODES))}")
    returns = _row_values("step_rewards", step_rewards, len(response_mask))
    episode_returns = None
    if base_group:
        scores = token_level_rewards.detach().double().sum(dim=-1)
        episode_returns = _row_values("token_level_rewards", scores, len(response_mask))
    for name, ids in (("index", index), ("traj_index", traj_index)):
        factorize(as_sequence(name, ids), name)  # whose errors speak of the arguments, not of a table
    steps = StepTable(
        task_id=index,
        trajectory_id=traj_index,
        step_index=_rank_within(factorize(as_sequence("traj_index", traj_index), "traj_index")),
        state_key=factorize(list(map(_by_value, anchor_obs)), "anchor_obs"),
        # The caller has already summed the rewards; the table says who stands where.
        reward=np.zeros(len(response_mask)),
    )
    estimator = HGPO.reference(
        history_length=history_length,
        alpha=length_weight_alpha,
        normalization=MODES[mode],
        weight_epsilon=epsilon,
        episode_level=base_group,
        epsilon=epsilon,
    )
    by_row = torch.from_numpy(estimator.advantages_from_returns(steps, returns, episode_returns))
    by_row = by_row.to(device=response_mask.device, dtype=torch.float32)
    advantages = by_row.unsqueeze(-1) * response_mask.to(torch.float32)
    return advantages, advantages


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


def _rank_within(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many earlier rows have the same code."""
    order = np.argsort(codes, kind="stable")
    length = np.bincount(codes)
    rank = np.empty_like(codes)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(length) - length, length)
    return rank


def _by_value(state: Any) -> Any:
    """The state as something that is compared by its values: arrays by theirs, dicts by their items."""
    if isinstance(state, np.ndarray):
        if state.dtype.kind in "biufc" and not np.isnan(state).any():
            return state.dtype.str, state.shape, (state + state.dtype.type(0)).tobytes()  # −0.0 + 0.0 is 0.0
        return state.dtype.kind, state.shape, tuple(map(_by_value, state.ravel().tolist()))
    if isinstance(state, list | tuple):
        return tuple(map(_by_value, state))
    if isinstance(state, dict):
        return frozenset((key, _by_value(value)) for key, value in state.items())
    return state
