"""The words of a text as the search uses them: split by one of two rules, in lower case, and stemmed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache

import regex
from nltk.stem.porter import PorterStemmer

from hgpo.envs.webshop.word_rules import PATTERNS, WordRule

LONGEST_WORD = 255
"""Largest length of a word; a longer one is split into several."""
STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with".split()
)
_PORTER = PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS)


def words_of(text: str, rule: WordRule) -> Iterator[str]:
    """The stems of a text's words, in order, without stop words."""
    pattern = _pattern(rule)
    for match in pattern.finditer(text):
        for word in (match[0],) if len(match[0]) <= LONGEST_WORD else _pieces(match[0], pattern):
            stem = _stem(word)
            if stem:
                yield stem


def _pieces(text: str, pattern: regex.Pattern[str]) -> Iterator[str]:
    """The words into which a long word is split, with at most `LONGEST_WORD` characters each."""
    end, near = 0, 4 * LONGEST_WORD
    # The next word nearly always begins at once. Searching nearby first keeps the time linear in the length,
    # because a match extends to the end of the text.
    while begun := pattern.search(text, end, end + near) or pattern.search(text, end):
        match = pattern.match(text, begun.start(), begun.start() + LONGEST_WORD)
        if match is None:
            # The character that makes it a word is too far away: a keycap mark after hundreds of accents.
            end = begun.start() + 1
            continue
        yield match[0]
        end = match.end()


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    """A word's stem; empty for a stop word."""
    word = re.sub(r"['’＇][sS]$", "", word).lower()
    if word in STOP_WORDS or not word.strip("_"):
        return ""
    return _PORTER.stem(word) if len(word) > 2 else word


@cache
def _pattern(rule: WordRule) -> regex.Pattern[str]:
    """The compiled pattern that matches one word at a time."""
    return regex.compile(PATTERNS[rule], regex.VERSION1)
