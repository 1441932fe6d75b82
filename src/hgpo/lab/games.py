"""Text games as graphs, and a log-linear agent that plays thousands of episodes of them at once.

A deterministic game is a graph: what the environment returns after a command depends only on the state and
the command. The graph is explored wherever episodes go and is shared by all of them, so that playing in a
known part only needs array lookups.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from hgpo.envs import HouseholdSuite
from hgpo.envs.base import ForkableEnvironment, Info, Task, TaskSuite
from hgpo.envs.state_keys import StateKeyName
from hgpo.errors import SettingError
from hgpo.steps import StepTable

WORD_FEATURES = 4096
"""Number of word features; a feature's index is the hash of its name, so that two names may share one."""
LAST = 3
"""Number of past commands that the agent remembers."""
CLASSES = 64
"""Upper bound on the number of command classes."""
FEATURES = WORD_FEATURES + 2 * CLASSES + LAST * CLASSES * CLASSES
"""Total number of the agent's features."""
_NOTHING = FEATURES
"""Index of a feature that is always 0, with which lists of features are padded."""

ENDLESS = HouseholdSuite(max_steps=10**9)
"""The household games without a step limit, to be explored as graphs."""


class GameGraph:
    """The states of some games, each with its commands and, once a command was taken, the next state.

    A node is a state: two states are one node if full state and observation are equal. Commands are numbered
    over all games.
    """

    def __init__(
        self, suite: TaskSuite, tasks: Sequence[Task], state_key: StateKeyName = "full_state"
    ) -> None:
        """Add the start state of every game.

        Args:
            suite: its environments must support fork, be deterministic and have no step limit.
            tasks: the games.
            state_key: the state key in the step tables.

        Raises:
            SettingError: if the environments cannot be forked.
        """
        self.tasks = tasks
        self.commands: list[str] = []
        """Text of each command."""
        self._state_key: StateKeyName = state_key
        self._numbers: dict[Hashable, int] = {}
        self._keys: dict[Hashable, int] = {}
        self._command_numbers: dict[str, int] = {}
        self._classes: dict[Hashable, int] = {}
        self._environments: list[ForkableEnvironment | None] = []
        self._listed: list[tuple[str, ...]] = []
        self._unexplored: list[int] = []
        self._task: list[int] = []
        # One row per node, one column per command. Features come first, so that NumPy adds their weights one
        # by one and the sum does not depend on the number of zeros that follow.
        self.key = np.zeros(0, np.int64)
        """Number of each node's state key."""
        self.won = np.zeros(0, np.bool_)
        """Whether the task is achieved in each node."""
        self.count = np.zeros(0, np.int64)
        """Number of commands of each node."""
        self._next = np.zeros((0, 0), np.int64)
        self.command = np.zeros((0, 0), np.int64)
        """Numbers of each node's commands."""
        self.command_class = np.zeros((0, 0), np.int64)
        """Class of each command, from 1 on: its verb, and whether the task names the command's object."""
        self.words = np.zeros((0, 0, 0), np.int32)
        """Features of the words of the task and the command, [features, nodes, commands]."""
        self.start = np.array([self._begin(suite, number) for number in range(len(tasks))])
        """The first node of each task."""

    def after(self, nodes: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The nodes that follow the commands at these positions of the nodes' lists."""
        found = self._next[nodes, places]
        for row in np.flatnonzero(found < 0):
            node, place = int(nodes[row]), int(places[row])
            # Several rows may take the same unexplored command.
            if self._next[node, place] < 0:
                self._next[node, place] = self._explore(node, place)
            found[row] = self._next[node, place]
        return found

    def _begin(self, suite: TaskSuite, task: int) -> int:
        environment = suite.make()
        observation, info = environment.reset(self.tasks[task])
        if not isinstance(environment, ForkableEnvironment):
            raise SettingError(
                f"{type(environment).__name__} cannot be forked, so it cannot be explored as a graph"
            )
        return self._node(task, environment, observation, info)

    def _explore(self, node: int, place: int) -> int:
        environment = self._environments[node]
        assert environment is not None
        fork = environment.fork()
        observation, *_, info = fork.step(self._listed[node][place])
        self._unexplored[node] -= 1
        if not self._unexplored[node]:
            # No episode continues from here any more.
            self._environments[node] = None
        return self._node(self._task[node], fork, observation, info)

    def _node(self, task: int, environment: ForkableEnvironment, observation: str, info: Info) -> int:
        identity = (task, info.state_keys["full_state"], observation)
        if identity in self._numbers:
            return self._numbers[identity]
        node = self._numbers[identity] = len(self._numbers)
        commands = () if info.won else info.admissible_commands
        instruction = self.tasks[task].instruction.split()
        features = [_word_features(instruction, command.split()) for command in commands]
        self._grow(node + 1, len(commands), max(map(len, features), default=0))
        self._environments.append(environment if commands else None)
        self._listed.append(commands)
        self._unexplored.append(len(commands))
        self._task.append(task)
        self.key[node] = self._keys.setdefault(info.state_keys[self._state_key], len(self._keys))
        self.won[node] = info.won
        self.count[node] = len(commands)
        for place, command in enumerate(commands):
            self.command[node, place] = self._number(command)
            self.command_class[node, place] = self._class(instruction, command.split())
            self.words[: len(features[place]), node, place] = features[place]
        return node

    def _number(self, command: str) -> int:
        if command not in self._command_numbers:
            self._command_numbers[command] = len(self.commands)
            self.commands.append(command)
        return self._command_numbers[command]

    def _class(self, instruction: Sequence[str], command: Sequence[str]) -> int:
        named = any(word in instruction for word in command[1:])
        number = self._classes.setdefault((command[0], named), len(self._classes) + 1)
        if number >= CLASSES:
            raise SettingError(
                f"the games have more than {CLASSES // 2} verbs, which is the most that is supported"
            )
        return number

    def _grow(self, nodes: int, commands: int, features: int) -> None:
        width, rows, columns = self.words.shape
        if nodes > rows or commands > columns or features > width:
            rows = rows if nodes <= rows else max(1024, 2 * rows)
            columns, width = max(commands, columns), max(features, width)
            self.key, self.count = _grown(self.key, (rows,), 0), _grown(self.count, (rows,), 0)
            self.won = _grown(self.won, (rows,), 0)
            self._next = _grown(self._next, (rows, columns), -1)
            self.command = _grown(self.command, (rows, columns), -1)
            self.command_class = _grown(self.command_class, (rows, columns), 0)
            self.words = _grown(self.words, (width, rows, columns), _NOTHING)


def _grown(array: NDArray, shape: tuple[int, ...], filling: int) -> NDArray:
    larger = np.full(shape, filling, array.dtype)
    larger[tuple(map(slice, array.shape))] = array
    return larger


def _word_features(instruction: Sequence[str], command: Sequence[str]) -> list[int]:
    """The features: the command's words; its verb with whether the task names its object; and this pair with
    each word of the task."""
    verb, objects = command[0], command[1:]
    does = f"{verb}, named: {any(word in instruction for word in objects)}"
    names = [*command, does, *(f"{word}: {does}" for word in dict.fromkeys(instruction))]
    return [crc32(name.encode()) % WORD_FEATURES for name in names]


@dataclass(frozen=True)
class Played:
    """Episodes with one row per step; rows are ordered by step, then by episode."""

    episode: NDArray[np.int64]
    """Index of each row's episode."""
    step: NDArray[np.int64]
    """Time of each row."""
    node: NDArray[np.int64]
    """The node in which the command was given."""
    place: NDArray[np.int64]
    """The command's position in the node's list."""
    features: NDArray[np.int32]
    """Features of every command of the node, [features, rows, commands]."""
    probability: NDArray[np.float64]
    """Probability of every command, [rows, commands]."""
    won: NDArray[np.bool_]
    """Whether each episode was won, [episodes]."""


def play(
    graph: GameGraph,
    tasks: NDArray[np.int64],
    weights: NDArray[np.float64],
    learner: NDArray[np.int64],
    *,
    max_steps: int,
    rng: np.random.Generator | None,
) -> Played:
    """Episodes of the log-linear agents, π(command) ∝ exp Σ θ over the command's features.

    Args:
        graph: the games.
        tasks: Shape (episodes,), the task of each episode.
        weights: Shape (learners, FEATURES), θ of each agent.
        learner: Shape (episodes,), which agent plays.
        max_steps: an episode ends after this many commands.
        rng: the random stream; None takes the most probable command.
    """
    padded = np.concatenate([weights, np.zeros((len(weights), 1))], axis=1).ravel()
    episode = np.arange(len(tasks))
    node = graph.start[tasks]
    given = np.full((len(tasks), max_steps), -1)
    last = np.zeros((len(tasks), LAST), np.int64)
    won = np.zeros(len(tasks), np.bool_)
    rows = []
    for step in range(max_steps):
        features = _features(graph, node, last, given)
        logits = padded[learner[episode][:, None] * (FEATURES + 1) + features].sum(axis=0)
        there = np.arange(logits.shape[1]) < graph.count[node][:, None]
        logits[~there] = -np.inf
        probability = np.exp(logits - logits.max(axis=1, keepdims=True))
        ends = np.cumsum(probability, axis=1)
        if rng is None:
            place = logits.argmax(axis=1)
        else:
            drawn = rng.random(len(ends))[:, None] * ends[:, -1:]
            place = np.minimum((drawn >= ends).sum(axis=1), graph.count[node] - 1)
        probability /= ends[:, -1:]
        rows.append((episode, np.full(len(episode), step), node, place, features, probability))
        given[:, step] = graph.command[node, place]
        taken = graph.command_class[node, place]
        last = np.concatenate([taken[:, None], last[:, :-1]], axis=1)
        node = graph.after(node, place)
        won[episode] = graph.won[node]
        live = graph.count[node] > 0
        episode, node, last, given = episode[live], node[live], last[live], given[live]
        if not len(episode):
            break
    return Played(*_joined(rows), won=won)


def _joined(rows: Sequence[tuple[NDArray, ...]]) -> tuple[NDArray, ...]:
    """The columns of all steps; later steps may be wider because exploring found nodes with more commands."""
    width = max(features.shape[0] for *_, features, _ in rows)
    commands = max(probability.shape[1] for *_, probability in rows)
    *places, features, probability = zip(*rows, strict=True)
    return (
        *map(np.concatenate, places),
        np.concatenate([_grown(f, (width, f.shape[1], commands), _NOTHING) for f in features], axis=1),
        np.concatenate([_grown(p, (len(p), commands), 0) for p in probability]),
    )


def _features(
    graph: GameGraph, node: NDArray[np.int64], last: NDArray[np.int64], given: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Features of every command, [features, rows, commands]: its class together with those of the last
    commands, and with whether it was given before; and its words.

    Args:
        graph, node: the current node of each episode.
        last: Shape (rows, LAST), classes of the last commands, the latest first; 0 before the start.
        given: Shape (rows, steps), indices of all commands so far; -1 for future steps.
    """
    classes, commands = graph.command_class[node], graph.command[node]
    repeated = (commands[:, :, None] == given[:, None, :]).any(axis=2)
    again = WORD_FEATURES + repeated * CLASSES + classes
    pairs = (np.arange(LAST) * CLASSES + last).T[:, :, None] * CLASSES + classes
    pairs += WORD_FEATURES + 2 * CLASSES
    return np.concatenate([pairs, again[None], graph.words[:, node]]).astype(np.int32)


def steps_of(graph: GameGraph, played: Played, group: NDArray[np.int64], success_reward: float) -> StepTable:
    """The step table of some episodes.

    Args:
        graph, played: what was played.
        group: Shape (episodes,), the task group of each.
        success_reward: reward of the command that wins.
    """
    length = np.bincount(played.episode, minlength=len(played.won))
    final = played.step == length[played.episode] - 1
    commands = np.array(graph.commands, object)
    return StepTable(
        task_id=group[played.episode],
        trajectory_id=played.episode,
        step_index=played.step,
        state_key=graph.key[played.node],
        reward=np.where(final & played.won[played.episode], success_reward, 0.0),
        action=commands[graph.command[played.node, played.place]],
    )


def score_gradients(
    played: Played, advantages: NDArray[np.float64], part: NDArray[np.int64], parts: int
) -> NDArray[np.float64]:
    """Σ Â ∇θ log π of the rows of each part, [parts, FEATURES].

    Args:
        played: the episodes.
        advantages: Shape (rows,), Â.
        part: Shape (rows,), the index of the sum that each row belongs to.
        parts: number of sums.
    """
    kept = np.flatnonzero(advantages)
    taken = np.arange(played.probability.shape[1]) == played.place[kept, None]
    score = advantages[kept, None] * (taken - played.probability[kept])
    place = part[kept][:, None] * (FEATURES + 1) + played.features[:, kept]
    weights = np.broadcast_to(score, place.shape)
    found = np.bincount(place.ravel(), weights.ravel(), parts * (FEATURES + 1)).astype(np.float64)
    return found.reshape(parts, FEATURES + 1)[:, :FEATURES]
