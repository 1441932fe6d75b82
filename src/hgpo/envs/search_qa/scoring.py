"""How answers are judged: exact match and F1, as for SQuAD (arXiv 1606.05250)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_MARKS = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> str:
    """The answer in lower case, without marks and articles, with single spaces."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer.lower().translate(_MARKS)).split())


def exact_match(answer: str, right: Sequence[str]) -> bool:
    """Whether the answer is one of the right ones, once normalized."""
    return normalized(answer) in map(normalized, right)


def f1(answer: str, right: Sequence[str]) -> float:
    """The highest F1 of the answer's words with those of a right answer: 2 P R / (P + R)."""
    return max(_f1(normalized(answer).split(), normalized(one).split()) for one in right)


def _f1(words: Sequence[str], right: Sequence[str]) -> float:
    if not words or not right:
        return float(words == right)
    common = (Counter(words) & Counter(right)).total()
    return 2 * common / (len(words) + len(right))
