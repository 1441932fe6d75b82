"""Games given by their rules on immutable states, played as environments.

A game says how it starts, what is seen, which commands there are and what each of them leads to. Everything
else is the same for all such games: the step limit, rewards, ends, state keys and copies of an episode.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from hgpo.envs.base import Info, Task
from hgpo.envs.state_keys import EpisodeKeys, StateKeyName, View

S = TypeVar("S", bound=Hashable)

NOTHING_HAPPENS = "nothing happens."
"""Said before the observation after a command that is not admissible."""

Outcome = Literal["playing", "won", "lost"]


class RuleGame(Protocol[S]):
    """The game of one task.

    Its states are immutable, and equal if and only if the same commands have the same results from there on.
    """

    def start(self) -> S:
        """The state at the start."""
        ...

    def opening(self) -> str:
        """What is said at the start, before what is seen; may be empty."""
        ...

    def look(self, state: S) -> str:
        """What is seen in a state; may be empty."""
        ...

    def commands(self, state: S) -> tuple[str, ...]:
        """The admissible commands of a state that is still played; at least one."""
        ...

    def after(self, state: S, command: str) -> tuple[S, str] | None:
        """The state after a command, and what is said to it; None if the command is not admissible.

        What is said comes before what is seen in the new state, and may be empty.
        """
        ...

    def outcome(self, state: S) -> Outcome:
        """Whether the task is achieved in a state, or can no longer be."""
        ...

    def score(self, state: S) -> float | None:
        """How much of the task is achieved, from 0 to 1; None in games without a score."""
        ...


@dataclass(frozen=True)
class PlayRules:
    """What all episodes of a suite share."""

    game: Callable[[Task], RuleGame[Any]]
    """The game of a task."""
    max_steps: int
    """An episode is truncated after this many commands."""
    success_reward: float
    """The reward of the command that achieves the task; every other command gives 0."""
    state_key: StateKeyName
    """The state key in use."""


class RuleEnvironment:
    """One episode at a time of any game of a suite."""

    def __init__(self, rules: PlayRules) -> None:
        """Store the suite's rules; `reset` must be called first."""
        self._rules = rules
        self._game: RuleGame[Any] | None = None
        self._state: Any = None
        self._steps = 0
        self._over = True

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        """Start the task; a game is determined by its task, so `seed` has no effect."""
        game = self._game = self._rules.game(task)
        self._keys = EpisodeKeys(self._rules.state_key, keep_if_unchanged=True)
        self._state = game.start()
        self._steps = 0
        self._over = False
        return self._seen(game, game.opening())

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Carry out a command; a command that is not admissible uses up a step and changes nothing."""
        game = self._game
        if game is None:
            raise RuntimeError("call reset before step")
        if self._over:
            raise RuntimeError("the episode is over: call reset to start another")
        after = game.after(self._state, command)
        self._state, said = (self._state, NOTHING_HAPPENS) if after is None else after
        self._steps += 1
        outcome = game.outcome(self._state)
        terminated = outcome != "playing"
        truncated = not terminated and self._steps >= self._rules.max_steps
        self._over = terminated or truncated
        reward = self._rules.success_reward if outcome == "won" else 0.0
        observation, info = self._seen(game, said, unchanged=after is None)
        return observation, reward, terminated, truncated, info

    def fork(self) -> RuleEnvironment:
        """A copy of the environment in the same step of the episode; both then continue independently."""
        new = copy.copy(self)
        if self._game is not None:
            new._keys = copy.copy(self._keys)
        return new

    def _seen(self, game: RuleGame[Any], said: str, *, unchanged: bool = False) -> tuple[str, Info]:
        state = self._state
        outcome = game.outcome(state)
        observation = f"{said}\n{game.look(state)}".strip("\n")
        commands = game.commands(state) if outcome == "playing" else ()
        key, keys = self._keys.after(View(observation, commands, unchanged, lambda: state))
        return observation, Info(commands, key, outcome == "won", game.score(state), keys)


def state_after(game: RuleGame[S], commands: Sequence[str], start: S | None = None) -> S:
    """The state after some commands; those that are not admissible change nothing.

    Args:
        game: the game.
        commands: what is done, in order.
        start: the state before; None is the game's start.
    """
    state = game.start() if start is None else start
    for command in commands:
        after = game.after(state, command)
        state = state if after is None else after[0]
    return state
