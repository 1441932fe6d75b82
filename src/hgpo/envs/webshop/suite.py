"""WebShop as a benchmark: its goals by split, and the environments in which they are shopped for."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from hgpo.envs.base import Environment, Reading, Task
from hgpo.envs.drawing import choose_tasks, drawn_in_rounds
from hgpo.envs.readings import random_readings
from hgpo.envs.state_keys import EpisodeKeys, StateKeyName
from hgpo.envs.webshop.nouns import TaggerName
from hgpo.envs.webshop.word_rules import WordRule
from hgpo.errors import SettingError

# The shop needs packages that only shoppers have: it is imported when it is opened.
if TYPE_CHECKING:
    from hgpo.envs.webshop.shop import Shop

SYNTHETIC = "synthetic"
TRAIN, EVALUATION = "train", "evaluation"
EVALUATION_GOALS = 500
"""How many goals are held out: the first ones after shuffling."""


@dataclass(frozen=True)
class WebshopSuite:
    """Shopping trips: find what is wanted in a shop, choose its options and buy it."""

    name: ClassVar[str] = "webshop"
    data: str | None = None
    """Folder of WebShop's two data files, or one of its files of products; None takes $WEBSHOP_DATA, and
    without that, as "synthetic" does always, makes up a small shop. A run keeps what it began with."""
    products: int = 300
    """Products of a synthetic shop."""
    catalogue_seed: int = 0
    """Of prices, goals and their split, and of a synthetic shop: the same for all who are to be compared."""
    words: WordRule = "recorded"
    """How the search cuts texts into words: recorded, as in the recorded episodes, or lucene, as Lucene 8.11,
    the released shop's search engine, does."""
    tagger: TaggerName = "auto"
    """What finds the nouns of titles, by which the reward tells sorts of things apart: spacy, as in the
    released shop, or a rule that needs nothing; auto is spacy where it is installed."""
    max_steps: int = 15
    """An episode is truncated after this many commands."""
    success_reward: float = 10.0
    """The reward of buying exactly what is wanted; every other command gives 0."""
    state_key: StateKeyName = "observation"
    """What makes two states the same to the estimator; the observation, which does not show which options are
    chosen, is the paper's."""

    def __post_init__(self) -> None:
        if self.data is None:
            object.__setattr__(self, "data", os.environ.get("WEBSHOP_DATA") or SYNTHETIC)
        if self.products < 1:
            raise SettingError(f"--env.products is {self.products}: expected 1 or more")

    @property
    def folder(self) -> str | None:
        """Where the data are, with ~ for the home folder filled in; None if the shop is synthetic."""
        return None if self.data is None or self.data == SYNTHETIC else os.path.expanduser(self.data)

    @property
    def synthetic(self) -> bool:
        """Whether the shop is made up, so that nothing that happens in it is a result on WebShop."""
        return self.folder is None

    @property
    def shop(self) -> Shop:
        """The shop, opened once in a process for all suites with these settings."""
        from hgpo.envs.webshop.shop import open_shop

        return open_shop(self.folder, self.products, self.catalogue_seed, self.words, self.tagger)

    @property
    def description(self) -> str:
        """Catalogue, search and noun tagger, which results depend on."""
        return self.shop.description

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, and the goals that are held out."""
        return TRAIN, EVALUATION

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """`count` tasks of a split; training tasks are drawn by `seed` without repetition while they last."""
        total = len(self.shop.goals)
        if total <= EVALUATION_GOALS:
            raise SettingError(
                f"{self.description}: {EVALUATION_GOALS} goals are held out, and none is left for training; "
                "a larger catalogue is needed"
            )
        numbers = choose_tasks(
            split,
            self.splits,
            count,
            draw=lambda wanted: drawn_in_rounds(
                range(EVALUATION_GOALS, total), wanted, random.Random(f"webshop training {seed}")
            ),
            fixed=lambda: range(EVALUATION_GOALS),
        )
        return [self._task(split, number) for number in numbers]

    def _task(self, split: str, number: int) -> Task:
        goal = self.shop.goals[number]
        return Task(f"{split}/{number}", goal.category, goal.instruction_text, goal)

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """What an expert does who knows the product; None if it is not found by words of the goal."""
        from hgpo.envs.webshop.expert import solve

        return solve(self.shop, task.game)

    def readings(self, count: int, seed: int) -> Iterator[Reading]:
        """Random shopping for `count` training goals, under titles that ask for what was bought."""
        from hgpo.envs.webshop.readings import purchases

        return random_readings(self, count, seed, partial(purchases, self.shop))

    def make(self) -> Environment:
        """A new environment; all those of a process share one shop."""
        from hgpo.envs.webshop.environment import Rules, ShopEnvironment

        return ShopEnvironment(
            Rules(
                shop=self.shop,
                max_steps=self.max_steps,
                success_reward=self.success_reward,
                new_keys=lambda: EpisodeKeys(self.state_key, keep_if_unchanged=True),
            )
        )

    def texts(self) -> Iterator[str]:
        """All goals and products, and what is written on every page."""
        from hgpo.envs.webshop.vocabulary import shop_texts

        return shop_texts(self.shop)
