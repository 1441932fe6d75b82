"""A made-up encyclopaedia of people, works, towns and lands, and questions that take several articles."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

RELATIONS: dict[str, dict[str, str]] = {
    "person": {"birthplace": "town", "teacher": "person"},
    "work": {"author": "person", "setting": "town"},
    "town": {"land": "land", "founder": "person"},
    "land": {"capital": "town", "ruler": "person"},
}
"""What is said of each kind of thing, and of what kind that is."""

KINDS: dict[str, tuple[str, ...]] = {
    "person": ("painter", "poet", "sailor", "doctor", "king", "baker"),
    "work": ("novel", "song", "painting", "poem", "play", "film"),
    "town": ("town", "port", "village", "city"),
    "land": ("land", "realm", "kingdom"),
}
"""What an article calls its subject."""

SHARES = {"person": 0.4, "work": 0.3, "town": 0.25, "land": 0.05}
"""Shares of the kinds of things among the articles."""

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


@dataclass(frozen=True)
class Article:
    """An article."""

    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.title}: {self.text}"


@dataclass(frozen=True)
class Question:
    """A question with everything that is known of its answer."""

    text: str
    """The question."""
    answers: tuple[str, ...]
    """Each of them is right."""
    searches: tuple[str, ...] = ()
    """The titles of the articles that lead to the answer, in order; empty if they are not known."""


@dataclass(frozen=True)
class Encyclopaedia:
    """Articles, and the facts in them."""

    articles: tuple[Article, ...]
    facts: Mapping[str, Mapping[str, str]]
    """For each title the relations, and what the thing has this relation to."""

    def draw(self, rng: random.Random, hops: int) -> Question:
        """A question that takes `hops` articles: "what is the birthplace of the author of tamolu?"."""
        titles: list[str] = []
        names = ""
        here = rng.choice(self.articles).title
        start = here
        for _ in range(hops):
            relation = rng.choice([*self.facts[here]])
            titles.append(here)
            here, names = self.facts[here][relation], f"the {relation} of {names}"
        return Question(f"what is {names}{start}?", (here,), tuple(titles))


@lru_cache(4)
def made_up(size: int, seed: int) -> Encyclopaedia:
    """The encyclopaedia of a seed, with this number of articles."""
    rng = random.Random(f"encyclopaedia {seed}")
    names = _names(rng, size)
    things: dict[str, list[str]] = {}
    for kind, share in SHARES.items():
        count = max(2, round(share * size)) if kind != "land" else size - sum(map(len, things.values()))
        things[kind] = [names.pop() for _ in range(count)]
    facts: dict[str, dict[str, str]] = {}
    articles = []
    for kind, titles in things.items():
        for title in titles:
            facts[title] = _facts(rng, kind, title, things)
            said = "".join(f" the {relation} of {title} is {of}." for relation, of in facts[title].items())
            articles.append(Article(title, f"{title} is a {rng.choice(KINDS[kind])}.{said}"))
    return Encyclopaedia(tuple(articles), facts)


def _facts(rng: random.Random, kind: str, title: str, things: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What is said of a thing: never that it is related to itself."""
    return {
        relation: rng.choice([name for name in things[of] if name != title])
        for relation, of in RELATIONS[kind].items()
    }


def _names(rng: random.Random, count: int) -> list[str]:
    """Different names, in random order."""
    syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(rng.choices(syllables, k=3))] = None
    return [*names]
