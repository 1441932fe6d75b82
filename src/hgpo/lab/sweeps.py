"""Sweeps vary one parameter at a time: they show when state groups are better, and when deep groups are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hgpo.analysis.intervals import Interval, bootstrap
from hgpo.errors import SettingError
from hgpo.lab.estimators import named_estimators
from hgpo.lab.jobs import mapped
from hgpo.lab.measure import Scores, Setting, estimates, score


def _root(squared: float) -> float:
    """The square root of an estimate that noise may put below 0; NaN if it is unknown."""
    return float(np.sqrt(np.maximum(0.0, squared)))


FIGURES: dict[str, Callable[[Scores], float]] = {
    "bias": lambda scores: _root(scores.errors.bias_squared),
    "spread": lambda scores: _root(scores.errors.variance),
    "error": lambda scores: _root(scores.errors.mean_squared),
    "coverage": lambda scores: scores.coverage,
    "alignment": lambda scores: scores.alignment,
}
"""The figures of each estimator in a table. Bias, spread and error are root mean squares over the rows that
it compares, in units of return, error² = bias² + spread²; coverage and alignment are over all rows."""
STATE_GROUPS = "level 0"
"""The estimator with which the others are compared."""
AHEAD = "alignment ahead of level 0"
"""One more figure: an estimator's alignment minus that of state groups in the same process. Processes differ
more than estimators, so this difference is more precise than either alignment."""

AXES: dict[str, tuple[float, ...]] = {
    "N": (4, 8, 16, 32),
    "K": (0, 1, 2, 3, 4),
    "alpha": (0, 0.5, 1, 2, 4, float("inf")),
    "horizon": (4, 8, 16, 50),
    "aliasing": (1, 2, 4),
    "history_dependence": (0, 1, 2, 4),
    "history_reward_scale": (0, 0.1, 0.3, 1),
    "clock": (1, 0),
}
"""The parameters that are varied, with their values."""
TITLES = {
    "N": "rollouts per task, N",
    "K": "deepest level of HGPO, K",
    "alpha": "exponent of the level weights, α",
    "horizon": "steps per episode, T",
    "aliasing": "states per observation",
    "history_dependence": "history dependence of the policy, logits",
    "history_reward_scale": "scale of the reward's dependence on history",
    "clock": "observations tell the step: 1 yes, 0 no",
}
"""The label of each axis in plots."""
_SHAPED: dict[str, type] = {
    "horizon": int,
    "aliasing": int,
    "history_dependence": float,
    "history_reward_scale": float,
    "clock": bool,
}
"""Axes that are fields of `ProcessShape`, and the type of each field."""


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    axis: str
    at: float
    estimator: str
    figures: Mapping[str, Interval]
    """The figures by the names in `FIGURES`; intervals are over processes."""


def setting_at(base: Setting, axis: str, at: float) -> Setting:
    """The base with one parameter changed; α changes nothing, because each value is a separate estimator.

    Raises:
        SettingError: if there is no such axis.
    """
    if axis not in AXES:
        raise SettingError(f"no axis {axis!r}: choose from {', '.join(AXES)}")
    if axis in _SHAPED:
        return replace(base, shape=replace(base.shape, **{axis: _SHAPED[axis](at)}))
    return {
        "N": replace(base, group_size=int(at)),
        "K": replace(base, history_length=int(at)),
        "alpha": base,
    }[axis]


def sweep(
    base: Setting,
    axes: Sequence[str],
    *,
    seed: int,
    workers: int,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Line]:
    """The table rows of every axis; each process is measured separately.

    Args:
        base: the values that are not varied.
        axes: the names of the axes.
        seed: seed of the processes; process number i is the same for all settings that differ only in the
            sample's size.
        workers: number of parallel workers on this machine; the results do not depend on it.
        on_done: called with the number of measurements done and the total.
    """
    jobs = [
        (axis, at, setting_at(base, axis, at), seed, number)
        for axis in axes
        for at in (AXES[axis] if axis != "alpha" else (0.0,))
        for number in range(base.processes)
    ]
    found: dict[tuple[str, float, str], list[Scores]] = {}
    for done, (job, scores) in enumerate(zip(jobs, mapped(_measure, jobs, workers), strict=True), 1):
        for name, values in scores.items():
            found.setdefault((job[0], *name), []).append(values)
        on_done(done, len(jobs))
    for (axis, at, estimator), scores in found.items():
        yield Line(axis, at, estimator, summary(scores, found[axis, at, STATE_GROUPS]))


def summary(scores: Sequence[Scores], state_groups: Sequence[Scores]) -> dict[str, Interval]:
    """The figures over processes with intervals; differences from state groups are taken within a process."""
    ahead = [ours.alignment - theirs.alignment for ours, theirs in zip(scores, state_groups, strict=True)]
    figures = {name: [figure(each) for each in scores] for name, figure in FIGURES.items()}
    return {name: bootstrap(np.array(each)[:, None]) for name, each in (figures | {AHEAD: ahead}).items()}


def _measure(job: tuple[str, float, Setting, int, int]) -> dict[tuple[float, str], Scores]:
    """The scores by value on the axis and name of the estimator."""
    axis, place, setting, seed, number = job
    sample, found = estimates(setting, seed, number)
    if axis != "alpha":
        return {(place, name): score(sample, estimate) for name, estimate in found.items()}
    settings = setting.history_length, setting.discount
    hgpo = {float(at): named_estimators(*settings, alpha=at)["HGPO"](sample.steps) for at in AXES["alpha"]}
    of_all = score(sample, found[STATE_GROUPS])
    scores = {(at, "HGPO"): score(sample, estimate) for at, estimate in hgpo.items()}
    return scores | {(at, STATE_GROUPS): of_all for at in hgpo}
