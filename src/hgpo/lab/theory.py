"""The assumptions behind HGPO's weights, measured where the true advantages are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.intervals import Interval, bootstrap
from hgpo.estimators.baseline import group_advantages
from hgpo.estimators.comparison import state_levels
from hgpo.estimators.leave_one_out import Peers, blocks_of
from hgpo.lab.estimators import FixedWeights
from hgpo.lab.measure import Scores, Setting, draw_sample, estimates, score
from hgpo.lab.sweeps import STATE_GROUPS, Line, summary
from hgpo.returns import returns_to_go

Part = Literal["advantage", "baseline"]
"""The measured error: of the advantage, or only of its baseline, without the noise of the return."""


@dataclass(frozen=True)
class Moments:
    """Second moments of the errors of the levels 0 … K, over the rows for which all of them count."""

    bias: NDArray[np.float64]
    """E b_j b_k of the levels' biases, [levels, levels]; its diagonal is bias²."""
    noise: NDArray[np.float64]
    """Covariance of the levels' errors given the row's kind, [levels, levels]; its diagonal is variance."""
    share: float
    """Share of rows for which all levels count."""

    @property
    def total(self) -> NDArray[np.float64]:
        """E e_j e_k, [levels, levels]."""
        return self.bias + self.noise

    def correlation(self) -> NDArray[np.float64]:
        """Correlation of the levels' noise, [levels, levels]."""
        deviation = np.sqrt(np.diag(self.noise))
        return self.noise / np.outer(deviation, deviation)

    def best_weights(self) -> NDArray[np.float64]:
        """Weights that add up to 1 with the least mean squared error, [levels].

            w = M⁻¹ 1 / (1ᵀ M⁻¹ 1),  M = E e eᵀ

        They may be negative: if errors are similar, the difference of two levels predicts that of a third.
        """
        raw = np.linalg.solve(self.total, np.ones(len(self.total)))
        return raw / raw.sum()


def level_moments(
    setting: Setting, seed: int, number: int, *, peers: Peers = "all", part: Part = "advantage"
) -> Moments:
    """The joint moments of the errors of all levels in one process.

    Products of a kind's means in two independent halves give the biases without noise (`split_errors`).

    Args:
        setting: process, N, K and γ.
        seed, number: determine the process.
        peers: the rows that are compared.
        part: the error to measure. The baseline is R − Â, and its true value is V.
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
    """The mean of each kind, [levels, kinds]; NaN for a kind without rows."""
    size = int(kinds.max()) + 1
    count = np.bincount(kind, minlength=size)
    sums = np.stack([np.bincount(kind, row, size) for row in error])
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


@dataclass(frozen=True)
class Claim:
    """An assumption with its expected number, the measured number and the verdict."""

    process: str
    claim: str
    expected: str
    found: Interval
    verdict: str
    """"holds", "fails", or "open" if the interval allows both."""


ErrorKind = Literal["all", "alone", "baselines"]
"""The errors that are examined: those of advantages relative to the whole group, of advantages whose baseline
leaves out the row itself, or of baselines that leave it out."""


def _bias_falls(moments: Moments) -> NDArray[np.float64]:
    bias = np.diag(moments.bias)
    return bias[:-1] - bias[1:]


def _variance_rises(moments: Moments) -> NDArray[np.float64]:
    variance = np.diag(moments.noise)
    return variance[1:] - variance[:-1]


def _correlations(moments: Moments) -> NDArray[np.float64]:
    return np.diag(moments.correlation(), 1)


def _mean_by_independent(moments: Moments) -> NDArray[np.float64]:
    weights = _paper_weights(moments)
    return np.array([weights @ moments.noise @ weights / (weights**2 @ np.diag(moments.noise))])


def _mean_by_noisiest(moments: Moments) -> NDArray[np.float64]:
    weights = _paper_weights(moments)
    return np.array([weights @ moments.noise @ weights / np.diag(moments.noise).max()])


def _mean_has_less_bias(moments: Moments) -> NDArray[np.float64]:
    weights = _paper_weights(moments)
    return np.array([moments.bias[0, 0] - weights @ moments.bias @ weights])


def _paper_weights(moments: Moments) -> NDArray[np.float64]:
    """HGPO's weights with α = 1, [levels]."""
    raw = np.arange(1, len(moments.bias) + 1)
    return raw / raw.sum()


def _above_0(found: Interval) -> str:
    return "fails" if found.high < 0 else "holds" if found.low > 0 else "open"


