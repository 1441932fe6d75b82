"""Shopping as an environment, with Gymnasium's steps, rewards and ends."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from hgpo.envs.base import Info, Task
from hgpo.envs.commands import WORDS
from hgpo.envs.state_keys import EpisodeKeys, View
from hgpo.envs.webshop.goals import Goal
from hgpo.envs.webshop.pages import SEARCH, Place
from hgpo.envs.webshop.shop import CLICK_ACTION, SEARCH_ACTION, Shop, parse_action

SEARCH_COMMAND = f"{SEARCH_ACTION}[{WORDS}]"


@dataclass(frozen=True)
class Rules:
    """The settings that all episodes of a suite share."""

    shop: Shop
    """The shop."""
    max_steps: int
    """An episode is truncated after this many commands."""
    success_reward: float
    """The reward of buying exactly what was wanted; every other command gives 0."""
    new_keys: Callable[[], EpisodeKeys]
    """Creates the state keys of a new episode."""


class ShopEnvironment:
    """One shopping episode at a time.

    Observations do not contain the instruction, which the released shop shows on every page, because it is
    part of the task.
    """

    def __init__(self, rules: Rules) -> None:
        """Store the suite's rules; `reset` must be called first."""
        self._rules = rules
        self._goal: Goal | None = None
        self._over = True

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        """Start the task; a shop is deterministic, so `seed` has no effect."""
        self._goal = task.game
        self._keys = self._rules.new_keys()
        self._place = Place()
        self._steps = 0
        self._over = False
        return self._seen(unchanged=False, score=0.0)

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Carry out a command; a command that is not understood uses up a step and changes nothing."""
        if self._goal is None:
            raise RuntimeError("call reset before step")
        if self._over:
            raise RuntimeError("the episode is over: call reset to start another")
        place = self._rules.shop.after(self._place, command)
        self._place = place or self._place
        self._steps += 1
        bought = self._place.bought
        score = self._rules.shop.reward(self._place, self._goal) if bought else 0.0
        truncated = not bought and self._steps >= self._rules.max_steps
        self._over = bought or truncated
        reward = self._rules.success_reward if score == 1 else 0.0
        observation, info = self._seen(unchanged=place is None, score=score)
        return observation, reward, bought, truncated, info

    def fork(self) -> ShopEnvironment:
        """A copy of the environment in the same step of the episode; both then continue independently."""
        # All attributes except the keys are replaced at every step, never changed; a shallow copy is enough.
        new = copy.copy(self)
        if self._goal is not None:
            new._keys = copy.copy(self._keys)
        return new

    def _seen(self, unchanged: bool, score: float) -> tuple[str, Info]:
        page = self._rules.shop.page(self._place)
        commands = () if self._place.bought else _commands(page.clickables)
        view = View(page.observation, commands, unchanged, self._full_state)
        key, keys = self._keys.after(view)
        info = Info(commands, key, won=score == 1, score=score, state_keys=keys)
        return page.observation, info

    def _full_state(self) -> tuple[object, ...]:
        # A tuple is compared and checked much faster than a dataclass.
        return tuple(getattr(self._place, name) for name in Place.__slots__)


def _commands(clickables: tuple[str, ...]) -> tuple[str, ...]:
    """The commands that have an effect on a page, in its order; any page allows a search."""
    clicks = {text: f"{CLICK_ACTION}[{text}]" for text in clickables if text != SEARCH.lower()}
    # A text with a bracket or a line break may not be clickable.
    understood = (click for text, click in clicks.items() if parse_action(click) == (CLICK_ACTION, text))
    return (SEARCH_COMMAND, *understood)
