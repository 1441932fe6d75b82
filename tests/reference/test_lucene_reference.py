"""Our search beside the released shop's own: Lucene 8.11 in Anserini, as Pyserini 0.17.0 carries it. Opt-in:

pip download --no-deps pyserini==0.17.0, unzip it, and install a JDK (11 or later)
ANSERINI_JAR=…/anserini-0.14.3-fatjar.jar pytest -m slow tests/reference/test_lucene_reference.py
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from hgpo.envs import WebshopSuite
from hgpo.envs.webshop.indexing import indexed_text
from hgpo.envs.webshop.search import build_index
from hgpo.envs.webshop.words import words_of

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "webshop"
JAR = os.environ.get("ANSERINI_JAR", "")
SOURCE = Path(__file__).with_name("Lucene.java")
QUERIES = 3000
"""Of each kind."""
# What the rules of words differ about, and what joins or parts them.
SIGNS = (
    *"ab1'\".:,;_#*- ’‘·：，⁄½²éﾞ",
    *"中ひアー한שתกา",
    *"❤★☆✿▶⭐®™👨👩👍🏽🇩🇪",
    *"\u00ad\u0301\u200d\ufe0e\ufe0f\u20e3\u2060\u203f",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (Path(JAR).is_file() and shutil.which("java")),
        reason="needs java, and Anserini 0.14.3's jar named by ANSERINI_JAR",
    ),
]


def lucene(texts: list[str], folder: Path, *index: str) -> list[list[str]]:
    """The words of texts; or, with an index, the names of the documents found."""
    answers = folder / "answers.jsonl"
    command = ["java", "-cp", JAR, str(SOURCE), str(answers), *index]
    lines = "".join(f"{json.dumps(text)}\n" for text in texts)
    subprocess.run(command, input=lines, text=True, check=True, stderr=subprocess.DEVNULL)
    return [json.loads(line) for line in answers.read_text().splitlines()]


def make_index(documents: dict[str, str], folder: Path) -> str:
    """Lucene's index of documents, made with the released shop's options."""
    (folder / "documents").mkdir()
    with (folder / "documents" / "all.jsonl").open("w") as file:
        for name, text in documents.items():
            file.write(json.dumps({"id": name, "contents": text}) + "\n")
    options = {"collection": "JsonCollection", "generator": "DefaultLuceneDocumentGenerator", "threads": "1"}
    paths = {"input": str(folder / "documents"), "index": str(folder / "index")}
    pairs = [part for name, value in {**options, **paths}.items() for part in (f"-{name}", value)]
    command = ["java", "-cp", JAR, "io.anserini.index.IndexCollection", *pairs, "-storePositions"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return str(folder / "index")


def documents() -> dict[str, str]:
    """What is indexed of WebShop's 1,000 products, or of a synthetic shop's; and some documents of odd words."""
    suite = WebshopSuite(data=str(SHARED) if SHARED.exists() else "synthetic", tagger="rule")
    texts = {product.asin: indexed_text(product) for product in suite.shop.catalogue.products}
    rng = random.Random("odd documents")
    for number in range(200):
        length = rng.choice([0, 0, 1, 5, 40, 300])
        texts[f"C{number:03}"] = " ".join("".join(rng.choices(SIGNS, k=4)) for _ in range(length)).lower()
    return texts


def test_words_are_lucenes(tmp_path):
    rng = random.Random("words")
    texts = [
        *documents().values(),
        *("".join(rng.choices(SIGNS, k=rng.randint(2, 9))) for _ in range(50_000)),
    ]
    texts += ["".join(rng.choices("aaaaaaaaaaa1._':\u0302", k=rng.randint(200, 1500))) for _ in range(500)]
    endings = "s es ed ing ies ational izer ousness iviti ement ion ful logi bli y ly 's ’s ＇s".split()
    texts += ["".join(rng.choices("aeiouybcdlmnrst", k=5)) + rng.choice(endings) for _ in range(50_000)]
    differing = [
        text
        for text, words in zip(texts, lucene(texts, tmp_path), strict=True)
        if list(words_of(text, "lucene")) != words
    ]
    assert differing == []


def test_results_are_lucenes(tmp_path):
    texts = dict(sorted(documents().items()))
    names, vocabulary = list(texts), sorted({word for text in texts.values() for word in text.split()})
    rng = random.Random("queries")
    queries = [" ".join(rng.choices(vocabulary, k=rng.randint(1, 12))) for _ in range(QUERIES)]
    for _ in range(QUERIES):
        words = rng.choice(list(texts.values())).split() or ["the"]
        start = rng.randrange(len(words))
        queries.append(" ".join(words[start : start + rng.randint(1, 80)]))
    queries += [" ".join(rng.choices(queries[0].split(), k=40)) for _ in range(100)]
    index = build_index(texts.values(), "lucene")
    differing = [
        query
        for query, found in zip(queries, lucene(queries, tmp_path, make_index(texts, tmp_path)), strict=True)
        if [names[number] for number in index.search(query)] != found
    ]
    assert differing == []
