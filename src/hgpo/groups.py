"""Groups: which rows are compared with each other, as integer ids.

The level-k group of a row holds all rows of the same task with the same current state and the same k states
before it (HGPO, arXiv 2602.22817: the context operator C_k(s_t) = (s_{t−k}, …, s_t)):

    level 0   … … B     all rows in state B
    level 1   … A B     those of level 0 that were in A just before
    level 2   S A B     those of level 1 that were in S before A

Each level splits the groups of the level above it. Actions are not considered.

A state may have several keys, from a coarse one (such as the observation) to a fine one (the full state).
With `level_keys` the first levels compare these keys, and history follows after the last key:

    level 0, 1, …, J − 1     the first 1, 2, …, J keys are the same
    level J − 1 + k          all keys are the same, now and in each of the k states before

Each level adds a key to those of the level above, so that levels are nested for any choice of keys. The keys
come before history because what happens next depends on the present state, and on the past only through what
the policy remembers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hgpo.steps import STATE_KEY, StepTable


def level_groups(
    steps: StepTable,
    history_length: int,
    *,
    start_token: bool = False,
    level_keys: Sequence[str] | None = None,
) -> NDArray[np.int64]:
    """Group ids of every level.

    Args:
        steps: The step table.
        history_length: K, the deepest level: the number of previous states that are compared.
        start_token: Let a special token stand for the states before the first one. Rows of step t are then
            compared, at the levels above t, with rows of step t that have the same whole history.
        level_keys: Names of the table's state keys, coarsest first; None uses only its `state_key`.

    Returns:
        Shape (J + K, rows) with J keys. Row i of a level holds a dense id, equal for the rows of one group
        and meaningful within that level only. The id is −1 if the level does not exist for the row: it
        compares k states of history, step_index < k, and there is no start token.

    Raises:
        ValueError: `history_length` below 0; the table lacks a key.
    """
    count = count_levels(history_length, level_keys)
    groups = np.empty((count, len(steps)), np.int64)
    levels = iterate_level_groups(steps, history_length, start_token=start_token, level_keys=level_keys)
    for level, ids in enumerate(levels):
        groups[level] = ids
    return groups


def count_levels(history_length: int, level_keys: Sequence[str] | None = None) -> int:
    """Number of levels: one per key, and one per state of history."""
    return len(level_keys or (STATE_KEY,)) + check_history_length(history_length)


def iterate_level_groups(
    steps: StepTable,
    history_length: int,
    *,
    start_token: bool = False,
    level_keys: Sequence[str] | None = None,
) -> Iterator[NDArray[np.int64]]:
    """The rows of `level_groups` one by one, level 0 first, without holding them all."""
    order = steps.time_order
    ids, first = steps.task_code[order], steps.step_index[order] == 0
    for name in level_keys or (STATE_KEY,):
        key = steps.codes_of_key(name)[order]
        ids = dense(ids * (key.max(initial=0) + 1) + key)
        yield _scattered(ids, order)
    # The state with a history is identified by all keys together.
    state, width = ids, ids.max(initial=0) + 1
    for _ in range(check_history_length(history_length)):
        # (s_{t−k} … s_t) is the level k−1 context of the previous step followed by the current state. In time
        # order the previous step is the previous row, and the context determines the task.
        pairs = np.empty_like(ids)
        pairs[1:] = ids[:-1]
        if start_token:
            # Each task has its own context before the first step, with a number above all others.
            pairs[first] = steps.task_code[order[first]] + ids.max(initial=0) + 1
        else:
            pairs[first] = -1
        missing = pairs < 0
        pairs *= width
        pairs += state
        pairs[missing] = -1
        ids = dense(pairs)
        if not start_token:
            # Each trajectory has a first step, so −1 occurs, is the smallest value and gets the id 0.
            ids -= 1
        yield _scattered(ids, order)


def group_sizes(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of rows in each row's group, including the row; 0 where the id is −1. Same shape as `groups`."""
    sizes = np.empty_like(groups)
    for ids, out in zip(np.atleast_2d(groups), np.atleast_2d(sizes), strict=True):
        out[:] = np.bincount(ids + 1)[ids + 1]
        out[ids < 0] = 0
    return sizes


def has_peer(groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether another row shares the row's group; False where the id is −1. Same shape as `groups`."""
    return group_sizes(groups) >= 2


def check_history_length(history_length: int) -> int:
    """`history_length` itself, or an error that says what is allowed."""
    if not isinstance(history_length, int | np.integer) or history_length < 0:
        raise ValueError(f"history_length is {history_length!r}; give an integer of at least 0, e.g. 2")
    return int(history_length)


def check_level_keys(level_keys: Sequence[str] | None) -> tuple[str, ...] | None:
    """`level_keys` as a tuple, or an error that says what is allowed."""
    if level_keys is None:
        return None
    names = () if isinstance(level_keys, str) else tuple(level_keys)
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(
            f"level_keys is {level_keys!r}; give different names of state keys, the coarsest first, e.g. "
            "('observation', 'full_state'), or None for the state key in use"
        )
    return names


def dense(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Replace the values, in place, by their rank among the different values: 0 for the smallest, 1, …"""
    order = np.argsort(values)
    ranks = values[order]
    is_new = np.empty(len(values), np.bool_)
    is_new[:1] = False
    np.not_equal(ranks[1:], ranks[:-1], out=is_new[1:])
    values[order] = np.cumsum(is_new, out=ranks)
    return values


def _scattered(values: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    in_table_order = np.empty_like(values)
    in_table_order[order] = values
    return in_table_order
