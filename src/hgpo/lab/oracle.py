"""Bias and variance on real games: a step's true value is estimated by many rollouts from that step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.intervals import Interval, bootstrap
from hgpo.envs.base import Task, TaskSuite, tasks_of
from hgpo.errors import RunError, SettingError
from hgpo.groups import group_sizes, level_groups
from hgpo.lab.errors import split_errors
from hgpo.lab.estimators import (
    Compared,
    critics_advantages,
    fitted_critic,
    named_estimators,
    published_estimators,
)
from hgpo.lab.measure import CRITICS, Scores, alignment_of
from hgpo.lab.sweeps import STATE_GROUPS
from hgpo.returns import discounted_returns
from hgpo.rollouts.agent import Agent
from hgpo.rollouts.episodes import Episode, Trajectory
from hgpo.rollouts.rollout import continue_from, rollout, step_table
from hgpo.rounding import sums_are_equal
from hgpo.steps import StepTable

CHUNK = 512
"""Number of episodes that are played at the same time."""

History = tuple[str, tuple[str, ...]]
"""A task's id and the commands so far, which determine the state of a deterministic game."""


@dataclass(frozen=True)
class OracleSetting:
    """The numbers of games and rollouts for estimating the value of every step."""

    tasks: int = 8
    """Number of training games."""
    groups: int = 8
    """Independent task groups per game; the critic is fitted on the same number of other groups."""
    group_size: int = 8
    """N: number of rollouts per task."""
    continuations: int = 16
    """Rollouts from every step; each half gives one of two independent estimates of its value."""
    history_length: int = 2
    """History depth K of the estimators."""
    discount: float = 0.95
    """γ: discount factor."""
    temperature: float = 1.0
    """Sampling temperature of the policy."""

    def __post_init__(self) -> None:
        for name, lowest in (("tasks", 1), ("groups", 2), ("group_size", 2), ("continuations", 2)):
            value = getattr(self, name)
            if value < lowest or (name in ("groups", "continuations") and value % 2):
                even = "an even number of " if name in ("groups", "continuations") else ""
                raise SettingError(f"--{name.replace('_', '-')} is {value}: expected {even}at least {lowest}")


@dataclass(frozen=True)
class OracleResult:
    """The results of the measurement."""

    steps: StepTable
    """All steps whose value was estimated."""
    scores: Mapping[str, Scores]
    """Scores by estimator. "level k, common rows" uses only the rows that every level compares, so that
    levels can be compared with one another."""
    ahead: Mapping[str, Interval]
    """For each estimator, its alignment minus that of state groups: mean and interval over games."""
    sizes: Mapping[str, NDArray[np.int64]]
    """Size of each row's group, by level and for whole histories; 0 if there is no group."""
    histories: int
    """Number of different histories, each with its own value."""
    value_error: float
    """Standard error of the value estimates, root mean square, in units of return."""

    def too_few_steps(self) -> list[str]:
        """Lines about figures that are unknown because there are too few steps; none if all are known."""
        none = [name for name, scores in self.scores.items() if scores.coverage == 0]
        unknown = [
            name
            for name, scores in self.scores.items()
            if scores.coverage > 0 and np.isnan(scores.errors.bias_squared)
        ]
        found = {
            "errors unknown, because no two steps can be compared (give more --groups or --group-size)": none,
            "bias unknown, because no step occurs in both halves of the groups (give more --groups)": unknown,
        }
        return [f"{problem}: {'; '.join(names)}" for problem, names in found.items() if names]


