"""Search QA: the encyclopaedia and its questions, the search, how answers are judged, and files of one's own."""

from __future__ import annotations

import json
import math
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_games import after

from hgpo.envs import SearchQASuite
from hgpo.envs.checker import check, format_report
from hgpo.envs.search_qa.encyclopaedia import RELATIONS, Article, Question, made_up
from hgpo.envs.search_qa.game import NEARLY_RIGHT, QuestionGame
from hgpo.envs.search_qa.index import ArticleIndex
from hgpo.envs.search_qa.scoring import exact_match, f1, normalized
from hgpo.errors import SettingError

ARTICLES = (
    Article("velm", "a town by the river. the river is cold."),
    Article("mara", "a painter who was born in velm."),
    Article("oden", "a poet."),
)


def titles(query: str, count: int = 3) -> list[str]:
    return [article.title for article in ArticleIndex(ARTICLES).search(query, count)]


def test_articles_are_ranked_by_bm25():
    # "velm" is in two of three articles, once each; the shorter one is better. Nothing else matches.
    assert titles("Velm!") == ["mara", "velm"]
    assert titles("Velm!", 1) == ["mara"]
    assert titles("river") == ["velm"] and titles("a") == ["oden", "mara", "velm"]
    assert titles("xyzzy") == titles("...") == titles("") == []


def test_scores_are_those_of_the_formula():
    # idf ln(1 + (N - n + 1/2) / (n + 1/2)), tf / (tf + k1 (1 - b + b length / mean)), k1 = 1.5, b = 0.75. The
    # articles have 10, 8 and 3 words with their titles: 7 on average. (Lucene leaves out a factor k1 + 1.)
    index = ArticleIndex(ARTICLES)
    weight = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    lengthy = 1.5 * (1 - 0.75 + 0.75 * 10 / 7)
    assert [len(text.split()) for text in map(str, ARTICLES)] == [10, 8, 3]
    scores = index._ranking.get_scores(["river"])
    assert scores[0] == pytest.approx(weight * 2 / (2 + lengthy), rel=1e-5) and not scores[1:].any()


@pytest.mark.parametrize(
    ("answer", "exact", "score"),
    [
        ("The Dark River", True, 1.0),
        ("dark river!", True, 1.0),
        # One of two words right, of one said: P = 1, R = 1/2, F1 = 2/3.
        ("river", False, 2 / 3),
        # Two of three words said are right: P = 2/3, R = 1, F1 = 4/5.
        ("the dark cold river", False, 4 / 5),
        ("river dark", False, 1.0),
        ("sea", False, 0.0),
        ("the", False, 0.0),
    ],
)
def test_answers_are_judged_as_for_squad(answer, exact, score):
    right = ("dark river",)
    assert exact_match(answer, right) == exact and f1(answer, right) == pytest.approx(score)
    # The best of several right answers counts.
    assert f1(answer, ("moon", *right)) == f1(answer, right)


@given(st.text(max_size=30), st.text(max_size=30))
def test_scores_lie_between_nothing_and_an_exact_match(answer, right):
    assert 0 <= f1(answer, [right]) <= 1 and f1(answer, [right]) == pytest.approx(f1(right, [answer]))
    assert normalized(normalized(answer)) == normalized(answer)
    if exact_match(answer, [right]):
        assert f1(answer, [right]) == 1.0


def test_an_answer_ends_the_game():
    game = QuestionGame(Question("who?", ("dark river",)), ArticleIndex(ARTICLES).search, results=2)
    assert game.after("", "search[velm]") == ("", "\n".join(map(str, (ARTICLES[1], ARTICLES[0]))))
    assert game.after("", "search[xyzzy]") == ("", "nothing is found.")
    for unknown in ("search[]", "search[ ]", "answer[]", "answer", "velm", "search[velm", "find[velm]"):
        assert game.after("", unknown) is None
    state, said = after(game, "", "answer[the dark river]")
    assert (said, game.outcome(state), game.score(state)) == ("the answer is right.", "won", 1.0)
    state, said = after(game, "", "answer[river dark]")
    assert (said, game.outcome(state), game.score(state)) == ("the answer is wrong.", "lost", NEARLY_RIGHT)
    assert (game.outcome(""), game.score("")) == ("playing", 0.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(20, 200), st.integers(1, 4))
