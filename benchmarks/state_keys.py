"""Whether the score of `hgpo diagnose` chooses state key and depth as the true advantages would.

    python benchmarks/state_keys.py [--processes 8]
    python benchmarks/state_keys.py --games household

In finite processes (hgpo.lab), where advantages are exact, every key with K = 0 … 4 is scored on 16 tasks of
8 rollouts. Its true cosines are taken on 20,000 other steps: that of the advantages, row by row, and that of
the policy gradient of 16 tasks. Other rules choose from the same 16 tasks: by the share of the returns'
variance that the deepest level explains; and the deepest K down to which each level explains 1 % of what is
left. In games a step's true value is estimated by 12 rollouts from it. The agent follows the walkthrough,
and takes a random command with probability 0.7.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hgpo import HGPO, StepTable
from hgpo.agents.scripted import ExpertAgent, RandomAgent
from hgpo.analysis.choice import Choice, score_choices
from hgpo.analysis.groups import LevelStatistics, level_statistics
from hgpo.envs import ENVIRONMENTS
from hgpo.envs.base import TaskSuite
from hgpo.lab.decision_processes import ProcessShape, SampledSteps
from hgpo.lab.measure import Setting, alignment_of, draw_sample
from hgpo.lab.theory import settings_of_kinds
from hgpo.rollouts.agent import Situation
from hgpo.rollouts.episodes import Decision, Episode, Trajectory
from hgpo.rollouts.rollout import continue_from, rollout, step_table

DEEPEST, GROUP_SIZE, TASKS = 4, 8, 16
ERROR, CONTINUATIONS = 0.7, 12

Tables = Mapping[str, StepTable]
Truth = NDArray[np.float64]
"""True figures by choice, in the order of `score_choices`."""


def explained(statistics: Sequence[LevelStatistics]) -> float:
    """The share of the variance that a key's deepest level explains; −1 where nothing is compared."""
    return float(np.nan_to_num(statistics[-1].explained, nan=-1.0))


def by_explained(tables: Tables, choices: Sequence[Choice], estimator: HGPO) -> int:
    """The choice with the highest explained variance."""
    found = [
        explained(_levels(tables[c.key], replace(estimator, history_length=c.history_length)))
        for c in choices
    ]
    return int(np.argmax(found))


def by_gain(tables: Tables, choices: Sequence[Choice], estimator: HGPO) -> int:
    """The key whose state groups explain most, and the deepest K down to which each level explains 1 %."""
    every = {name: _levels(steps, estimator) for name, steps in tables.items()}
    key = max(every, key=lambda name: explained(every[name][:1]))
    gains = [level.gain >= 0.01 for level in every[key][1:]]
    depth = gains.index(False) if False in gains else len(gains)
    return next(i for i, c in enumerate(choices) if (c.key, c.history_length) == (key, depth))


def by_score(tables: Tables, choices: Sequence[Choice], estimator: HGPO) -> int:
    """The choice with the highest score."""
    return max(range(len(choices)), key=lambda i: choices[i].score)


RULES: dict[str, Callable[[Tables, Sequence[Choice], HGPO], int]] = {
    "score": by_score,
    "explained variance": by_explained,
    "1 % per level": by_gain,
    "first key, K = 2": lambda tables, choices, estimator: 2,
}


NAMES = ("score ~ cosine", "explained ~ cosine", *RULES)
"""What a line says of a process."""


def _levels(steps: StepTable, estimator: HGPO) -> list[LevelStatistics]:
    return level_statistics(steps, estimator.comparison(steps))


