"""The estimators that are compared: the package's own, single levels, oracles, a fitted critic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators import CRBC, ECPO, G2PO, GAGPO, GRAFT, GRPO, HBC, HGPO, PPO, GiGPO, GraphGPO
from hgpo.estimators.baseline import group_advantages
from hgpo.estimators.comparison import Level, state_levels
from hgpo.estimators.leave_one_out import Peers, blocks_of
from hgpo.returns import returns_to_go
from hgpo.steps import StepTable

Estimator = Callable[[StepTable], NDArray[np.float64]]
"""Advantages of a table's rows, in units of return; NaN for a row that is not compared with any other."""


@dataclass(frozen=True)
class SingleLevel:
    """The comparison at one level only, for rows that have a peer with a different return at this level."""

    level: int
    discount: float
    peers: Peers = "all"

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """See `Estimator`."""
        *_, level = state_levels(steps, self.level, blocks=blocks_of(steps, self.peers))
        return _within(level, steps, self.discount)


@dataclass(frozen=True)
class WholeHistory:
    """The paper's oracle: rows are compared if their states and whole histories are the same."""

    discount: float

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """See `Estimator`."""
        deepest = int(steps.step_index.max(initial=0))
        *_, level = state_levels(steps, deepest, start_token=True)
        return _within(level, steps, self.discount)


@dataclass(frozen=True)
class Compared:
    """An estimator of the package; rows to which it gives exactly 0 count as not compared."""

    estimator: Estimator

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """See `Estimator`."""
        advantages = self.estimator(steps)
        return np.where(advantages == 0, np.nan, advantages)


@dataclass(frozen=True)
class FixedWeights:
    """The mean over the levels 0 … K that count for the row, with given weights."""

    weights: tuple[float, ...]
    discount: float
    peers: Peers = "all"

    def __call__(self, steps: StepTable) -> NDArray[np.float64]:
        """See `Estimator`."""
        deepest = len(self.weights) - 1
        blocks = blocks_of(steps, self.peers)
        levels = np.stack(
            [_within(level, steps, self.discount) for level in state_levels(steps, deepest, blocks=blocks)]
        )
        weights = np.where(np.isnan(levels), 0.0, np.array(self.weights)[:, None])
        total = weights.sum(axis=0)
        mixed = (weights * np.nan_to_num(levels)).sum(axis=0)
        return np.divide(mixed, total, out=np.full(len(total), np.nan), where=total != 0)


def named_estimators(
    history_length: int, discount: float, *, alpha: float | None = None, peers: Peers = "all"
) -> Mapping[str, Estimator]:
    """The estimators of every table except the critics, by name.

    None of them divides by a standard deviation, which would change the unit from row to row.

    Args:
        history_length: K of HGPO.
        discount: γ of all estimators.
        alpha: None gives HGPO with several values of α; a number gives only "HGPO" with this α.
        peers: the peers of single levels and HGPO, except for the estimator named "others".
    """

    def hgpo(**settings: object) -> Estimator:
        same = {"history_length": history_length, "discount": discount, "peers": peers}
        known = {**same, "normalization": "mean", **settings}
        return Compared(HGPO(**known))  # pyright: ignore[reportArgumentType]

    if alpha is not None:
        return {"HGPO": hgpo(alpha=alpha)}
    grpo = GRPO(normalization="mean")
    return {
        "GRPO": Compared(grpo),
        "GiGPO": Compared(GiGPO(normalization="mean", discount=discount)),
        **{f"level {level}": SingleLevel(level, discount, peers) for level in range(history_length + 1)},
        "whole history": WholeHistory(discount),
        "HGPO α=0": hgpo(alpha=0.0),
        "HGPO α=1": hgpo(alpha=1.0),
        "HGPO α=2": hgpo(alpha=2.0),
        "HGPO α=∞": hgpo(alpha=float("inf")),
        "HGPO size": hgpo(level_weights="size"),
        "HGPO reliability": hgpo(level_weights="reliability"),
        "HGPO α=1, others": hgpo(peers="others"),
    }


def published_estimators(history_length: int, discount: float) -> Mapping[str, Estimator]:
    """The estimators compared in gradients and learning, by name. Rows that are not compared get 0.

    GRPO, GiGPO and HGPO do not divide by a standard deviation; the others are as published.

    Args:
        history_length: K of the estimators that have one.
        discount: γ of the estimators that have one.
    """
    return {
        "GRPO": GRPO(normalization="mean"),
        "GiGPO": GiGPO(normalization="mean", discount=discount),
        "HGPO": HGPO(history_length=history_length, discount=discount, normalization="mean"),
        "HGPO, episode level": HGPO(
            history_length=history_length, discount=discount, normalization="mean", episode_level=True
        ),
        "GraphGPO": GraphGPO(),
        "G2PO": G2PO(discount=discount),
        "GAGPO": GAGPO(discount=discount),
        "GRAFT": GRAFT(discount=discount),
        "CRBC": CRBC(discount=discount),
        "ECPO": ECPO(discount=discount),
        "HBC": HBC(history_length=history_length, discount=discount),
        "HBC, K = 0 (states only)": HBC(history_length=0, discount=discount),
        "HBC, w = 0": HBC(history_length=history_length, discount=discount, episode_weight=0.0),
    }


REFERENCES = ("HGPO", "GiGPO")
"""The `published_estimators` that the others are compared with, process by process and seed by seed."""


def fitted_critic(
    prompt: NDArray[np.int64], returns: NDArray[np.float64]
) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """A critic that predicts the mean return that followed a prompt; for a new prompt, the overall mean.

    Args:
        prompt: the prompt of each row, from rollouts sampled earlier.
        returns: the return to go of each row.
    """
    known, number = np.unique(prompt, return_inverse=True)
    means = np.bincount(number, returns) / np.bincount(number)
    overall = float(returns.mean())

    def value(asked: NDArray[np.int64]) -> NDArray[np.float64]:
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where(known[place] == asked, means[place], overall)

    return value


def critics_advantages(
    steps: StepTable, value: NDArray[np.float64], discount: float, gae_lambda: float
) -> NDArray[np.float64]:
    """GAE over steps with the critic's values, not normalized."""
    return PPO(discount=discount, gae_lambda=gae_lambda, whiten=False)(steps.with_values(value))


def _within(level: Level, steps: StepTable, discount: float) -> NDArray[np.float64]:
    advantages, compared = group_advantages(
        returns_to_go(steps, discount), level, normalization="mean", epsilon=0.0, ddof=0
    )
    return np.where(compared, advantages, np.nan)