def measure_estimators(
    suite: TaskSuite,
    agent: Agent,
    setting: OracleSetting,
    *,
    seed: int,
    on_done: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> OracleResult:
    """Play task groups, estimate the value of each of their steps, and score every estimator.

    Errors are taken against two independent estimates of the true value, so that neither bias nor variance
    contains the noise of these estimates (see `split_errors`).

    Args:
        suite: the games; their environments must support forking.
        agent: the policy.
        setting: the numbers of games and rollouts.
        seed: seed of games and of all sampling.
        on_done: called with the phase, the number of its jobs done, and the total.

    Raises:
        SettingError: if the environments cannot be forked, or no two rollouts have different returns.
        RunError: if every rollout failed.
    """
    tasks = list(tasks_of(suite, suite.splits[0], setting.tasks, seed=seed))
    played = _played(suite, agent, tasks, setting, [seed, 0], on_done)
    before = _played(suite, agent, tasks, setting, [seed, 1], on_done)
    if sums_are_equal([trajectory.rewards for trajectory in played]):
        raise SettingError(
            f"all {len(played)} rollouts have the same return, so all steps have the same value: "
            "give a --policy that wins sometimes, or more --tasks"
        )
    points = _snapshots(suite, played)
    values, error = _values(points, agent, setting, [seed, 2], on_done)

    steps = step_table(played, policy_version=0)
    rows = [(trajectory, number) for trajectory in played for number in range(len(trajectory.steps))]
    histories = [_history(trajectory, number) for trajectory, number in rows]
    after = [_history(trajectory, number + 1) for trajectory, number in rows]
    here = np.array([values[history] for history in histories])
    ahead = np.array([values.get(history, (0.0, 0.0)) for history in after])
    truths = (steps.reward[:, None] + setting.discount * ahead - here).T
    codes: dict[History, int] = {}
    kind = np.array([codes.setdefault(history, len(codes)) for history in after])
    # Groups are numbered so that consecutive groups have different tasks.
    numbers = [trajectory.group for trajectory, _ in rows]
    half = np.array([number // len(tasks) % 2 == 1 for number in numbers])

    compared = {
        **named_estimators(setting.history_length, setting.discount),
        **{
            name: Compared(estimator)
            for name, estimator in published_estimators(setting.history_length, setting.discount).items()
        },
    }
    found = {name: estimator(steps) for name, estimator in compared.items()}
    found |= _critics(played, before, setting)
    found["exact value"] = discounted_returns(steps, setting.discount) - here.mean(axis=1)
    levels = [found[f"level {level}"] for level in range(setting.history_length + 1)]
    missing = np.isnan(levels).any(axis=0)
    for number, level in enumerate(levels):
        found[f"level {number}, common rows"] = np.where(missing, np.nan, level)
    game = np.array([trajectory.task.id for trajectory, _ in rows])
    return OracleResult(
        steps=steps,
        scores={name: _score(estimate, truths, kind, half) for name, estimate in found.items()},
        ahead={name: _ahead(estimate, found[STATE_GROUPS], truths, game) for name, estimate in found.items()},
        sizes=_sizes(steps, setting.history_length),
        histories=len(values),
        value_error=error,
    )


def _played(
    suite: TaskSuite,
    agent: Agent,
    tasks: Sequence[Task],
    setting: OracleSetting,
    seed: list[int],
    on_done: Callable[[str, int, int], None],
) -> list[Trajectory]:
    # A repeated task gives several task groups, because its position is part of the trajectory's id.
    trajectories = rollout(
        suite,
        agent,
        [task for _ in range(setting.groups) for task in tasks],
        group_size=setting.group_size,
        temperature=setting.temperature,
        seed=seed,
        on_step=lambda finished, live: on_done("rollouts", finished, finished + live),
    )
    played = [trajectory for trajectory in trajectories if trajectory.failure is None]
    if not played:
        raise RunError(f"every rollout failed, the first: {trajectories[0].failure}; see hgpo env check")
    return played


def _history(trajectory: Trajectory, steps: int) -> History:
    return trajectory.task.id, tuple(step.command for step in trajectory.steps[:steps])


def _snapshots(suite: TaskSuite, trajectories: Sequence[Trajectory]) -> dict[History, Episode]:
    """A snapshot of the episode at every history, each history once."""
    points: dict[History, Episode] = {}
    for trajectory in trajectories:
        if _history(trajectory, len(trajectory.steps) - 1) in points:
            continue
        episode = Episode(trajectory.task, suite.make())
        episode.begin()
        for number, step in enumerate(trajectory.steps):
            history = _history(trajectory, number)
            if history not in points:
                points[history] = episode.fork()
            episode.take(step.decision)
    return points


def _values(
    points: Mapping[History, Episode],
    agent: Agent,
    setting: OracleSetting,
    seed: list[int],
    on_done: Callable[[str, int, int], None],
) -> tuple[dict[History, tuple[float, float]], float]:
    """Two independent estimates of each history's value, and the standard error of their mean."""
    histories = list(points)
    at_once = max(1, CHUNK // setting.continuations)
    values: dict[History, tuple[float, float]] = {}
    variances = []
    for start in range(0, len(histories), at_once):
        chunk = histories[start : start + at_once]
        continued = continue_from(
            [points[history] for history in chunk],
            agent,
            count=setting.continuations,
            temperature=setting.temperature,
            seed=[*seed, start],
        )
        for history, trajectories in zip(chunk, continued, strict=True):
            past = len(points[history].steps)
            returns = np.array([_return_from(each, past, setting.discount) for each in trajectories])
            values[history] = float(returns[0::2].mean()), float(returns[1::2].mean())
            variances.append(returns.var(ddof=1) / len(returns))
        on_done("values", len(values), len(histories))
    return values, float(np.sqrt(np.mean(variances)))


def _return_from(trajectory: Trajectory, start: int, discount: float) -> float:
    rewards = trajectory.rewards[start:]
    return float(np.dot(rewards, discount ** np.arange(len(rewards))))


def _critics(
    played: Sequence[Trajectory], before: Sequence[Trajectory], setting: OracleSetting
) -> dict[str, NDArray[np.float64]]:
    """GAE with a critic fitted on other rollouts of the same games: the mean return of each state."""
    games = [
        [(each.task.id, step.before.info.state_key) for each in trajectories for step in each.steps]
        for trajectories in (played, before)
    ]
    steps, before_steps = (step_table(trajectories, policy_version=0) for trajectories in (played, before))
    codes: dict[object, int] = {}
    asked, known = (np.array([codes.setdefault(each, len(codes)) for each in game]) for game in games)
    value = fitted_critic(known, discounted_returns(before_steps, setting.discount))(asked)
    return {
        name: critics_advantages(steps, value, setting.discount, gae_lambda)
        for name, gae_lambda in CRITICS.items()
    }


def _score(
    estimate: NDArray[np.float64],
    truths: NDArray[np.float64],
    kind: NDArray[np.int64],
    half: NDArray[np.bool_],
) -> Scores:
    compared = ~np.isnan(estimate)
    errors = estimate[compared] - truths[:, compared]
    return Scores(
        errors=split_errors(errors[0], kind[compared], half[compared], errors[1]),
        coverage=float(compared.mean()),
        alignment=alignment_of(np.where(compared, estimate, 0.0), *truths),
    )


def _ahead(
    estimate: NDArray[np.float64],
    state_groups: NDArray[np.float64],
    truths: NDArray[np.float64],
    game: NDArray[np.str_],
) -> Interval:
    differences = []
    for each in np.unique(game):
        rows = game == each
        ours, theirs = (
            alignment_of(np.nan_to_num(values[rows]), *truths[:, rows]) for values in (estimate, state_groups)
        )
        differences.append(ours - theirs)
    return bootstrap(np.array(differences)[:, None])


def _sizes(steps: StepTable, history_length: int) -> dict[str, NDArray[np.int64]]:
    levels = level_groups(steps, history_length)
    deepest = int(steps.step_index.max(initial=0))
    whole = level_groups(steps, deepest, start_token=True)[-1]
    named = {f"level {level}": groups for level, groups in enumerate(levels)} | {"whole history": whole}
    return {name: group_sizes(groups) for name, groups in named.items()}