def tables_of(sample: SampledSteps, shape: ProcessShape) -> dict[str, StepTable]:
    """The steps by four keys: what is seen, that and the step, the state, the state and the memory."""
    seen = -(-shape.states // shape.aliasing)
    memories = (seen + 1) ** shape.memory
    state = sample.kind // (shape.actions * memories)
    keys = {
        "observation": state % shape.states // shape.aliasing,
        "observation and step": state // shape.states * seen + state % shape.states // shape.aliasing,
        "full state": state,
        "full state and memory": sample.kind // shape.actions,
    }
    return {name: sample.steps.with_state_keys(key) for name, key in keys.items()}


def gradient(sample: SampledSteps, actions: int, advantages: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient of 16 tasks each, [parts, prompts × actions], of a policy with a logit for each of these.

    Its probabilities are the sample's frequencies.
    """
    prompts = np.unique(sample.prompt, return_inverse=True)[1]
    action = sample.kind % actions
    width, part = int(prompts.max()) + 1, sample.steps.task_code // TASKS
    counts = np.bincount(prompts * actions + action, minlength=width * actions).reshape(width, actions)
    policy = counts / counts.sum(axis=1, keepdims=True)
    shape = int(part.max()) + 1, width, actions
    taken = np.bincount(np.ravel_multi_index((part, prompts, action), shape), advantages, int(np.prod(shape)))
    drawn = np.bincount(part * width + prompts, advantages, shape[0] * width).reshape(*shape[:2], 1)
    return (taken.reshape(shape) - drawn * policy).reshape(shape[0], -1)


def true_figures(
    sample: SampledSteps, shape: ProcessShape, choices: Sequence[Choice], estimator: HGPO
) -> tuple[Truth, Truth]:
    """The cosine of the rows, and the mean cosine of the gradient of 16 tasks, of every choice."""
    tables = tables_of(sample, shape)
    wanted = gradient(sample, shape.actions, sample.advantage).sum(axis=0)
    rows, gradients = [], []
    for choice in choices:
        advantages = replace(estimator, history_length=choice.history_length)(tables[choice.key])
        rows.append(alignment_of(advantages, sample.advantage, sample.advantage))
        found = gradient(sample, shape.actions, advantages)
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted)
        gradients.append(np.mean(np.divide(found @ wanted, norms, out=np.zeros(len(found)), where=norms > 0)))
    return np.array(rows), np.array(gradients)


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's, of choices that tie in neither."""
    first, second = (np.argsort(np.argsort(values)) for values in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


def measure_process(setting: Setting, seed: int, number: int) -> dict[str, float]:
    """Rank correlations with the cosines, and what each rule's choice has of the best cosine."""
    estimator = HGPO(history_length=DEEPEST, normalization="mean", discount=setting.discount)
    small = draw_sample(setting, seed, number, groups=TASKS)
    tables = tables_of(small, setting.shape)
    choices = score_choices(tables, estimator)
    large = draw_sample(setting, seed, number, draw=1)
    rows, gradients = true_figures(large, setting.shape, choices, estimator)
    scores = np.array([choice.score for choice in choices])
    shares = [
        explained(_levels(tables[c.key], replace(estimator, history_length=c.history_length)))
        for c in choices
    ]
    figures: dict[str, float] = {}
    for name, values in (("score ~ cosine", scores), ("explained ~ cosine", np.array(shares))):
        figures[f"{name}, rows"] = correlation(values, rows)
        figures[f"{name}, gradient"] = correlation(values, gradients)
    for name, rule in RULES.items():
        chosen = rule(tables, choices, estimator)
        figures[f"{name}, rows"] = rows[chosen] / rows.max()
        figures[f"{name}, gradient"] = gradients[chosen] / gradients.max()
    return figures


def print_processes(processes: int) -> None:
    """A line per kind of process and number of states that look alike: figures of rows / of the gradient."""
    print("| kind, alike | score ~ cosine | explained ~ cosine | " + " | ".join(RULES) + " |")
    print("|---|---:|---:|" + "---:|" * len(RULES))
    for aliasing in (1, 2):
        shape = ProcessShape(aliasing=aliasing)
        base = Setting(shape=shape, group_size=GROUP_SIZE, rows=20_000, processes=processes)
        for kind, setting in settings_of_kinds(base).items():
            found = [measure_process(setting, 0, number) for number in range(processes)]
            mean = {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}
            cells = [f"{mean[f'{name}, rows']:.2f} / {mean[f'{name}, gradient']:.2f}" for name in NAMES]
            print(f"| {kind}, {aliasing} | {' | '.join(cells)} |", flush=True)


@dataclass(frozen=True)
class ErringExpert:
    """Takes the next command of the walkthrough that it has not given yet, or, by chance, a random one."""

    expert: ExpertAgent
    error: float

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        """See `Agent.act`."""
        return [self._decision(situation) for situation in situations]

    def _decision(self, situation: Situation) -> Decision:
        left = iter(self.expert.walkthrough(situation.task))
        command = next(left, None)
        for step in situation.steps:
            if step.command == command:
                command = next(left, None)
        random = RandomAgent().act([situation], 1.0)[0]
        if command not in situation.commands or situation.rng.random() < self.error:
            return random
        return replace(random, action=replace(random.action, command=command, invalid=None))


def games_with_truth(suite: TaskSuite, seed: int) -> tuple[StepTable, NDArray[np.float64]]:
    """Steps of 16 training games, and two independent estimates of their advantages, [2, rows]."""
    agent = ErringExpert(ExpertAgent(suite), ERROR)
    played = rollout(
        suite,
        agent,
        suite.tasks(suite.splits[0], TASKS, seed),
        group_size=GROUP_SIZE,
        temperature=1.0,
        seed=[seed, 0],
    )
    values = dict(_values(suite, agent, played, seed))
    rows = [(trajectory, number) for trajectory in played for number in range(len(trajectory.steps))]
    none = np.zeros(2)
    truth = [
        trajectory.steps[number].after.reward
        + HGPO().discount * values.get(_history(trajectory, number + 1), none)
        - values[_history(trajectory, number)]
        for trajectory, number in rows
    ]
    return step_table(played, policy_version=0), np.stack(truth, axis=1)


def _history(trajectory: Trajectory, steps: int) -> tuple[str, ...]:
    return (trajectory.task.id, *(step.command for step in trajectory.steps[:steps]))


def _values(
    suite: TaskSuite, agent: ErringExpert, played: Sequence[Trajectory], seed: int
) -> Iterator[tuple[tuple[str, ...], NDArray[np.float64]]]:
    """Two independent estimates of the value after each history."""
    seen: set[tuple[str, ...]] = set()
    for trajectory in played:
        episode = Episode(trajectory.task, suite.make())
        episode.begin()
        for number, step in enumerate(trajectory.steps):
            history = _history(trajectory, number)
            if history not in seen:
                seen.add(history)
                place = [seed, 1, len(seen)]
                (after,) = continue_from([episode], agent, count=CONTINUATIONS, temperature=1.0, seed=place)
                returns = [_discounted(each.rewards[number:]) for each in after]
                yield history, np.array([np.mean(returns[0::2]), np.mean(returns[1::2])], np.float64)
            episode.take(step.decision)


def _discounted(rewards: Sequence[float]) -> float:
    return float(np.dot(rewards, HGPO().discount ** np.arange(len(rewards))))


def print_games(name: str, seed: int) -> None:
    """A line per key and K: score, explained variance and the rows' cosine with the true advantages."""
    steps, truth = games_with_truth(ENVIRONMENTS[name](), seed)
    estimator = HGPO(history_length=DEEPEST, normalization="mean")
    tables = {key: steps.with_state_keys(values) for key, values in steps.state_keys.items()}
    print(f"{steps!r}\n| key | K | score | explained | cosine |\n|---|---:|---:|---:|---:|")
    for choice in score_choices(tables, estimator):
        setting = replace(estimator, history_length=choice.history_length)
        share = explained(_levels(tables[choice.key], setting))
        cosine = alignment_of(setting(tables[choice.key]), *truth)
        print(f"| {choice.key} | {choice.history_length} | {choice.score:.3f} | {share:.3f} | {cosine:.3f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--games", choices=["household", "alfworld"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.games:
        print_games(options.games, options.seed)
    else:
        print_processes(options.processes)


if __name__ == "__main__":
    main()
