"""The shop's search: documents ranked by BM25 as Lucene computes it."""

from __future__ import annotations

import json
import shutil
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hgpo.envs.webshop.word_rules import WordRule
from hgpo.envs.webshop.words import words_of

K1, B = np.float32(0.9), np.float32(0.4)
MOST_RESULTS = 50
MOST_WORDS = 1024
"""Largest number of different words of a query that are used; Lucene refuses longer queries."""


@dataclass(frozen=True)
class SearchIndex:
    """Finds documents by words.

        score = Σ_words (c idf − c idf / (1 + tf / (k1 (1 − b + b length / mean length))))
        idf = ln(1 + (N − n + 0.5) / (n + 0.5))

    c is the number of times that a word is in the query. N and the mean length count only documents that have
    words. As in Lucene 8.11, lengths are rounded to what one byte can store, terms have single precision,
    their sum has double precision, and the score has single precision again.
    """

    rule: WordRule
    """The rule by which documents and queries are split into words."""
    size: int
    """Number of documents."""
    numbers: dict[str, int]
    """The number of each word."""
    starts: NDArray[np.int64]
    """Start index of each word's entries, by the word's number; and the end of the last word's entries."""
    idf: NDArray[np.float32]
    """The idf of each word, by its number."""
    documents: NDArray[np.int32]
    """For each word, the documents that contain it, ascending."""
    divisors: NDArray[np.float32]
    """1 + tf / (k1 (1 − b + b length / mean length)) of the word in each of these documents."""

    def search(self, text: str) -> list[int]:
        """The best matching documents, at most `MOST_RESULTS`; equal scores are in the documents' order."""
        scores = np.zeros(self.size)
        asked = Counter(words_of(text, self.rule))
        for word, count in islice(asked.items(), MOST_WORDS):
            number = self.numbers.get(word)
            if number is not None:
                entries = slice(self.starts[number], self.starts[number + 1])
                weight = np.float32(count) * self.idf[number]
                scores[self.documents[entries]] += weight - weight / self.divisors[entries]
        scores = scores.astype(np.float32)
        matching = np.flatnonzero(scores)
        if len(matching) > MOST_RESULTS:
            bound = np.partition(scores[matching], -MOST_RESULTS)[-MOST_RESULTS]
            matching = matching[scores[matching] >= bound]
        order = np.argsort(-scores[matching], kind="stable")[:MOST_RESULTS]
        return matching[order].tolist()

    def save(self, folder: Path) -> None:
        """Write the index to a folder and replace its content; the folder never has a partial index.

        Only one process at a time may save to a folder.

        Raises:
            OSError: if it cannot be written; no part of it is left.
        """
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
        try:
            unfinished.mkdir(parents=True)
            (unfinished / _WORDS).write_text("\n".join(self.numbers), encoding="utf-8")
            np.save(unfinished / _SIZE, self.size)
            for name in _ARRAYS:
                np.save(unfinished / f"{name}.npy", getattr(self, name))
            (unfinished / _SUMS).write_text(json.dumps(_checksums(unfinished)), encoding="utf-8")
            if folder.is_dir():
                shutil.rmtree(folder)
            folder.unlink(missing_ok=True)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    @classmethod
    def load(cls, folder: Path, rule: WordRule) -> SearchIndex:
        """The index that was saved in this folder; the long arrays stay on disk until they are needed.

        Raises:
            FileNotFoundError: if there is no such folder.
            OSError: if it cannot be read.
            ValueError: if a file has changed since it was written.
        """
        if not folder.exists():
            raise FileNotFoundError(folder)
        if json.loads((folder / _SUMS).read_bytes()) != _checksums(folder):
            raise ValueError("its files have changed since they were written")
        words = (folder / _WORDS).read_text(encoding="utf-8").split("\n")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        size = int(np.load(folder / _SIZE))
        return cls(rule, size, {word: number for number, word in enumerate(words)}, **arrays)


_ARRAYS = ("starts", "idf", "documents", "divisors")
_WORDS, _SIZE, _SUMS = "words.txt", "size.npy", "checksums.json"
_FILES = (_WORDS, _SIZE, *(f"{name}.npy" for name in _ARRAYS))


def _checksums(folder: Path) -> dict[str, int]:
    """A checksum of each file of an index."""
    sums = {}
    for name in _FILES:
        sums[name] = 0
        with (folder / name).open("rb") as file:
            while piece := file.read(1 << 20):
                sums[name] = zlib.crc32(piece, sums[name])
    return sums


def build_index(texts: Iterable[str], rule: WordRule) -> SearchIndex:
    """The index of documents, given as texts; a document's number is its position."""
    numbers: dict[str, int] = {}
    blocks = [_block(block, numbers, rule) for block in _blocks(texts)]
    lengths = np.concatenate([block.lengths for block in blocks] or [np.zeros(0, np.int64)])
    counts = np.zeros(len(numbers), np.int64)
    for block in blocks:
        counts += np.bincount(block.words, minlength=len(numbers))
    starts = np.concatenate([[0], np.cumsum(counts)])
    documents = np.empty(starts[-1], np.int32)
    divisors = np.empty(starts[-1], np.float32)
    inverse = _inverse_norms(lengths)
    idf = np.log(1 + (np.count_nonzero(lengths) - counts + 0.5) / (counts + 0.5)).astype(np.float32)
    filled = starts[:-1].copy()
    first = 0
    while blocks:
        block = blocks.pop(0)
        order = np.argsort(block.words, kind="stable")
        words = block.words[order]
        own = np.bincount(words, minlength=len(numbers))
        # An entry comes after its word's entries of earlier blocks, and after those before it in this block.
        rank = np.arange(len(words)) - np.concatenate([[0], np.cumsum(own)])[words]
        places = filled[words] + rank
        found = first + block.documents[order]
        documents[places] = found
        divisors[places] = np.float32(1) + block.frequencies[order].astype(np.float32) * inverse[found]
        filled += own
        first += len(block.lengths)
    return SearchIndex(rule, len(lengths), numbers, starts, idf, documents, divisors)


BLOCK = 20_000
"""Number of documents that are sorted together, so that building an index needs little additional memory."""


@dataclass(frozen=True)
class _Block:
    """The words of some documents, with one entry per word and document."""

    words: NDArray[np.int32]
    documents: NDArray[np.int32]
    frequencies: NDArray[np.int32]
    lengths: NDArray[np.int64]


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while block := list(islice(texts, BLOCK)):
        yield block


def _block(texts: list[str], numbers: dict[str, int], rule: WordRule) -> _Block:
    """The entries of some documents; new words get new numbers."""
    words: list[int] = []
    documents: list[int] = []
    frequencies: list[int] = []
    lengths: list[int] = []
    for document, text in enumerate(texts):
        counts = Counter(words_of(text, rule))
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
        return np.ones(len(lengths), np.float32)  # no document has any words
    mean = np.float32(lengths.sum() / np.count_nonzero(lengths))
    rounded = np.array([_rounded(length) for length in lengths.tolist()], np.float32)
    return np.float32(1) / (K1 * ((np.float32(1) - B) + B * rounded / mean))


def _rounded(length: int) -> int:
    """A length as Lucene stores it in one byte: exact below 40, then the four leading bits of length − 24."""
    if length < 40:
        return length
    above = length - 24
    shift = max(0, above.bit_length() - 4)
    return 24 + (above >> shift << shift)
