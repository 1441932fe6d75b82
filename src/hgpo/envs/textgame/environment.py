"""A compiled game as an environment, with Gymnasium's steps, rewards and ends."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from hgpo.envs.base import Info, Task
from hgpo.envs.state_keys import EpisodeKeys, View
from hgpo.envs.textgame.engine import NOTHING_HAPPENS, Episode, Game


@dataclass(frozen=True)
class Rules:
    """The settings that all episodes of a suite share."""

    compiled: Callable[[Task], Game]
    """Returns the compiled game of a task."""
    max_steps: int
    """An episode is truncated after this many commands."""
    success_reward: float
    """The reward of the command that completes the task; every other command gives 0."""
    new_keys: Callable[[], EpisodeKeys]
    """Creates the state keys of a new episode."""
    say: Callable[[str], str] = str
    """Converts the game's text into the observation."""


class GameEnvironment:
    """One episode at a time of any game of a suite."""

    def __init__(self, rules: Rules) -> None:
        """Store the suite's rules; `reset` must be called first."""
        self._rules = rules
        self._episode: Episode | None = None
        self._steps = 0
        self._over = True

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        """Start the task; games are deterministic, so `seed` has no effect."""
        episode = self._episode = Episode(self._rules.compiled(task))
        self._keys = self._rules.new_keys()
        self._steps = 0
        self._over = False
        return self._rules.say(episode.observation), self._info(episode)

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Carry out a command; a command that is not admissible uses up a step and changes nothing."""
        episode = self._episode
        if episode is None:
            raise RuntimeError("call reset before step")
        if self._over:
            raise RuntimeError("the episode is over: call reset to start another")
        episode.step(command)
        self._steps += 1
        won = episode.won
        truncated = not won and self._steps >= self._rules.max_steps
        self._over = won or truncated
        reward = self._rules.success_reward if won else 0.0
        return self._rules.say(episode.observation), reward, won, truncated, self._info(episode)

    def fork(self) -> GameEnvironment:
        """A copy of the environment in the same step of the episode; both then continue independently."""
        new = copy.copy(self)
        new._keys = copy.copy(self._keys)
        new._episode = None if self._episode is None else self._episode.fork()
        return new

    def _info(self, episode: Episode) -> Info:
        commands = episode.admissible_commands
        unchanged = episode.observation == NOTHING_HAPPENS
        view = View(episode.observation, commands, unchanged, lambda: episode.state_key)
        key, keys = self._keys.after(view)
        return Info(commands, key, episode.won, state_keys=keys)
