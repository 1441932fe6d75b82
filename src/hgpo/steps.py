"""The step table: one row per agent step, checked once where data enters.

A row is one model call: the agent saw a state, answered with an action and got a reward.
Everything downstream (returns, groups, advantages) reads this table and returns arrays beside it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

Column = Sequence[Any] | NDArray[Any]


@dataclass(frozen=True, init=False, eq=False, repr=False)
class StepTable:
    """Columns of agent steps, equal in length and in any row order.

    The place of a row means nothing; `step_index` says when it happened. Columns are kept as read-only
    arrays. Ids and state keys may be any hashable values (strings, integers, tuples, bytes); a state key
    is only ever compared with keys of the same task.

    Args:
        task_id: The task (one prompt, one game, one goal) that the row's rollout tried.
        trajectory_id: The rollout. Global: one id may not occur in two tasks.
        step_index: Time within the trajectory, 0 … T−1, each exactly once.
        state_key: The state that the agent stood in before acting, as something hashable.
        reward: The reward that followed the action; finite.
        observation: The text that the agent saw.
        action: The text that the agent answered with.
        action_valid: Whether the environment understood the action.
        invalid_reason: Why it did not, as an `hgpo.answers.InvalidReason`; "" for valid actions.
        terminated: Whether the environment ended the episode at this step.
        truncated: Whether a limit cut the episode off at this step.
        prompt_tokens: Token ids of the prompt, one sequence per row (rows differ in length).
        response_tokens: Token ids of the response, one sequence per row.
        response_logprobs: Log-probability of each response token under the policy that sampled it.
        policy_version: Number of the policy update whose weights sampled the row.
        value: The return to go that a critic expects at this step, before the action; finite.

    Raises:
        ValueError: Columns differ in length; a step is missing or given twice; a trajectory is in two
            tasks; a reward is NaN or infinite. The message names the row and the cure.
        TypeError: An id or state key cannot be hashed, or a column is not a sequence of the right kind.
    """

    task_id: NDArray[Any]
    trajectory_id: NDArray[Any]
    step_index: NDArray[np.int64]
    state_key: NDArray[Any]
    reward: NDArray[np.float64]
    observation: NDArray[Any] | None
    action: NDArray[Any] | None
    action_valid: NDArray[np.bool_] | None
    invalid_reason: NDArray[Any] | None
    terminated: NDArray[np.bool_] | None
    truncated: NDArray[np.bool_] | None
    prompt_tokens: tuple[NDArray[np.int64], ...] | None
    response_tokens: tuple[NDArray[np.int64], ...] | None
    response_logprobs: tuple[NDArray[np.float64], ...] | None
    policy_version: NDArray[np.int64] | None
    value: NDArray[np.float64] | None

    task_code: NDArray[np.int64] = field(init=False)
    """Dense integers 0 …, equal where `task_id` is equal."""
    trajectory_code: NDArray[np.int64] = field(init=False)
    """Dense integers 0 …, equal where `trajectory_id` is equal."""
    state_code: NDArray[np.int64] = field(init=False)
    """Dense integers 0 …, equal where `state_key` is equal (in whichever task)."""
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
        action_valid: Column | None = None,
        invalid_reason: Column | None = None,
        terminated: Column | None = None,
        truncated: Column | None = None,
        prompt_tokens: Sequence[ArrayLike] | None = None,
        response_tokens: Sequence[ArrayLike] | None = None,
        response_logprobs: Sequence[ArrayLike] | None = None,
        policy_version: Column | None = None,
        value: Column | None = None,
    ) -> None:
        given = {name: column for name, column in locals().items() if name != "self"}
        _check_lengths(given)
        for name, column in given.items():
            value = None if column is None else _CONVERTERS[name](name, column)
            object.__setattr__(self, name, value)
        for name, column in (
            ("task_code", factorize(self.task_id, "task_id")),
            ("trajectory_code", factorize(self.trajectory_id, "trajectory_id")),
            ("state_code", factorize(self.state_key, "state_key")),
        ):
            object.__setattr__(self, name, _frozen(column))
        _check_finite("reward", self.reward, "0.0 where the environment gave none")
        if self.value is not None:
            _check_finite("value", self.value, "the return to go that is expected at the step")
        _check_one_task_per_trajectory(self)
        object.__setattr__(self, "time_order", _frozen(_time_order(self)))
        if self.response_tokens is not None and self.response_logprobs is not None:
            _check_one_logprob_per_token(self.response_tokens, self.response_logprobs)

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> StepTable:
        """Build the table from one mapping per row, keyed by column name.

        Args:
            rows: Each has the five required keys; an optional key is in every row or in none.

        Raises:
            ValueError: A row lacks a key that it needs or has one that no column is called.
        """
        columns = [column.name for column in fields(cls) if column.init]
        for row, values in enumerate(rows):
            if unknown := [name for name in values if name not in columns]:
                raise ValueError(
                    f"row {row}: no column is called {unknown[0]!r}; columns: {', '.join(columns)}"
                )
        present = [name for name in columns if name in _REQUIRED or any(name in values for values in rows)]
        for row, values in enumerate(rows):
            if missing := [name for name in present if name not in values]:
                raise ValueError(
                    f"row {row}: {missing[0]!r} is missing; give it in every row"
                    + ("" if missing[0] in _REQUIRED else " or in none, as it is optional")
                )
        return cls(**{name: [values[name] for values in rows] for name in present})

    def with_state_keys(self, state_key: Column) -> StepTable:
        """The same steps under other state keys.

        Args:
            state_key: One a row, as in the constructor.

        Raises:
            ValueError: There are more or fewer keys than rows.
            TypeError: A key cannot be hashed.
        """
        _check_lengths({"task_id": self.task_id, "state_key": state_key})
        keys = _hashables("state_key", state_key)
        return self._replaced(state_key=keys, state_code=_frozen(factorize(keys, "state_key")))

    def with_rewards(self, reward: Column) -> StepTable:
        """The same steps with other rewards; finite, one a row."""
        _check_lengths({"task_id": self.task_id, "reward": reward})
        rewards = _floats("reward", reward)
        _check_finite("reward", rewards, "0.0 where the environment gave none")
        return self._replaced(reward=rewards)

    def with_values(self, value: Column) -> StepTable:
        """The same steps with a critic's values; finite, one a row."""
        _check_lengths({"task_id": self.task_id, "value": value})
        values = _floats("value", value)
        _check_finite("value", values, "the return to go that is expected at the step")
        return self._replaced(value=values)

    def take_tasks(self, rows: NDArray[np.int64]) -> StepTable:
        """What estimators read of some tasks, as a table of its own.

        Ids and state keys are numbers there, equal where those of this table are; actions and tokens are
        left out.

        Args:
            rows: All rows of these tasks, rising.
        """
        # The rows were checked once; here they are only counted anew.
        number = np.full(len(self), -1)
        number[rows] = np.arange(len(rows))
        order = number[self.time_order]
        task, trajectory, state = (
            _frozen(_renumbered(codes[rows]))
            for codes in (self.task_code, self.trajectory_code, self.state_code)
        )
        values: dict[str, Any] = {column.name: None for column in fields(self)}
        values.update(task_id=task, trajectory_id=trajectory, state_key=state)
        values.update(task_code=task, trajectory_code=trajectory, state_code=state)
        values["time_order"] = _frozen(order[order >= 0])
        for name in ("step_index", "reward", "observation", "action_valid", "value"):
            column = getattr(self, name)
            values[name] = None if column is None else _frozen(column[rows])
        return self._replaced(**values)

    def _replaced(self, **values: Any) -> StepTable:
        """A copy with other values in some fields, which the caller vouches for."""
        table = object.__new__(StepTable)
        for column in fields(self):
            object.__setattr__(table, column.name, values.get(column.name, getattr(self, column.name)))
        return table

    def __len__(self) -> int:
        return len(self.reward)

    def __repr__(self) -> str:
        tasks, trajectories = (_count_codes(code) for code in (self.task_code, self.trajectory_code))
        return f"StepTable({len(self)} rows, {trajectories} trajectories, {tasks} tasks)"


