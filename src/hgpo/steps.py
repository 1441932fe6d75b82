"""The step table: one row per agent step, validated once when data enters.

A row is one model call: the agent saw a state, answered with an action and got a reward.
Everything downstream (returns, groups, advantages) reads this table and gives arrays of one entry per row.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hgpo.columns import (
    Column,
    as_sequence,
    booleans,
    columns_by_name,
    floats,
    frozen,
    integers,
    objects,
    texts,
    token_choices,
    token_ids,
    token_logprobs,
)
from hgpo.keys import factorize
from hgpo.rounding import kept_rounding

STATE_KEY, KEY_PREFIX = "state_key", "state_key_"
"""Name of the state key in use, and prefix of the columns with further keys."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class StepTable:
    """Columns of agent steps, equal in length and in any row order.

    The order of rows has no meaning; `step_index` says when a step happened. Columns are stored as read-only
    arrays. Ids and state keys are hashable values: strings, numbers, bytes, tuples and frozensets of them, or
    values of a class with an == of its own. They are the same if they are equal and of one type: 1, 1.0, True
    and "1" are four, alone and inside tuples. NumPy's scalars count as Python's, so that np.int64(1) is 1,
    and an array of floats holds floats. A state key is only ever compared with keys of the same task.

    Args:
        task_id: The task (one prompt, one game, one goal) of the row's rollout.
        trajectory_id: The rollout. Ids are global: one id may not occur in two tasks.
        step_index: Time within the trajectory, 0 … T−1, each exactly once.
        state_key: The state that the agent was in before acting, as a hashable value.
        reward: The reward that followed the action; finite.
        observation: The text that the agent saw.
        action: The text that the agent answered with.
        action_key: What identifies the action, hashable, if its text does not: two texts with the same effect
            have the same key. See `action_code`.
        action_valid: Whether the environment understood the action.
        invalid_reason: Why it was not understood, as an `hgpo.policies.answers.InvalidReason`; "" if it was.
        terminated: Whether the environment ended the episode at this step.
        truncated: Whether a limit ended the episode at this step.
        prompt_tokens: Token ids of the prompt, one sequence per row (rows differ in length).
        response_tokens: Token ids of the response, one sequence per row.
        response_logprobs: Log-probability of each response token under the policy that sampled it.
        response_allowed: For restricted responses, the token ids that each response token was drawn from: one
            sequence of arrays per row.
        policy_version: Number of the policy update whose weights sampled the row.
        value: The return to go that a critic expects at this step, before the action; finite.
        entropy: Mean entropy of the distributions that the response's tokens were drawn from, in nats;
            finite.
        state_keys: Additional state keys by name, coarser or finer than `state_key`: a mapping of columns, or
            one mapping per row. See `HGPO.level_keys`.

    Raises:
        ValueError: Columns differ in length; a step is missing or given twice; a trajectory is in two
            tasks; a reward is NaN or infinite; an id or state key is None or NaN, or is a tuple that holds
            one. The message names the row and the fix.
        TypeError: An id or state key cannot be hashed, or is or holds something that is compared by identity
            (a tensor, an object without an == of its own); a column is not a sequence of the right kind, or
            holds lists of one value instead of values. The message names the row and the fix.
    """

    task_id: NDArray[Any]
    trajectory_id: NDArray[Any]
    step_index: NDArray[np.int64]
    state_key: NDArray[Any]
    reward: NDArray[np.float64]
    observation: NDArray[Any] | None
    action: NDArray[Any] | None
    action_key: NDArray[Any] | None
    action_valid: NDArray[np.bool_] | None
    invalid_reason: NDArray[Any] | None
    terminated: NDArray[np.bool_] | None
    truncated: NDArray[np.bool_] | None
    prompt_tokens: tuple[NDArray[np.int64], ...] | None
    response_tokens: tuple[NDArray[np.int64], ...] | None
    response_logprobs: tuple[NDArray[np.float64], ...] | None
    response_allowed: tuple[tuple[NDArray[np.int64], ...], ...] | None
    policy_version: NDArray[np.int64] | None
    value: NDArray[np.float64] | None
    entropy: NDArray[np.float64] | None
    state_keys: Mapping[str, NDArray[Any]]

    task_code: NDArray[np.int64] = field(init=False)
    """Dense integers 0 …, equal where `task_id` is equal."""
    trajectory_code: NDArray[np.int64] = field(init=False)
    """Dense integers 0 …, equal where `trajectory_id` is equal."""
    state_code: NDArray[np.int64] = field(init=False)
    """Dense integers 0 …, equal where `state_key` is equal (across tasks)."""
    state_key_codes: Mapping[str, NDArray[np.int64]] = field(init=False)
    """The same for each additional state key, by name."""
    reward_rounding: NDArray[np.float64] | None = field(init=False)
    """Rounding error of each reward that came as float32, bfloat16 or float16; None if all rewards have
    float64 precision. See `hgpo.rounding`."""
    time_order: NDArray[np.int64] = field(init=False)
    """The row numbers sorted by trajectory and, within it, by step."""

    def __init__(
        self,
        *,
        task_id: Column,
        trajectory_id: Column,
        step_index: Column,
        state_key: Column,
        reward: Column,
        observation: Column | None = None,
        action: Column | None = None,
        action_key: Column | None = None,
        action_valid: Column | None = None,
        invalid_reason: Column | None = None,
        terminated: Column | None = None,
        truncated: Column | None = None,
        prompt_tokens: Sequence[ArrayLike] | None = None,
        response_tokens: Sequence[ArrayLike] | None = None,
        response_logprobs: Sequence[ArrayLike] | None = None,
        response_allowed: Sequence[Sequence[ArrayLike]] | None = None,
        policy_version: Column | None = None,
        value: Column | None = None,
        entropy: Column | None = None,
        state_keys: Mapping[str, Column] | Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        columns = {name: column for name, column in locals().items() if name not in ("self", "state_keys")}
        further = columns_by_name("state_keys", state_keys)
        given = _of_one_length(columns | {KEY_PREFIX + name: column for name, column in further.items()})
        for name in _CONVERTERS:
            value = _CONVERTERS[name](name, given[name]) if name in given else None
            object.__setattr__(self, name, value)
        for code, name in (
            ("task_code", "task_id"),
            ("trajectory_code", "trajectory_id"),
            ("state_code", "state_key"),
        ):
            object.__setattr__(self, code, frozen(factorize(given[name], name)))
        named = {name: (KEY_PREFIX + name, given[KEY_PREFIX + name]) for name in further}
        object.__setattr__(self, "state_keys", {name: objects(*column) for name, column in named.items()})
        codes = {name: frozen(factorize(key, column)) for name, (column, key) in named.items()}
        object.__setattr__(self, "state_key_codes", codes)
        _check_finite("reward", self.reward, "0.0 where the environment gave none")
        object.__setattr__(self, "reward_rounding", kept_rounding(self.reward, reward))
        for name in _FINITE:
            if (column := getattr(self, name)) is not None:
                _check_finite(name, column, _FINITE[name])
        _check_one_task_per_trajectory(self)
        object.__setattr__(self, "time_order", frozen(_time_order(self)))
        if self.response_tokens is not None and self.response_logprobs is not None:
            _check_one_logprob_per_token(self.response_tokens, self.response_logprobs)
        if self.response_tokens is not None and self.response_allowed is not None:
            _check_tokens_are_allowed(self.response_tokens, self.response_allowed)

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> StepTable:
        """Build the table from one mapping per row, keyed by column name.

        Args:
            rows: Each has the five required keys; an optional key is in every row or in none.

        Raises:
            ValueError: A row lacks a required key, or has a key that is not the name of a column.
        """
        columns = [column.name for column in fields(cls) if column.init]
        for row, values in enumerate(rows):
            if unknown := [name for name in values if name not in columns]:
                raise ValueError(
                    f"row {row}: there is no column {unknown[0]!r}; columns: {', '.join(columns)}"
                )
        present = [name for name in columns if name in _REQUIRED or any(name in values for values in rows)]
        for row, values in enumerate(rows):
            if missing := [name for name in present if name not in values]:
                raise ValueError(
                    f"row {row}: {missing[0]!r} is missing; give it in every row"
                    + ("" if missing[0] in _REQUIRED else " or in none, as it is optional")
                )
        return cls(**{name: [values[name] for values in rows] for name in present})

    @cached_property
    def action_code(self) -> NDArray[np.int64]:
        """Integers of at least 0, equal for equal actions: by `action_key` or, without it, by text.

        All actions that the environment did not understand are equal.

        Raises:
            ValueError: The table has neither column; or an action key is missing.
            TypeError: An action key cannot be hashed or is compared by identity.
        """
        name = "action" if self.action_key is None else "action_key"
        column: NDArray[Any] | None = getattr(self, name)
        if len(self) == 0:
            return frozen(np.empty(0, np.int64))
        if column is None:
            raise ValueError(
                "this estimator tells actions apart, but the table has none: give StepTable(action=…), the "
                "text of each action, or action_key=…, something hashable that is equal for equal actions"
            )
        codes = factorize(column, name) + 1
        return frozen(codes if self.action_valid is None else np.where(self.action_valid, codes, 0))

    def codes_of_key(self, name: str) -> NDArray[np.int64]:
        """Dense integers, shape (rows,), equal where the state key with this name is equal.

        Args:
            name: One of `state_keys`, or "state_key" for the key in use.

        Raises:
            ValueError: There is no such key; the message lists the existing ones.
        """
        codes = {**self.state_key_codes, STATE_KEY: self.state_code}
        if name not in codes:
            raise ValueError(
                f"there is no state key {name!r}, only {', '.join(codes)}; give "
                f"StepTable(state_keys={{{name!r}: …}}), or in a file the column {KEY_PREFIX}{name}"
            )
        return codes[name]

    def with_state_keys(self, state_key: Column) -> StepTable:
        """The same steps with other state keys.

        Args:
            state_key: One per row, as in the constructor.

        Raises:
            ValueError: There are more or fewer keys than rows, or one is missing.
            TypeError: A key cannot be hashed or is compared by identity.
        """
        keys = _of_one_length({"task_id": self.task_id, "state_key": state_key})["state_key"]
        code = frozen(factorize(keys, "state_key"))
        return self._replaced(state_key=objects("state_key", keys), state_code=code)

    def with_rewards(self, reward: Column, rounding: NDArray[np.float64] | None = None) -> StepTable:
        """The same steps with other rewards.

        The rounding error of the old rewards is kept for the new ones, which are mostly computed from them.

        Args:
            reward: One per row, finite.
            rounding: Shape (rows,), additional rounding error of each, beyond that of the precision of
                `reward`.
        """
        _of_one_length({"task_id": self.task_id, "reward": reward})
        rewards = floats("reward", reward)
        _check_finite("reward", rewards, "0.0 where the environment gave none")
        parts = [self.reward_rounding, kept_rounding(rewards, reward), rounding]
        known = [part for part in parts if part is not None]
        return self._replaced(reward=rewards, reward_rounding=np.sum(known, axis=0) if known else None)

    def with_values(self, value: Column) -> StepTable:
        """The same steps with a critic's values; finite, one per row."""
        return self._with_finite("value", value)

    def with_entropy(self, entropy: Column) -> StepTable:
        """The same steps with the mean entropy of each response's tokens; finite, one per row."""
        return self._with_finite("entropy", entropy)

    def _with_finite(self, name: str, column: Column) -> StepTable:
        _of_one_length({"task_id": self.task_id, name: column})
        values = floats(name, column)
        _check_finite(name, values, _FINITE[name])
        return self._replaced(**{name: values})

    def take_tasks(self, rows: NDArray[np.int64]) -> StepTable:
        """A table with those columns of some tasks that estimators read.

        Ids and state keys are numbers there, equal where those of this table are equal; tokens are left out.

        Args:
            rows: All rows of these tasks, ascending.
        """
        # The rows were validated before; here they are only numbered again.
        number = np.full(len(self), -1)
        number[rows] = np.arange(len(rows))
        order = number[self.time_order]
        task, trajectory, state = (
            frozen(_renumbered(codes[rows]))
            for codes in (self.task_code, self.trajectory_code, self.state_code)
        )
        values: dict[str, Any] = {column.name: None for column in fields(self)}
        values.update(task_id=task, trajectory_id=trajectory, state_key=state)
        values.update(task_code=task, trajectory_code=trajectory, state_code=state)
        further = {name: frozen(_renumbered(code[rows])) for name, code in self.state_key_codes.items()}
        values.update(state_keys=further, state_key_codes=further)
        values["time_order"] = frozen(order[order >= 0])
        for name in _READ_BY_ESTIMATORS:
            column = getattr(self, name)
            values[name] = None if column is None else frozen(column[rows])
        return self._replaced(**values)

    def _replaced(self, **values: Any) -> StepTable:
        """A copy with other values in some fields; the caller guarantees that they are valid."""
        table = object.__new__(StepTable)
        for column in fields(self):
            object.__setattr__(table, column.name, values.get(column.name, getattr(self, column.name)))
        return table

    def __len__(self) -> int:
        return len(self.reward)

    def __repr__(self) -> str:
        tasks, trajectories = (_count_codes(code) for code in (self.task_code, self.trajectory_code))
        return f"StepTable({len(self)} rows, {trajectories} trajectories, {tasks} tasks)"


def _renumbered(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Dense codes in the same order, for codes of which some no longer occur."""
    occurs = np.zeros(_count_codes(codes), np.int64)
    occurs[codes] = 1
    return (np.cumsum(occurs) - 1)[codes]


def _of_one_length(given: dict[str, Any]) -> dict[str, Any]:
    """The given columns as sequences or arrays, checked to have the same length."""
    found = {
        name: column if name in _RAGGED else as_sequence(name, column)
        for name, column in given.items()
        if column is not None
    }
    lengths = {name: len(column) for name, column in found.items()}
    rows = lengths["task_id"]
    for name, length in lengths.items():
        if length != rows:
            raise ValueError(
                f"{name} has {length} rows but task_id has {rows}, so row {min(length, rows)} is incomplete; "
                "every column needs one value per row"
            )
    return found


_REQUIRED = ("task_id", "trajectory_id", "step_index", "state_key", "reward")
_READ_BY_ESTIMATORS = (
    *("step_index", "reward", "reward_rounding", "observation"),
    *("action", "action_key", "action_valid", "value", "entropy"),
)
_FINITE = {
    "value": "the return to go that is expected at the step",
    "entropy": "the mean entropy of the response's tokens in nats",
}
"""Optional columns of finite numbers, and a description for error messages."""
_RAGGED = ("prompt_tokens", "response_tokens", "response_logprobs", "response_allowed")
_CONVERTERS = {
    "task_id": objects,
    "trajectory_id": objects,
    "step_index": integers,
    "state_key": objects,
    "reward": floats,
    "observation": texts,
    "action": texts,
    "action_key": objects,
    "action_valid": booleans,
    "invalid_reason": texts,
    "terminated": booleans,
    "truncated": booleans,
    "prompt_tokens": token_ids,
    "response_tokens": token_ids,
    "response_logprobs": token_logprobs,
    "response_allowed": token_choices,
    "policy_version": integers,
    "value": floats,
    "entropy": floats,
}


def _count_codes(codes: NDArray[np.int64]) -> int:
    return int(codes.max(initial=-1)) + 1


def _check_finite(name: str, values: NDArray[np.float64], fix: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"row {row}: {name} is {values[row]}; give a finite number, {fix}")


def _check_one_task_per_trajectory(steps: StepTable) -> None:
    task, trajectory = steps.task_code, steps.trajectory_code
    # One row of each trajectory; all other rows of the trajectory must have the same task.
    speaker = np.empty(_count_codes(trajectory), np.int64)
    speaker[trajectory] = np.arange(len(steps))
    differs = task != task[speaker[trajectory]]
    if differs.any():
        row = int(np.argmax(differs))
        other = int(speaker[trajectory[row]])
        raise ValueError(
            f"row {row}: trajectory {steps.trajectory_id[row]!r} is in task {steps.task_id[row]!r}, but in "
            f"row {other} in task {steps.task_id[other]!r}; a trajectory belongs to one task, so make "
            "ids unique, e.g. f'{task_id}/{rollout}'"
        )


def _time_order(steps: StepTable) -> NDArray[np.int64]:
    """Rows sorted by trajectory and step, without a sort: each row's position follows from its step."""
    trajectory, step = steps.trajectory_code, steps.step_index
    length = np.bincount(trajectory)
    first = np.cumsum(length) - length
    if np.any((step < 0) | (step >= length[trajectory])):
        _explain_steps(steps)
    order = np.full(len(steps), -1, np.int64)
    order[first[trajectory] + step] = np.arange(len(steps))
    if np.any(order < 0):
        _explain_steps(steps)
    return order


def _explain_steps(steps: StepTable) -> NoReturn:
    """Find the invalid row and raise an error about it; slow, and only run if there is one."""
    rows_by_trajectory: dict[int, dict[int, int]] = defaultdict(dict)
    for row, (trajectory, step) in enumerate(
        zip(steps.trajectory_code.tolist(), steps.step_index.tolist(), strict=True)
    ):
        if step < 0:
            raise ValueError(f"row {row}: step_index is {step}; the first step of a trajectory is 0")
        if step in rows_by_trajectory[trajectory]:
            raise ValueError(
                f"row {row}: step {step} of trajectory {steps.trajectory_id[row]!r} is given twice, first "
                f"in row {rows_by_trajectory[trajectory][step]}; drop copies and padding, or number steps "
                "0, 1, …"
            )
        rows_by_trajectory[trajectory][step] = row
    for rows in rows_by_trajectory.values():
        missing = next(step for step in itertools.count() if step not in rows)
        if missing < len(rows):
            last = max(rows)
            row = rows[last]
            raise ValueError(
                f"row {row}: trajectory {steps.trajectory_id[row]!r} has step {last} but no step {missing}; "
                "a step is missing, give every one from 0 to the last"
            )
    raise AssertionError("the steps are complete")


def _check_tokens_are_allowed(
    tokens: Sequence[NDArray[Any]], allowed: Sequence[Sequence[NDArray[np.int64]]]
) -> None:
    for row, (of_tokens, of_allowed) in enumerate(zip(tokens, allowed, strict=True)):
        drawn = zip(of_tokens, of_allowed, strict=False)
        if len(of_tokens) != len(of_allowed) or not all(token in listed for token, listed in drawn):
            raise ValueError(
                f"row {row}: response_allowed does not list each of the {len(of_tokens)} response_tokens; "
                "give for every response token the tokens that it was drawn from"
            )


def _check_one_logprob_per_token(tokens: Sequence[NDArray[Any]], logprobs: Sequence[NDArray[Any]]) -> None:
    for row, (of_tokens, of_logprobs) in enumerate(zip(tokens, logprobs, strict=True)):
        if len(of_tokens) != len(of_logprobs):
            raise ValueError(
                f"row {row}: {len(of_tokens)} response_tokens but {len(of_logprobs)} response_logprobs; "
                "give one log-probability per response token"
            )
