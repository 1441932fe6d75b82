"""Policy gradients on text games: compares each estimator's gradient with that of the success rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.analysis.intervals import Interval, bootstrap
from hgpo.envs import HouseholdSuite
from hgpo.estimators import GRPO
from hgpo.lab.estimators import REFERENCES, published_estimators
from hgpo.lab.game_learning import DISCOUNT
from hgpo.lab.games import ENDLESS, FEATURES, GameGraph, Played, play, score_gradients, steps_of
from hgpo.lab.gradient import batches, corrected_cosine, noisy_cosine
from hgpo.lab.learning import Adam

LEARNING_RATE = 0.1
"""Learning rate of the agents' training before the measurement."""


@dataclass(frozen=True)
class GameGradientSetting:
    """The settings of the comparison of gradients on games."""

    group_size: int = 8
    """N: number of rollouts per task."""
    agents: int = 16
    """Number of agents, each with its own games; intervals are over agents."""
    tasks: int = 8
    """Games per agent. A gradient is the sum over them, as in an update."""
    groups: int = 64
    """Task groups per game."""
    iterations: int = 10
    """GRPO updates before the gradients are measured, so that the agent wins some episodes and loses
    others."""
    reference: int = 2048
    """Additional episodes per game for the true gradient; each half gives one of two estimates."""
    history_length: int = 2
    """History depth K of the estimators."""


@dataclass(frozen=True)
class GameAligned:
    """One estimator's cosines with the gradient of the success rate, with intervals over agents."""

    estimator: str
    expected: Interval
    """Cosine of the expected gradient, which only bias lowers."""
    few: Interval
    """Cosine of the gradient of one task group per game."""
    many: Interval
    """Cosine of the mean of 16 such gradients."""
    many_less: Mapping[str, Interval]
    """`many` minus that of each of `REFERENCES`, agent by agent."""


@dataclass(frozen=True)
class GameGradients:
    """The results of all estimators, and the agents' success rate."""

    success: Interval
    lines: list[GameAligned]


def game_gradient_cosines(
    setting: GameGradientSetting, seed: int, on_done: Callable[[int, int], None] = lambda done, total: None
) -> GameGradients:
    """The cosines of every estimator on household games.

    The reference gradient is REINFORCE over whole episodes with the mean of the other episodes as the
    baseline, which is unbiased for the gradient of the success rate. Two halves correct for its noise.

    Args:
        setting: the settings of the comparison.
        seed: seed of games and rollouts.
        on_done: called with the number of agents measured and the total.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    success = []
    for agent in range(setting.agents):
        bench = _Bench.draw(setting, [seed, agent])
        truths, won = bench.reference()
        success.append(won)
        played, group = bench.play(setting.groups * setting.group_size, 3)
        steps = steps_of(bench.graph, played, group // setting.group_size, HouseholdSuite.success_reward)
        # One gradient uses one group of each game.
        part = (group // setting.group_size % setting.groups)[played.episode]
        for name, estimator in published_estimators(setting.history_length, DISCOUNT).items():
            gradients = score_gradients(played, estimator(steps), part, setting.groups)[None]
            square = (truths[0] * truths[1]).sum(axis=-1)
            found.setdefault(name, []).append(
                (
                    float(corrected_cosine(gradients, truths)[0]),
                    float(noisy_cosine(gradients, truths.mean(axis=0), square)[0]),
                    float(noisy_cosine(batches(gradients), truths.mean(axis=0), square)[0]),
                )
            )
        on_done(agent + 1, setting.agents)
    lines = []
    for name, cosines in found.items():
        columns = np.array(cosines).T
        less = {other: bootstrap((columns[2] - np.array(found[other]).T[2])[:, None]) for other in REFERENCES}
        expected, few, many = (bootstrap(column[:, None]) for column in columns)
        lines.append(GameAligned(name, expected, few, many, less))
    return GameGradients(bootstrap(np.array(success)[:, None]), lines)


@dataclass(frozen=True)
class _Bench:
    """An agent that wins some of its games, and the games."""

    setting: GameGradientSetting
    graph: GameGraph
    weights: NDArray[np.float64]
    stream: list[int]

    @staticmethod
    def draw(setting: GameGradientSetting, stream: list[int]) -> _Bench:
        games = ENDLESS.tasks(ENDLESS.splits[0], setting.tasks, seed=stream[0] * setting.agents + stream[1])
        graph = GameGraph(ENDLESS, games)
        weights, optimizer = np.zeros((1, FEATURES)), Adam(LEARNING_RATE)
        for iteration in range(setting.iterations):
            bench = _Bench(setting, graph, weights, stream)
            played, group = bench.play(setting.group_size, 4 + iteration)
            steps = steps_of(graph, played, group // setting.group_size, HouseholdSuite.success_reward)
            advantages = GRPO(normalization="mean")(steps)
            none = np.zeros(len(steps), np.int64)
            weights = optimizer.ascend(weights, score_gradients(played, advantages, none, 1))
        return _Bench(setting, graph, weights, stream)

    def play(self, episodes: int, draw: int) -> tuple[Played, NDArray[np.int64]]:
        """Episodes of each game, and the index of each episode, counted over all games in order."""
        tasks = np.repeat(np.arange(self.setting.tasks), episodes)
        played = play(
            self.graph,
            tasks,
            self.weights,
            np.zeros_like(tasks),
            max_steps=HouseholdSuite.max_steps,
            rng=np.random.default_rng([*self.stream, draw]),
        )
        return played, np.arange(len(tasks))

    def reference(self) -> tuple[NDArray[np.float64], float]:
        """Two independent estimates of the true gradient, [2, 1, FEATURES], and the success rate."""
        estimates, success = [], []
        episodes = self.setting.reference // 2
        for half in range(2):
            played, _ = self.play(episodes, half)
            won = played.won.reshape(self.setting.tasks, episodes)
            others = (won.sum(axis=1, keepdims=True) - won) / (episodes - 1)
            advantages = (won - others).ravel()[played.episode]
            none = np.zeros(len(played.episode), np.int64)
            estimates.append(score_gradients(played, advantages, none, 1))
            success.append(won.mean())
        return np.stack(estimates), float(np.mean(success))
