"""WebShop as a benchmark: its goals by split, and the environments."""

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
from hgpo.envs.setting_checks import require_range
from hgpo.envs.state_keys import EpisodeKeys, StateKeyName
from hgpo.envs.webshop.nouns import TaggerName
from hgpo.envs.webshop.word_rules import WordRule
from hgpo.errors import SettingError

# The shop needs packages that not all users have, so it is imported when it is opened.
if TYPE_CHECKING:
    from hgpo.envs.webshop.shop import Shop

SYNTHETIC = "synthetic"
TRAIN, EVALUATION = "train", "evaluation"
EVALUATION_GOALS = 500
"""Number of held-out goals: the first ones after shuffling."""


@dataclass(frozen=True)
class WebshopSuite:
    """Shopping: find the wanted product in a shop, choose its options and buy it."""

    name: ClassVar[str] = "webshop"
    data: str | None = None
    """Folder of WebShop's two data files, or one of its files of products. None uses $WEBSHOP_DATA or, if
    that is not set, a small synthetic shop; "synthetic" always uses the synthetic shop. A run keeps the data
    that it started with."""
    products: int = 300
    """Number of products of a synthetic shop."""
    catalogue_seed: int = 0
    """Seed of prices, goals and their split, and of a synthetic shop; only results with the same seed can be
    compared."""
    words: WordRule = "recorded"
    """How the search splits texts into words: recorded, as in the recorded episodes, or lucene, as in Lucene
    8.11, the released shop's search engine."""
    tagger: TaggerName = "auto"
    """How the nouns of titles are found, by which the reward distinguishes kinds of products: spacy, as in
    the released shop, or rule, which needs no package; auto is spacy if it is installed, else rule."""
    max_steps: int = 15
    """An episode is truncated after this many commands."""
    success_reward: float = 10.0
    """The reward of buying exactly what is wanted; every other command gives 0."""
    state_key: StateKeyName = "observation"
    """The key by which the estimator compares states; the paper uses the observation, which does not show the
    chosen options."""

    def __post_init__(self) -> None:
        if self.data is None:
            object.__setattr__(self, "data", os.environ.get("WEBSHOP_DATA") or SYNTHETIC)
        require_range(self, "products", 1)

    @property
    def folder(self) -> str | None:
        """The path of the data, with ~ replaced by the home folder; None if the shop is synthetic."""
        return None if self.data is None or self.data == SYNTHETIC else os.path.expanduser(self.data)

    @property
    def synthetic(self) -> bool:
        """Whether the shop is synthetic; results in a synthetic shop are not results on WebShop."""
        return self.folder is None

    @property
    def shop(self) -> Shop:
        """The shop, opened once per process for all suites with these settings."""
        from hgpo.envs.webshop.shop import open_shop

        return open_shop(self.folder, self.products, self.catalogue_seed, self.words, self.tagger)

    @property
    def description(self) -> str:
        """Catalogue, search and noun tagger, because results depend on them."""
        return self.shop.description

    @property
    def splits(self) -> tuple[str, ...]:
        """Training and the held-out goals."""
        return TRAIN, EVALUATION

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """`count` tasks of a split; training tasks are drawn by `seed`, each once before any is repeated."""
        total = len(self.shop.goals)
        if total <= EVALUATION_GOALS:
            raise SettingError(
                f"{self.description}: {EVALUATION_GOALS} goals are held out, and none is left for training; "
                "use a larger catalogue"
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
        """The commands of an expert that knows the product; None if the goal's words do not find it."""
        from hgpo.envs.webshop.expert import solve

        return solve(self.shop, task.game)

    def readings(self, count: int, seed: int) -> Iterator[Reading]:
        """Random shopping for `count` training goals, under titles that ask for what was bought."""
        from hgpo.envs.webshop.readings import purchases

        return random_readings(self, count, seed, partial(purchases, self.shop))

    def make(self) -> Environment:
        """A new environment; all environments of a process share one shop."""
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
        """All goals and products, and the texts of every page."""
        from hgpo.envs.webshop.vocabulary import shop_texts

        return shop_texts(self.shop)
