"""The shop's search: words as Lucene's English analyzer sees them, ranked by BM25 as Lucene computes it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import regex
from nltk.stem.porter import PorterStemmer
from numpy.typing import NDArray

K1, B = np.float32(0.9), np.float32(0.4)
MOST_RESULTS = 50
MOST_WORDS = 1024
"""Words of a query that are looked at; Lucene refuses longer ones."""
LONGEST_WORD = 255
"""A longer word is cut into several, as Lucene does."""
STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with".split()
)
# Word breaks as in Unicode's annex 29: points, colons and apostrophes join letters, points and commas join
# digits, an ideograph stands alone. A pictogram is a word, too, with all that modifies it.
_PICTOGRAM = r"[\u2600-\u27BF\U0001F000-\U0001FAFF](?:\uFE0F?\u200D\p{Emoji}|\p{Emoji_Modifier}|\uFE0F)*"
_ALONE = r"\p{Han}\p{Hiragana}"
_JOINED = rf"(?:(?![{_ALONE}])\w)+"
_BETWEEN_BOTH = r".'\u2018\u2019\u2024\uFE52\uFF07\uFF0E"
_BETWEEN_LETTERS = _BETWEEN_BOTH + r":·\u0387\u055F\u05F4\u2027\uFE13\uFE55\uFF1A"
_BETWEEN_DIGITS = (
    _BETWEEN_BOTH + r",;\u037E\u0589\u060C\u060D\u066C\u07F8\uFE10\uFE14\uFE50\uFE54\uFF0C\uFF1B"
)
_WORD = regex.compile(
    rf"[{_ALONE}]|{_PICTOGRAM}"
    rf"|{_JOINED}(?:(?:(?<=\p{{L}})[{_BETWEEN_LETTERS}](?=\p{{L}})"
    rf"|(?<=\d)[{_BETWEEN_DIGITS}](?=\d)){_JOINED})*",
    regex.VERSION1,
)
_PORTER = PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS)


def words_of(text: str) -> Iterator[str]:
    """The stems of a text's words, in order, without stop words."""
    for match in _WORD.finditer(text):
        word = match[0]
        for start in range(0, len(word), LONGEST_WORD):
            stem = _stem(word[start : start + LONGEST_WORD])
            if stem:
                yield stem


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    """A word's stem; empty for a stop word."""
    word = re.sub(r"['’][sS]$", "", word).lower()
    if word in STOP_WORDS or not word.strip("_"):
        return ""
    return _PORTER.stem(word) if len(word) > 2 else word


@dataclass(frozen=True)
class SearchIndex:
    """Finds documents by words.

        score = Σ_words idf (1 − 1 / (1 + tf / (k1 (1 − b + b length / mean length))))
        idf = ln(1 + (N − n + 0.5) / (n + 0.5))

    A word that is asked twice counts twice. Lengths are rounded as Lucene stores them, in one byte.
    """

    size: int
    """N, how many documents there are."""
    numbers: dict[str, int]
    """The number of each word."""
    starts: NDArray[np.int64]
    """Where each word's entries begin, by its number; and where the last one's end."""
    documents: NDArray[np.int32]
    """In which documents a word is, ascending."""
    weights: NDArray[np.float32]
    """What it adds to their scores."""

    def search(self, text: str) -> list[int]:
        """The documents that match best, at most `MOST_RESULTS`; ties in the documents' order."""
        scores = np.zeros(self.size)
        for word in islice(words_of(text), MOST_WORDS):
            number = self.numbers.get(word)
            if number is not None:
                entries = slice(self.starts[number], self.starts[number + 1])
                scores[self.documents[entries]] += self.weights[entries]
        # Lucene ranks by scores of single precision.
        scores = scores.astype(np.float32)
        matching = np.flatnonzero(scores)
        if len(matching) > MOST_RESULTS:
            bound = np.partition(scores[matching], -MOST_RESULTS)[-MOST_RESULTS]
            matching = matching[scores[matching] >= bound]
        order = np.argsort(-scores[matching], kind="stable")[:MOST_RESULTS]
        return matching[order].tolist()

    def save(self, folder: Path) -> None:
        """Write the index into a folder that is made for it; whoever looks finds all of it or nothing."""
        unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
        unfinished.mkdir(parents=True)
        (unfinished / "words.txt").write_text("\n".join(self.numbers), encoding="utf-8")
        for name in _ARRAYS:
            np.save(unfinished / f"{name}.npy", getattr(self, name))
        np.save(unfinished / "size.npy", self.size)
        unfinished.rename(folder)

    @classmethod
    def load(cls, folder: Path) -> SearchIndex:
        """The index that was saved there; the long arrays stay on disk until they are needed."""
        words = (folder / "words.txt").read_text(encoding="utf-8").split("\n")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        size = int(np.load(folder / "size.npy"))
        return cls(size, {word: number for number, word in enumerate(words)}, **arrays)