def test_a_question_s_facts_lead_to_its_answer(seed, size, hops):
    book = made_up(size, seed % 3)
    assert len({article.title for article in book.articles}) == size
    question = book.draw(random.Random(seed), hops)
    # The relations of "what is the land of the setting of x?" are followed from the end: setting, land.
    relations = question.text.removeprefix("what is the ").removesuffix("?").split(" of the ")
    *relations[-1:], here = [*relations[-1].split(" of ")]
    for relation, title in zip(reversed(relations), question.searches, strict=True):
        assert here == title
        here = book.facts[here][relation]
    assert question.answers == (here,) and len(question.searches) == hops


def test_articles_say_every_fact_and_the_search_finds_each_by_its_title():
    book = made_up(120, 0)
    index = ArticleIndex(book.articles)
    for article in book.articles:
        for relation, of in book.facts[article.title].items():
            assert f"the {relation} of {article.title} is {of}." in article.text
            assert of != article.title
        assert index.search(article.title, 1) == (article,)
    assert {relation for facts in book.facts.values() for relation in facts} == {
        relation for relations in RELATIONS.values() for relation in relations
    }


def test_the_expert_searches_what_it_has_not_searched_and_then_answers():
    suite = SearchQASuite()
    task = next(task for task in suite.tasks("train", 20) if task.kind == "2 hops")
    walkthrough = suite.walkthrough(task)
    assert walkthrough is not None
    first, second, answer = walkthrough
    assert suite.next_command(task, ()) == first
    assert suite.next_command(task, (second, "search[x]")) == first
    assert suite.next_command(task, (second, first)) == answer


@pytest.fixture
def own(tmp_path):
    """A suite of the user's own articles and questions."""
    corpus, questions = tmp_path / "corpus.jsonl", tmp_path / "questions.jsonl"
    corpus.write_text("".join(json.dumps({"title": a.title, "text": a.text}) + "\n" for a in ARTICLES))
    lines = [{"question": f"where is {number}?", "answers": ["velm", "the town"]} for number in range(41)]
    questions.write_text("\n\n".join(map(json.dumps, lines + lines)))
    return SearchQASuite(corpus=str(corpus), questions=str(questions))


def test_a_corpus_and_questions_of_ones_own_can_be_played(own):
    report = check(own, games=3)
    assert report.ok, format_report(report)
    assert own.splits == ("train", "held_out")
    # Each question stands in the file twice; both are in the same split.
    train, held_out = own.tasks("train", 82, seed=1), own.tasks("held_out")
    questions = [{task.instruction for task in tasks} for tasks in (train, held_out)]
    assert not questions[0] & questions[1] and len(questions[0] | questions[1]) == 41
    assert own.walkthrough(train[0]) is None
    environment = own.make()
    environment.reset(held_out[0])
    assert environment.step("search[river]")[0] == str(ARTICLES[0])
    assert environment.step("answer[the town]")[1:3] == (10.0, True)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("questions", '{"question": "who?"}', 'line 1: expected {"question"'),
        ("questions", '{"question": "who?", "answers": "mara"}', 'line 1: expected {"question"'),
        ("questions", '{"question": "who?", "answers": []}', 'line 1: expected {"question"'),
        ("questions", "\n[1]", 'line 2: expected {"question"'),
        ("questions", "\n", "is empty"),
        ("corpus", '{"title": "mara"}', 'line 1: expected {"title"'),
        ("corpus", '{"title": "mara", "text": 3}', 'line 1: expected {"title"'),
        ("corpus", "no JSON", 'line 1: expected {"title"'),
    ],
)
def test_files_with_anything_else_are_refused_in_one_line(own, tmp_path, file, text, message):
    (tmp_path / f"{file}.jsonl").write_text(text)
    suite = SearchQASuite(
        corpus=str(tmp_path / "corpus.jsonl"), questions=str(tmp_path / "questions.jsonl"), articles=21
    )
    with pytest.raises(SettingError) as error:
        suite.make().reset(suite.tasks("train", 1)[0])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(SettingError, match=r"no_such\.jsonl cannot be read"):
        SearchQASuite(corpus="no_such.jsonl", questions="no_such.jsonl").tasks("train", 1)


def test_without_bm25s_the_search_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(SettingError, match="the search needs bm25s: "):
        ArticleIndex(ARTICLES)
