"""Words of a small tokenizer, and phrases of several words that are one token each.

The phrases are found by byte-pair encoding (arXiv 1508.07909) with words in the place of characters. A name
so stays one token wherever it stands, which merging characters would cut up in several ways.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

# A number with its sign is one word ("#3"), so that naming a command takes one token, and so is the mark
# between a page's texts ("[SEP]"); spaces are dropped.
WORD = r"\[sep\]|#[0-9]+|[a-z]+|[0-9]+|[^\sa-z0-9]"


def tokens_pattern(phrases: Sequence[str]) -> str:
    """A regular expression of a text's tokens: the longest phrase that begins there, or else a word.

    Args:
        phrases: in lower case, spelled as in the texts.
    """
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return "|".join([*(re.escape(phrase) + _END_OF_WORD for phrase in longest_first), WORD])


COMMON = 0.75
"""A word is common if it is in at least this share of the texts."""
_END_OF_WORD = r"(?:(?<![a-z])|(?![a-z]))"
"""No letter stands on both sides: a phrase does not end within a word."""


def frequent_phrases(texts: Sequence[str], count: int) -> list[str]:
    """The phrases of `count` merges: each joins the two tokens that follow one another most often.

    Tokens are joined within a line, as they are spelled there. Numbers are never joined, and neither are
    words that few texts contain, such as names of things: a name is the same token in a task, in an
    observation and in a command.

    Args:
        texts: what is to be read, in the proportions in which it is read.
        count: how many merges; fewer phrases come out where no two tokens follow one another twice.

    Returns:
        In the order of the merges, in lower case.
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