_ARRAYS = ("starts", "documents", "weights")


def build_index(texts: Sequence[str] | Iterable[str]) -> SearchIndex:
    """The index of documents, given as texts one after another; their places are their numbers."""
    numbers: dict[str, int] = {}
    blocks = [_block(block, numbers) for block in _blocks(texts)]
    lengths = np.concatenate([block.lengths for block in blocks] or [np.zeros(0, np.int64)])
    counts = np.zeros(len(numbers), np.int64)
    for block in blocks:
        counts += np.bincount(block.words, minlength=len(numbers))
    starts = np.concatenate([[0], np.cumsum(counts)])
    documents = np.empty(starts[-1], np.int32)
    weights = np.empty(starts[-1], np.float32)
    inverse = _inverse_norms(lengths)
    idf = np.log(1 + (len(lengths) - counts + 0.5) / (counts + 0.5)).astype(np.float32)
    filled = starts[:-1].copy()
    first = 0
    while blocks:
        block = blocks.pop(0)
        order = np.argsort(block.words, kind="stable")
        words = block.words[order]
        own = np.bincount(words, minlength=len(numbers))
        # An entry's place: after those of its word in earlier blocks, and those before it in this one.
        rank = np.arange(len(words)) - np.concatenate([[0], np.cumsum(own)])[words]
        places = filled[words] + rank
        found = first + block.documents[order]
        documents[places] = found
        frequency = block.frequencies[order].astype(np.float32)
        weights[places] = idf[words] - idf[words] / (np.float32(1) + frequency * inverse[found])
        filled += own
        first += len(block.lengths)
    return SearchIndex(len(lengths), numbers, starts, documents, weights)


BLOCK = 20_000
"""Documents that are sorted by words together: the index is built in little more memory than it needs."""


@dataclass(frozen=True)
class _Block:
    """Which words are in some documents, one entry a word and document."""

    words: NDArray[np.int32]
    documents: NDArray[np.int32]
    frequencies: NDArray[np.int32]
    lengths: NDArray[np.int64]


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while block := list(islice(texts, BLOCK)):
        yield block


def _block(texts: list[str], numbers: dict[str, int]) -> _Block:
    """The entries of some documents; new words get their numbers."""
    words: list[int] = []
    documents: list[int] = []
    frequencies: list[int] = []
    lengths: list[int] = []
    for document, text in enumerate(texts):
        counts = Counter(words_of(text))
        for word, count in counts.items():
            words.append(numbers.setdefault(word, len(numbers)))
            frequencies.append(count)
        documents += [document] * len(counts)
        lengths.append(counts.total())
    return _Block(
        np.array(words, np.int32),
        np.array(documents, np.int32),
        np.array(frequencies, np.int32),
        np.array(lengths, np.int64),
    )


def _inverse_norms(lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    """1 / (k1 (1 − b + b length / mean length)) of each document."""
    if not lengths.any():
        return np.ones(len(lengths), np.float32)  # no document has a word to be found by
    mean = np.float32(lengths.mean())
    rounded = np.array([_rounded(length) for length in lengths.tolist()], np.float32)
    return np.float32(1) / (K1 * ((np.float32(1) - B) + B * rounded / mean))


def _rounded(length: int) -> int:
    """A length as Lucene keeps it in one byte: exact below 40, then four leading bits of what is above 24."""
    if length < 40:
        return length
    above = length - 24
    shift = max(0, above.bit_length() - 4)
    return 24 + (above >> shift << shift)
