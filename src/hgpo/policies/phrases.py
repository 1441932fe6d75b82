"""The words of a small tokenizer, and its phrases, each of which is one token for several words.

The phrases are found by byte-pair encoding (arXiv 1508.07909) that merges words instead of characters. A name
is therefore the same token in every context, whereas merging characters could split it in several ways.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

# A number with its sign is one word ("#3"), so that naming a command takes one token. The mark between a
# page's texts ("[SEP]") is one word as well. Spaces are dropped.
WORD = r"\[sep\]|#[0-9]+|[a-z]+|[0-9]+|[^\sa-z0-9]"


def tokens_pattern(phrases: Sequence[str]) -> str:
    """A regular expression that matches one token: the longest phrase at this point, or else a word.

    Args:
        phrases: the phrases, in lower case, spelled as in the texts.
    """
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return "|".join([*(re.escape(phrase) + _END_OF_WORD for phrase in longest_first), WORD])


COMMON = 0.75
"""A word is common if at least this fraction of the texts contains it."""
_END_OF_WORD = r"(?:(?<![a-z])|(?![a-z]))"
"""Matches where there are not letters on both sides, so that a phrase does not end within a word."""


def frequent_phrases(texts: Sequence[str], count: int) -> list[str]:
    """The phrases from `count` merges: each merge joins the pair of adjacent tokens that is most frequent.

    Tokens are joined within a line, as they are spelled there. Numbers are never joined, and neither are
    words that few texts contain, such as the names of objects, so that a name is the same token in a task, in
    an observation and in a command.

    Args:
        texts: the texts that the model reads, in the proportions in which it reads them.
        count: number of merges; there are fewer phrases if no pair of tokens occurs twice.

    Returns:
        The phrases in the order of the merges, in lower case.
    """
    texts = [text.lower() for text in texts]
    in_texts = Counter(word for text in texts for word in set(re.findall(WORD, text)))
    enough = COMMON * len(texts)
    joined = {word for word, number in in_texts.items() if number >= enough and not word[-1].isdigit()}
    lines = Counter(line for text in texts for line in text.splitlines())
    phrases: list[str] = []
    while len(phrases) < count:
        pattern = re.compile(tokens_pattern(phrases))
        pairs: Counter[str] = Counter()
        for line, times in lines.items():
            for one, other in pairwise(pattern.finditer(line)):
                if {one[0], other[0]} <= joined:
                    pairs[line[one.start() : other.end()]] += times
        best = max(pairs, key=lambda pair: (pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        phrases.append(best)
        joined.add(best)
    return phrases