def _at_most_1(found: Interval) -> str:
    return "fails" if found.low > 1 else "holds" if found.high <= 1 else "open"


def _about_0(found: Interval) -> str:
    return "fails" if found.low > 0.05 or found.high < -0.05 else "holds"


def _about_1(found: Interval) -> str:
    return "fails" if found.low > 1.05 or found.high < 0.95 else "holds"


@dataclass(frozen=True)
class _Assumption:
    """An assumption behind HGPO's weights, and how it is computed from the moments of a process."""

    claim: str
    """A sentence; {level} and {next} stand for the levels if it concerns each pair of neighbours."""
    expected: str
    """The expected value of its numbers."""
    numbers: Callable[[Moments], NDArray[np.float64]]
    """Gives one number per pair of neighbouring levels, or a single number."""
    verdict: Callable[[Interval], str]
    errors: ErrorKind = "all"


_BIAS, _VARIANCE = "bias² falls from level {level} to {next}", "variance rises from level {level} to {next}"
_APART = "levels {level} and {next} are uncorrelated"
_ASSUMPTIONS = (
    _Assumption(_BIAS, "above 0", _bias_falls, _above_0),
    _Assumption(f"{_BIAS}, leave-one-out", "above 0", _bias_falls, _above_0, "alone"),
    _Assumption(_VARIANCE, "above 0", _variance_rises, _above_0),
    _Assumption(f"{_VARIANCE}, leave-one-out", "above 0", _variance_rises, _above_0, "alone"),
    _Assumption(f"{_APART}: advantages", "correlation 0", _correlations, _about_0),
    _Assumption(f"{_APART}: baselines, leave-one-out", "correlation 0", _correlations, _about_0, "baselines"),
    _Assumption(
        "the weighted mean's variance is Σ w² Var, as without covariance",
        "ratio 1",
        _mean_by_independent,
        _about_1,
    ),
    _Assumption(
        "the weighted mean's variance is at most that of the noisiest level",
        "ratio at most 1",
        _mean_by_noisiest,
        _at_most_1,
    ),
    _Assumption("the weighted mean has less bias² than level 0", "above 0", _mean_has_less_bias, _above_0),
)
"""All assumptions, in the order of the tables."""


def claims(name: str, moments: Mapping[ErrorKind, Sequence[Moments]]) -> Iterator[Claim]:
    """All assumptions, tested in one kind of process.

    Args:
        name: name of the kind of process.
        moments: for each kind of errors, the moments of each process.
    """
    for assumption in _ASSUMPTIONS:
        by_process = np.array([assumption.numbers(one) for one in moments[assumption.errors]])
        for level, values in enumerate(by_process.T):
            found = bootstrap(values[:, None])
            claim = assumption.claim.format(level=level, next=level + 1)
            yield Claim(name, claim, assumption.expected, found, assumption.verdict(found))


KINDS: dict[str, dict[str, float]] = {
    "history has no effect": {"history_dependence": 0.0},
    "the policy depends on history": {"history_dependence": 2.0},
    "reward depends weakly on history": {"history_reward_scale": 0.3},
    "reward depends strongly on history": {"history_reward_scale": 2.0},
}
"""Kinds of processes by name, with the parameters of the shape that they change."""


def settings_of_kinds(base: Setting) -> dict[str, Setting]:
    """The base setting, changed for each kind of process."""
    return {
        name: replace(base, shape=replace(base.shape, **changes))  # pyright: ignore[reportArgumentType]
        for name, changes in KINDS.items()
    }


def check_claims(setting: Setting, name: str, seed: int) -> list[Claim]:
    """The assumptions tested in one kind of process, over the setting's number of processes."""
    numbers = range(setting.processes)
    moments: dict[ErrorKind, list[Moments]] = {
        "all": [level_moments(setting, seed, number) for number in numbers],
        "alone": [level_moments(setting, seed, number, peers="others") for number in numbers],
        "baselines": [level_moments(setting, seed, n, peers="others", part="baseline") for n in numbers],
    }
    return list(claims(name, moments))


def best_weights(setting: Setting, seed: int) -> NDArray[np.float64]:
    """The weights of least mean squared error, fitted on processes that are not used for scores.

    Baselines leave the row itself out. Otherwise the deepest level would win because its advantages are the
    smallest: at that level a row's own return has the largest weight in its baseline.
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
    """The weights of least error compared with the power law and the estimated weights.

    All baselines leave the row itself out, as in `best_weights`.
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
