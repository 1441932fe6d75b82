"""A shop: its catalogue, search, goals and reward, shared by all environments that use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from hgpo.envs.webshop.catalogue import Catalogue, load_catalogue
from hgpo.envs.webshop.files import find_files
from hgpo.envs.webshop.goals import Goal, Goals
from hgpo.envs.webshop.indexing import cached_index, index_catalogue
from hgpo.envs.webshop.nouns import Nouns, TaggerName, open_tagger
from hgpo.envs.webshop.pages import SEARCH, Page, Place, page_at
from hgpo.envs.webshop.reward import purchase_reward
from hgpo.envs.webshop.search import SearchIndex
from hgpo.envs.webshop.synthetic import make_catalogue
from hgpo.envs.webshop.word_rules import WordRule

SEARCH_NAME = "BM25 as Lucene has it"
CACHED_REWARDS = 100_000
SEARCH_ACTION, CLICK_ACTION = "search", "click"


@dataclass(frozen=True)
class Shop:
    """The parts of a shop, which do not change during episodes."""

    catalogue: Catalogue
    index: SearchIndex
    goals: Goals
    tagger: str
    """The name of the tagger that finds nouns."""
    nouns: Nouns

    @property
    def description(self) -> str:
        """Catalogue, search and tagger in one line, for results."""
        return (
            f"{self.catalogue.name} ({len(self.catalogue.products):,} products, {len(self.goals):,} goals), "
            f"search: {SEARCH_NAME}, words: {self.index.rule}, nouns: {self.tagger}"
        )

    def page(self, place: Place, instruction: str | None = None) -> Page:
        """The page at a place (see `page_at`)."""
        return page_at(self.catalogue, place, instruction)

    def after(self, place: Place, action: str) -> Place | None:
        """The place after an action; None if the action has no effect.

        "search[words]" searches, on any page; "click[text]" follows the page's link with that text.
        """
        name, argument = parse_action(action)
        if name == SEARCH_ACTION:
            return Place(found=tuple(self.index.search(argument)))
        if name == CLICK_ACTION and argument != SEARCH.lower():
            return self.page(place).links.get(argument)
        return None

    def reward(self, place: Place, goal: Goal) -> float:
        """The reward of the purchase at a place for a goal, from 0 to 1."""
        assert place.bought and place.asin is not None
        return self._reward(place.asin, place.chosen, goal)

    @cached_property
    def _reward(self) -> Callable[[str, tuple[tuple[str, str], ...], Goal], float]:
        @lru_cache(CACHED_REWARDS)
        def reward(asin: str, chosen: tuple[tuple[str, str], ...], goal: Goal) -> float:
            return purchase_reward(self.catalogue.by_asin[asin], dict(chosen), goal, self.nouns)

        return reward


def parse_action(action: str) -> tuple[str, str]:
    """Name and argument (in lower case) of "name[argument]"; two empty texts if the action has another form.

    As in the released shop, the argument begins at the last opening bracket, the text after the last closing
    bracket is ignored, and only the first line is read.
    """
    line = action.partition("\n")[0]
    closing = line.rfind("]")
    opening = line.rfind("[", 1, max(1, closing - 1))
    if opening < 0 or closing < 0:
        return "", ""
    return line[:opening], line[opening + 1 : closing].lower()


@lru_cache(maxsize=4)
def open_shop(data: str | None, products: int, seed: int, rule: WordRule, tagger: TaggerName) -> Shop:
    """The shop with these settings, opened once per process.

    Args:
        data: folder of WebShop's files, or a file of products; None makes a synthetic catalogue.
        products: number of products of a synthetic catalogue.
        seed: seed of everything that is drawn: prices, goals, a synthetic catalogue.
        rule: the rule by which the search splits texts into words.
        tagger: the tagger that finds the nouns of titles.

    Raises:
        SettingError: if the data cannot be read, or if the tagger is not installed.
    """
    tagger_name, nouns = open_tagger(tagger)
    if data is None:
        catalogue = make_catalogue(products, seed)
        index = index_catalogue(catalogue, rule)
    else:
        files = find_files(Path(data))
        catalogue = load_catalogue(files, seed)
        index = cached_index(files, catalogue, rule)
    return Shop(catalogue, index, Goals(catalogue, seed), tagger_name, nouns)