def factorize(values: NDArray[Any], name: str = "value") -> NDArray[np.int64]:
    """Dense integer codes: equal where the values are equal, 0 … number of different values − 1.

    Args:
        values: Shape (rows,), of hashable values.
        name: What an error calls them.

    Raises:
        TypeError: A value cannot be hashed; the message names its row.
    """
    if values.dtype.kind in "biu":
        return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64, copy=False)
    # A dict that numbers new keys by itself keeps the whole pass in C: 0.1 µs a row and the string's hash.
    codes: defaultdict[Any, int] = defaultdict(itertools.count().__next__)
    objects = values.tolist()
    try:
        return np.fromiter(map(codes.__getitem__, objects), np.int64, len(objects))
    except TypeError:
        for row, value in enumerate(objects):
            _check_hashable(name, row, value)
        raise


def _renumbered(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Dense codes again, in the same order, where some of 0 … do not occur any more."""
    occurs = np.zeros(_count_codes(codes), np.int64)
    occurs[codes] = 1
    return (np.cumsum(occurs) - 1)[codes]


def _check_hashable(name: str, row: int, value: Any) -> None:
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(
            f"row {row}: {name} is a {type(value).__name__} that cannot be hashed ({error}); give a string, "
            "a number or a tuple, e.g. array.tobytes() for an array, tuple(sorted(d.items())) for a dict"
        ) from None


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _as_sequence(name: str, column: Any) -> Column:
    """The column as a numpy array or a sequence with a length, or an error that says what to pass."""
    if hasattr(column, "__array__"):
        column = np.asarray(column)
        if column.ndim != 1:
            raise TypeError(
                f"{name} has shape {column.shape}; a column has one value per row"
                + (", e.g. [s.tobytes() for s in states]" if name == "state_key" else "")
            )
        return column
    if isinstance(column, Sequence) and not isinstance(column, str | bytes):
        return column
    raise TypeError(f"{name} is a {type(column).__name__}; pass a list, a tuple or a one-dimensional array")


def _check_lengths(columns: dict[str, Any]) -> None:
    lengths = {
        name: len(column if name in _RAGGED else _as_sequence(name, column))
        for name, column in columns.items()
        if column is not None
    }
    rows = lengths["task_id"]
    for name, length in lengths.items():
        if length != rows:
            raise ValueError(
                f"{name} has {length} rows but task_id has {rows}, so row {min(length, rows)} is incomplete; "
                "every column needs one value per row"
            )


def _hashables(name: str, column: Any) -> NDArray[Any]:
    values = _as_sequence(name, column)
    if isinstance(values, np.ndarray):
        return _frozen(values.copy())
    # fromiter keeps tuples whole and strings as references; np.array would make a matrix or pad the strings.
    return _frozen(np.fromiter(values, dtype=object, count=len(values)))


def _numbers(name: str, column: Any, kinds: str, wanted: str) -> NDArray[Any]:
    values = _as_sequence(name, column)
    array = np.asarray(
        values.tolist() if isinstance(values, np.ndarray) and values.dtype == object else values
    )
    if array.dtype.kind not in kinds and len(array):
        for row, value in enumerate(values):
            if np.asarray(value).dtype.kind not in kinds:
                raise TypeError(f"row {row}: {name} is {value!r}; {wanted}")
        raise TypeError(f"row 0: {name} has type {array.dtype}; {wanted}")
    return array


def _integers(name: str, column: Any) -> NDArray[np.int64]:
    return _frozen(_numbers(name, column, "iu", "give an integer").astype(np.int64))


def _floats(name: str, column: Any) -> NDArray[np.float64]:
    return _frozen(_numbers(name, column, "biuf", "give a finite number").astype(np.float64))


def _booleans(name: str, column: Any) -> NDArray[np.bool_]:
    return _frozen(_numbers(name, column, "b", "give True or False").astype(np.bool_))


def _token_ids(name: str, column: Any) -> tuple[NDArray[np.int64], ...]:
    return _ragged(name, column, np.int64, "iu")


def _token_logprobs(name: str, column: Any) -> tuple[NDArray[np.float64], ...]:
    return _ragged(name, column, np.float64, "iuf")


def _ragged(name: str, column: Any, dtype: type, kinds: str) -> tuple[NDArray[Any], ...]:
    # Rows of one prompt often hold the same object: it is converted once, and kept so that its id stays its.
    known: dict[int, tuple[Any, NDArray[Any]]] = {}
    rows = []
    for row, values in enumerate(column):
        if id(values) not in known:
            known[id(values)] = values, _flat_numbers(name, row, values, dtype, kinds)
        rows.append(known[id(values)][1])
    return tuple(rows)


def _flat_numbers(name: str, row: int, values: Any, dtype: type, kinds: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in kinds):
        raise TypeError(f"row {row}: {name} is {values!r:.60}; give a flat list, one number per token")
    return _frozen(array.astype(dtype))


_REQUIRED = ("task_id", "trajectory_id", "step_index", "state_key", "reward")
_RAGGED = ("prompt_tokens", "response_tokens", "response_logprobs")
_CONVERTERS = {
    "task_id": _hashables,
    "trajectory_id": _hashables,
    "step_index": _integers,
    "state_key": _hashables,
    "reward": _floats,
    "observation": _hashables,
    "action": _hashables,
    "action_valid": _booleans,
    "invalid_reason": _hashables,
    "terminated": _booleans,
    "truncated": _booleans,
    "prompt_tokens": _token_ids,
    "response_tokens": _token_ids,
    "response_logprobs": _token_logprobs,
    "policy_version": _integers,
    "value": _floats,
}


def _count_codes(codes: NDArray[np.int64]) -> int:
    return int(codes.max(initial=-1)) + 1


def _check_finite(name: str, values: NDArray[np.float64], cure: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"row {row}: {name} is {values[row]}; give a finite number, {cure}")


def _check_one_task_per_trajectory(steps: StepTable) -> None:
    task, trajectory = steps.task_code, steps.trajectory_code
    # Some row of each trajectory speaks for its task; any other row must agree with it.
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
    """Rows sorted by trajectory and step, without a sort: each row's place follows from its step index."""
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
    """Find the row at fault and say so; slow, and only ever run once something is wrong."""
    rows_by_trajectory: dict[Any, dict[int, int]] = defaultdict(dict)
    for row, (trajectory, step) in enumerate(
        zip(steps.trajectory_id.tolist(), steps.step_index.tolist(), strict=True)
    ):
        if step < 0:
            raise ValueError(f"row {row}: step_index is {step}; the first step of a trajectory is 0")
        if step in rows_by_trajectory[trajectory]:
            raise ValueError(
                f"row {row}: step {step} of trajectory {trajectory!r} is given twice, first in row "
                f"{rows_by_trajectory[trajectory][step]}; drop copies and padding, or number steps 0, 1, …"
            )
        rows_by_trajectory[trajectory][step] = row
    for trajectory, rows in rows_by_trajectory.items():
        missing = next(step for step in itertools.count() if step not in rows)
        if missing < len(rows):
            last = max(rows)
            raise ValueError(
                f"row {rows[last]}: trajectory {trajectory!r} has step {last} but no step {missing}; "
                "a step is missing, give every one from 0 to the last"
            )
    raise AssertionError("the steps are complete")


def _check_one_logprob_per_token(tokens: Sequence[NDArray[Any]], logprobs: Sequence[NDArray[Any]]) -> None:
    for row, (of_tokens, of_logprobs) in enumerate(zip(tokens, logprobs, strict=True)):
        if len(of_tokens) != len(of_logprobs):
            raise ValueError(
                f"row {row}: {len(of_tokens)} response_tokens but {len(of_logprobs)} response_logprobs; "
                "give one log-probability per response token"
            )
