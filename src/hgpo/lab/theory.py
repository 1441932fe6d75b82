"""The assumptions behind HGPO's weights, measured where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.intervals import Interval, bootstrap
from hgpo.estimators.baseline import group_advantages
from hgpo.estimators.comparison import state_levels
from hgpo.estimators.leave_one_out import Peers, blocks_of
from hgpo.lab.contestants import FixedWeights
from hgpo.lab.measure import Scores, Setting, draw_sample, estimates, score
from hgpo.lab.sweeps import STATE_GROUPS, Line, summary
from hgpo.returns import returns_to_go

Part = Literal["advantage", "baseline"]
"""What is off: the advantage, or only the baseline in it, without the noise of the row's own return."""


@dataclass(frozen=True)
class Moments:
    """Second moments of the errors of the levels 0 … K, over the rows where all of them count."""

    bias: NDArray[np.float64]
    """E b_j b_k of the levels' biases, [levels, levels]; its diagonal is bias²."""
    noise: NDArray[np.float64]
    """Covariance of the levels' errors given the row's kind, [levels, levels]; its diagonal is variance."""
    share: float
    """Rows where all levels count / rows."""

    @property
    def total(self) -> NDArray[np.float64]:
        """E e_j e_k, [levels, levels]."""
        return self.bias + self.noise

    def correlation(self) -> NDArray[np.float64]:
        """Of the noises, [levels, levels]."""
        deviation = np.sqrt(np.diag(self.noise))
        return self.noise / np.outer(deviation, deviation)

    def best_weights(self) -> NDArray[np.float64]:
        """Weights that add up to 1 with the least mean squared error, [levels].

            w = M⁻¹ 1 / (1ᵀ M⁻¹ 1),  M = E e eᵀ

        They may be negative: where errors are alike, the difference of two levels tells of a third.
        """
        raw = np.linalg.solve(self.total, np.ones(len(self.total)))
        return raw / raw.sum()


def level_moments(
    setting: Setting, seed: int, number: int, *, peers: Peers = "all", part: Part = "advantage"
) -> Moments:
    """What the levels of one process are off by, together.

    Products of kinds' means in two independent halves give the biases without the noise (`split_errors`).

    Args:
        setting: process, N, K and γ.
        seed, number: which process is drawn.
        peers: with whom rows are compared.
        part: what is looked at. The baseline is R − Â, and its truth V.
    """
    sample = draw_sample(setting, seed, number)
    steps = sample.steps
    returns = returns_to_go(steps, setting.discount)
    errors, counts = [], []
    for level in state_levels(steps, setting.history_length, blocks=blocks_of(steps, peers)):
        advantages, compared = group_advantages(returns, level, normalization="mean", epsilon=0.0, ddof=0)
        truth = sample.advantage if part == "advantage" else returns.values - sample.value
        errors.append(advantages - truth)
        counts.append(compared)
    counting = np.all(counts, axis=0)
    error = np.array(errors)[:, counting]
    half = (steps.task_code % 2 == 1)[counting]
    _, kind = np.unique(sample.kind[counting], return_inverse=True)
    first, second = _means(error[:, ~half], kind[~half], kind), _means(error[:, half], kind[half], kind)
    weight = np.bincount(kind).astype(np.float64)
    weight[np.isnan(first[0]) | np.isnan(second[0])] = 0.0
    first, second = np.nan_to_num(first), np.nan_to_num(second)
    product = (first * weight) @ second.T / weight.sum()
    bias = (product + product.T) / 2
    total = error @ error.T / error.shape[1]
    return Moments(bias=bias, noise=total - bias, share=float(counting.mean()))


