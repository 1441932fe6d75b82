"""Learning on text games: log-linear agents trained with an estimator's gradient, many seeds at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.intervals import Interval, bootstrap
from hgpo.envs import HouseholdSuite
from hgpo.lab.estimators import REFERENCES, Estimator, published_estimators
from hgpo.lab.games import ENDLESS, FEATURES, GameGraph, play, score_gradients, steps_of
from hgpo.lab.gradient import GroupSizes
from hgpo.lab.learning import Adam

RATES = (0.03, 0.1, 0.3)
"""The learning rates to choose from."""
DISCOUNT = 0.95
"""Discount γ of the estimators."""
HELD_OUT = "valid_seen"
"""Split of the games that are played greedily after training: new games in the training rooms."""


@dataclass(frozen=True)
class GameLearningSetting:
    """How agents are trained on games."""

    group_sizes: GroupSizes = (8,)
    """N: rollouts per task; learning rates are chosen with the first value."""
    tasks: int = 8
    """Games per update."""
    iterations: int = 60
    """Number of updates."""
    seeds: int = 20
    """Number of agents, each with its own games and random numbers."""
    games: int = 48
    """Number of training games from which each update's tasks are drawn."""
    held_out: int = 36
    """Number of held-out games."""
    tuning_seeds: int = 3
    """Number of agents for choosing each estimator's learning rate; they play other training games."""
    history_length: int = 2
    """History depth K of the estimators."""


@dataclass(frozen=True)
class GameCurves:
    """The results of one estimator."""

    learning_rate: float
    training: NDArray[np.float64]
    """Success rate in the rollouts, mean over updates, [seeds]."""
    held_out: NDArray[np.float64]
    """Whether each held-out game is won by greedy play after training, [seeds, games]."""


@dataclass(frozen=True)
class GameLearned:
    """The results of one estimator with intervals."""

    group_size: int
    estimator: str
    learning_rate: float
    """The learning rate with the highest training success on other games."""
    training: Interval
    """Success rate in the rollouts, mean over updates."""
    held_out: Interval
    """Success rate of greedy play on held-out games after training."""
    training_less: Mapping[str, Interval]
    """`training` minus that of each of `REFERENCES`, seed by seed."""
    held_out_less: Mapping[str, Interval]
    """`held_out` minus that of each of `REFERENCES`, seed by seed and game by game."""


def learn_games(
    setting: GameLearningSetting, seed: int, estimators: Sequence[str] | None = None
) -> dict[tuple[int, str], GameCurves]:
    """Train agents on household games with every estimator; a seed has the same games with each.

    Args:
        setting: how they are trained.
        seed: seed of games and rollouts.
        estimators: names of `published_estimators`; None: all of them.

    Returns:
        The curves by N and estimator.
    """
    named = published_estimators(setting.history_length, DISCOUNT)
    found = {}
    reported, tuning = (_Course.draw(setting, seed, part) for part in (0, 1))
    for name in named if estimators is None else estimators:
        estimator, first = named[name], setting.group_sizes[0]
        tried = {rate: tuning.learn(estimator, first, rate, setting.tuning_seeds)[1].mean() for rate in RATES}
        rate = max(tried, key=lambda rate: tried[rate])
        for size in setting.group_sizes:
            weights, training = reported.learn(estimator, size, rate, setting.seeds)
            found[size, name] = GameCurves(rate, training, reported.held_out(weights))
    return found


def compared(curves: Mapping[tuple[int, str], GameCurves]) -> list[GameLearned]:
    """The results of all estimators, with their differences from the references."""
    return [
        GameLearned(
            group_size=size,
            estimator=name,
            learning_rate=ours.learning_rate,
            training=bootstrap(ours.training[:, None]),
            held_out=bootstrap(ours.held_out),
            training_less={
                other: bootstrap((ours.training - curves[size, other].training)[:, None])
                for other in REFERENCES
            },
            held_out_less={
                other: bootstrap(ours.held_out - curves[size, other].held_out) for other in REFERENCES
            },
        )
        for (size, name), ours in curves.items()
    ]


@dataclass(frozen=True)
class _Course:
    """Games, and the random numbers with which agents are trained on them."""

    graph: GameGraph
    setting: GameLearningSetting
    stream: tuple[int, ...]

    @staticmethod
    def draw(setting: GameLearningSetting, seed: int, part: int) -> _Course:
        tasks = [
            *ENDLESS.tasks(ENDLESS.splits[0], setting.games, seed=2 * seed + part),
            *ENDLESS.tasks(HELD_OUT, setting.held_out),
        ]
        return _Course(GameGraph(ENDLESS, tasks), setting, (seed, part))

    def learn(
        self, estimator: Estimator, group_size: int, learning_rate: float, seeds: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The agents' weights after training, and the mean training success of each."""
        setting = self.setting
        learners = np.arange(seeds)
        learner = np.repeat(learners, setting.tasks * group_size)
        group = np.repeat(np.arange(seeds * setting.tasks), group_size)
        draws = [np.random.default_rng([*self.stream, each]) for each in range(seeds)]
        weights, optimizer = np.zeros((seeds, FEATURES)), Adam(learning_rate)
        success = np.zeros((setting.iterations, seeds))
        for iteration in range(setting.iterations):
            drawn = [rng.choice(setting.games, setting.tasks, replace=False) for rng in draws]
            played = play(
                self.graph,
                np.repeat(np.concatenate(drawn), group_size),
                weights,
                learner,
                max_steps=HouseholdSuite.max_steps,
                rng=np.random.default_rng([*self.stream, seeds, iteration]),
            )
            advantages = estimator(steps_of(self.graph, played, group, HouseholdSuite.success_reward))
            gradient = score_gradients(played, advantages, learner[played.episode], seeds)
            weights = optimizer.ascend(weights, gradient)
            success[iteration] = played.won.reshape(seeds, -1).mean(axis=1)
        return weights, success.mean(axis=0)

    def held_out(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Whether each agent wins each held-out game by greedy play."""
        seeds, games = len(weights), self.setting.held_out
        played = play(
            self.graph,
            np.tile(self.setting.games + np.arange(games), seeds),
            weights,
            np.repeat(np.arange(seeds), games),
            max_steps=HouseholdSuite.max_steps,
            rng=None,
        )
        return played.won.reshape(seeds, games).astype(np.float64)
