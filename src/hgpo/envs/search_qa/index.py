"""The search: articles ranked by BM25, as the library bm25s computes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from hgpo.envs.search_qa.encyclopaedia import Article
from hgpo.errors import SettingError, how_to_install

MOST_WORDS = 64
"""Words of a query that are looked at."""
KEPT = 4096
"""Number of queries with results that are kept."""


class ArticleIndex:
    """Finds articles by words: BM25 as Lucene has it, with k1 = 1.5 and b = 0.75 (the library's defaults)."""

    def __init__(self, articles: Sequence[Article]) -> None:
        """Index the articles.

        Raises:
            SettingError: if bm25s is not installed.
        """
        try:
            import bm25s
        except ModuleNotFoundError:
            raise SettingError(f"the search needs bm25s: {how_to_install('bm25s')}") from None
        self._articles = articles
        self._ranking = bm25s.BM25(method="lucene")
        self._ranking.index([words_of(str(article)) for article in articles], show_progress=False)
        self.search = lru_cache(KEPT)(self._search)

    def _search(self, query: str, count: int) -> tuple[Article, ...]:
        """The articles that match best, at most `count`; ties in the articles' order."""
        words = [word for word in words_of(query)[:MOST_WORDS] if word in self._ranking.vocab_dict]
        if not words:
            return ()
        scores = self._ranking.get_scores(words)
        best = np.argsort(-scores, kind="stable")[:count]
        return tuple(self._articles[number] for number in best if scores[number] > 0)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without marks."""
    return re.findall(r"\w+", text.lower())