def _means(
    error: NDArray[np.float64], kind: NDArray[np.int64], kinds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The mean of each kind, [levels, kinds]; NaN where there is none."""
    size = int(kinds.max()) + 1
    count = np.bincount(kind, minlength=size)
    sums = np.stack([np.bincount(kind, row, size) for row in error])
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


@dataclass(frozen=True)
class Claim:
    """An assumption as a number: what it should be, what it is, and what follows."""

    process: str
    claim: str
    expected: str
    found: Interval
    verdict: str
    """"holds", "fails", or "open" where the interval leaves it so."""


def claims(
    name: str, moments: Sequence[Moments], baselines: Sequence[Moments], alone: Sequence[Moments]
) -> Iterator[Claim]:
    """Every assumption, looked at in one kind of process.

    Args:
        name: of the kind of process.
        moments: of advantages against all of the group, one a process.
        baselines: of the baselines that leave the row itself out.
        alone: of advantages that leave the row itself out.
    """
    deepest = len(moments[0].bias) - 1
    for label, found in (("", moments), (", leave-one-out", alone)):
        for level in range(deepest):
            yield _claim(
                name,
                f"bias² falls from level {level} to {level + 1}{label}",
                "above 0",
                [m.bias[level, level] - m.bias[level + 1, level + 1] for m in found],
                lambda low, high: low > 0,
                lambda low, high: high < 0,
            )
    for label, found in (("", moments), (", leave-one-out", alone)):
        for level in range(deepest):
            yield _claim(
                name,
                f"variance rises from level {level} to {level + 1}{label}",
                "above 0",
                [m.noise[level + 1, level + 1] - m.noise[level, level] for m in found],
                lambda low, high: low > 0,
                lambda low, high: high < 0,
            )
    for label, found in (("advantages", moments), ("baselines, leave-one-out", baselines)):
        for level in range(deepest):
            yield _claim(
                name,
                f"levels {level} and {level + 1} are uncorrelated: {label}",
                "correlation 0",
                [m.correlation()[level, level + 1] for m in found],
                lambda low, high: low <= 0.05 and high >= -0.05,
                lambda low, high: low > 0.05 or high < -0.05,
            )
    weights = np.arange(1, deepest + 2) / np.arange(1, deepest + 2).sum()
    yield _claim(
        name,
        "the weighted mean's variance is Σ w² Var, as without covariance",
        "ratio 1",
        [weights @ m.noise @ weights / (weights**2 @ np.diag(m.noise)) for m in moments],
        lambda low, high: low <= 1.05 and high >= 0.95,
        lambda low, high: low > 1.05 or high < 0.95,
    )
    yield _claim(
        name,
        "the weighted mean's variance is at most that of the noisiest level",
        "ratio at most 1",
        [weights @ m.noise @ weights / np.diag(m.noise).max() for m in moments],
        lambda low, high: high <= 1,
        lambda low, high: low > 1,
    )
    yield _claim(
        name,
        "the weighted mean has less bias² than level 0",
        "above 0",
        [m.bias[0, 0] - weights @ m.bias @ weights for m in moments],
        lambda low, high: low > 0,
        lambda low, high: high < 0,
    )


def _claim(
    process: str,
    claim: str,
    expected: str,
    values: Sequence[float],
    holds: Callable[[float, float], bool],
    fails: Callable[[float, float], bool],
) -> Claim:
    found = bootstrap(np.array(values)[:, None])
    verdict = "open"
    if fails(found.low, found.high):
        verdict = "fails"
    elif holds(found.low, found.high):
        verdict = "holds"
    return Claim(process, claim, expected, found, verdict)


KINDS: dict[str, dict[str, float]] = {
    "history has no effect": {"dependence": 0.0},
    "the policy depends on history": {"dependence": 2.0},
    "reward depends weakly on history": {"stake": 0.3},
    "reward depends strongly on history": {"stake": 2.0},
}
"""Kinds of processes by name: what of a shape they change."""


def settings_of_kinds(base: Setting) -> dict[str, Setting]:
    """The base for each kind of process."""
    return {
        name: replace(base, shape=replace(base.shape, **changes))  # pyright: ignore[reportArgumentType]
        for name, changes in KINDS.items()
    }


def check_claims(setting: Setting, name: str, seed: int) -> list[Claim]:
    """The assumptions in one kind of process, over as many processes as the setting has."""
    numbers = range(setting.processes)
    return list(
        claims(
            name,
            [level_moments(setting, seed, number) for number in numbers],
            [level_moments(setting, seed, n, peers="others", part="baseline") for n in numbers],
            [level_moments(setting, seed, number, peers="others") for number in numbers],
        )
    )


def best_weights(setting: Setting, seed: int) -> NDArray[np.float64]:
    """The weights of least mean squared error, from processes of the kind on which nothing is scored.

    The row itself is left out of the baselines: else the deepest level, whose advantages its own return
    shrinks most, would win by being small.
    """
    held_back = range(setting.processes, 2 * setting.processes)
    moments = [level_moments(setting, seed, number, peers="others") for number in held_back]
    mean = Moments(
        bias=np.mean([each.bias for each in moments], axis=0),
        noise=np.mean([each.noise for each in moments], axis=0),
        share=float(np.mean([each.share for each in moments])),
    )
    return mean.best_weights()


def weights_compared(setting: Setting, name: str, seed: int) -> list[Line]:
    """What the weights of least error are worth beside the power law and the estimated ones.

    The row itself is left out everywhere, as in `best_weights`.
    """
    best = best_weights(setting, seed)
    label = "least error (" + ", ".join(f"{weight:.2f}" for weight in best) + ")"
    rivals = (STATE_GROUPS, *(f"HGPO α={alpha}" for alpha in "012∞"), "HGPO size", "HGPO reliability")
    found: dict[str, list[Scores]] = {}
    for number in range(setting.processes):
        extra = {label: FixedWeights(tuple(best), setting.discount, "others")}
        sample, estimate = estimates(setting, seed, number, extra, peers="others")
        for rival in (*rivals, label):
            found.setdefault(rival, []).append(score(sample, estimate[rival]))
    return [Line(name, 0.0, rival, summary(each, found[STATE_GROUPS])) for rival, each in found.items()]
