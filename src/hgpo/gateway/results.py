"""What an agent's function returns, and the trajectory that it makes of the recorded calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from hgpo.envs.base import Info, Task
from hgpo.envs.commands import ANY_TEXT
from hgpo.envs.episode import TimeStep, Transition
from hgpo.keys import as_key
from hgpo.policies.answers import InvalidReason
from hgpo.policies.base import Completion
from hgpo.rollouts.episodes import Decision, Failure, Step, Trajectory
from hgpo.rollouts.prompts import Action

T = TypeVar("T")

MAIN = ""
"""The branch of requests that name none."""
EXPECTED = "return a reward, a list of rewards (one per request), (reward, state_keys) or hgpo.gateway.Result"


@dataclass(frozen=True)
class Result:
    """How an episode of an agent went, in all detail that `play` can report.

    Lists have one value per request, in order. An agent whose requests name branches gives a mapping from
    each branch to its list; the branch of requests that name none is "".
    """

    reward: float | Sequence[float] | Mapping[str, Sequence[float]]
    """A number is the reward of the last step of each branch."""
    state_keys: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None
    """Equal in two steps of a task if and only if they count as the same state; None: as recorded."""
    valid: Sequence[bool] | Mapping[str, Sequence[bool]] | None = None
    """Whether each response was understood; None: all were."""
    won: bool | None = None
    """Whether the task has been achieved; None: if the rewards add up to more than 0."""
    score: float | None = None
    """Score of the task, from 0 to 1, for tasks that have one."""

    @classmethod
    def of(cls, returned: Any) -> Result:
        """The result that a return value of `play` stands for.

        Raises:
            ValueError: if it is none.
        """
        if returned is None:
            raise ValueError(f"it returned no reward: {EXPECTED}")
        if isinstance(returned, Result):
            return returned
        if isinstance(returned, tuple) and len(returned) == 2 and not _is_number(returned[1]):
            return cls(*returned)
        return cls(returned)


@dataclass(frozen=True)
class Call:
    """One call of the model, as recorded."""

    prompt: tuple[int, ...]
    """Token ids of the prompt, as the model read them."""
    completion: Completion
    """The response, with tokens and log-probabilities as sampled."""
    observation: str
    """The last message that the model was shown."""
    state_key: Hashable
    """The state key of the request."""
    said: str
    """The response as text, with tool calls."""


def trajectory_of(
    task: Task, group: int, member: int, calls: Mapping[str, Sequence[Call]], outcome: Any
) -> Trajectory:
    """The trajectory of an episode; it has failed if its outcome is a failure or cannot be used.

    Args:
        task: the task.
        group: index of the group of trajectories that tried the task together.
        member: index of the trajectory in its group.
        calls: the calls of each branch, in order.
        outcome: what `play` returned, or a `Failure`.
    """
    calls = {branch: called for branch, called in calls.items() if called}
    result, failure = Result(0.0, won=False), None
    try:
        if isinstance(outcome, Failure):
            failure = outcome
        else:
            result = Result.of(outcome)
            if not calls:
                raise ValueError("it made no request of the model")
        branches = _branches(calls, result)
    # Reading a user's objects may raise anything.
    except Exception as error:
        result, failure = Result(0.0, won=False), Failure("agent", str(error) or type(error).__name__)
        branches = _branches(calls, result)
    main = min(branches, default=MAIN)
    total = sum(step.after.reward for step in branches.get(main, ()))
    return Trajectory(
        task=task,
        group=group,
        member=member,
        steps=branches.get(main, ()),
        final_observation="",
        won=failure is None and (total > 0 if result.won is None else bool(result.won)),
        failure=failure,
        score=result.score,
        branches={name: steps for name, steps in branches.items() if name != main},
    )


def _branches(calls: Mapping[str, Sequence[Call]], result: Result) -> dict[str, tuple[Step, ...]]:
    """The steps of each branch."""
    lengths = {branch: len(called) for branch, called in calls.items()}
    if _is_number(result.reward):
        rewards = {branch: [0.0] * (length - 1) + [result.reward] for branch, length in lengths.items()}
    else:
        rewards = _by_branch(result.reward, lengths, "rewards", _finite)
    rewards = {branch: [_finite(value) for value in values] for branch, values in rewards.items()}
    keys = {branch: [call.state_key for call in called] for branch, called in calls.items()}
    if result.state_keys is not None:
        keys = _by_branch(result.state_keys, lengths, "state keys", _checked_key)
    valid = {branch: [True] * length for branch, length in lengths.items()}
    if result.valid is not None:
        valid = _by_branch(result.valid, lengths, "values of valid", bool)
    return {
        branch: _steps(called, rewards[branch], keys[branch], valid[branch])
        for branch, called in calls.items()
    }


def _steps(
    calls: Sequence[Call], rewards: Sequence[float], keys: Sequence[Hashable], valid: Sequence[bool]
) -> tuple[Step, ...]:
    seen = [
        *(TimeStep(call.observation, Info(ANY_TEXT, key)) for call, key in zip(calls, keys, strict=True)),
        TimeStep("", Info((), None), terminated=True),
    ]
    return tuple(
        Transition(
            before=seen[number],
            command=call.said,
            after=TimeStep(
                seen[number + 1].observation,
                seen[number + 1].info,
                rewards[number],
                terminated=seen[number + 1].terminated,
            ),
            decision=Decision(
                Action(call.said, None if valid[number] else InvalidReason.NOT_LISTED),
                call.completion,
                call.prompt,
            ),
        )
        for number, call in enumerate(calls)
    )


def _by_branch(
    given: Any, lengths: Mapping[str, int], what: str, read: Callable[[Any], T]
) -> dict[str, list[T]]:
    """The values of each branch, one per request.

    Raises:
        ValueError: if there are more or fewer.
    """
    if not isinstance(given, Mapping):
        if len(lengths) > 1:
            raise ValueError(
                f"its requests name the branches {', '.join(map(repr, lengths))}: give its {what} as a "
                "mapping from each branch to a list"
            )
        given = dict.fromkeys(lengths, given)
    if given.keys() != lengths.keys():
        raise ValueError(
            f"it gave {what} of the branches {list(given)}, but its requests name {list(lengths)}"
        )
    found = {}
    for branch, values in given.items():
        if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
            raise ValueError(f"it gave {values!r:.60} as {what}: {EXPECTED}")
        if len(values) != lengths[branch]:
            place = f" in the branch {branch!r}" if branch else ""
            raise ValueError(f"it gave {len(values)} {what} for {lengths[branch]} requests{place}")
        found[branch] = [read(value) for value in values]
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.bool_)


def _finite(value: Any) -> float:
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError(f"the reward {value!r:.60} is not a finite number")
    return float(value)


def _checked_key(key: Any) -> Hashable:
    try:
        as_key(key)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a state key {error}") from None
    return key
