"""WebShop's own products: the recorded episodes, the goals, and how far the noun taggers agree."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hgpo.envs import WebshopSuite
from hgpo.envs.checker import check, format_report
from hgpo.envs.webshop.nouns import SPACY_MODELS
from hgpo.envs.webshop.replay import replay
from hgpo.envs.webshop.word_rules import WordRule

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = SHARED / "data" / "webshop"
RECORDINGS = SHARED / "golden" / "webshop_transcripts.jsonl.xz"

pytestmark = pytest.mark.skipif(
    not (DATA.exists() and RECORDINGS.exists()), reason=f"needs WebShop's products and recordings in {SHARED}"
)


def suite(tagger) -> WebshopSuite:
    return WebshopSuite(data=str(DATA), tagger=tagger)


@pytest.mark.stack
def test_every_recorded_step_is_equal():
    if not any(map(importlib.util.find_spec, SPACY_MODELS)):
        pytest.skip("needs spaCy's small English model, by which the rewards were recorded")
    comparison = replay(suite("spacy"), RECORDINGS)
    assert (comparison.episodes, comparison.steps, comparison.searches) == (60, 569, 104)
    assert comparison.differences == [] and comparison.ranked_otherwise == 0


@pytest.mark.parametrize(
    ("words", "recorded", "lucene"),
    [
        # One product has a text in Chinese: to Lucene every ideograph is a word, which makes the text longer.
        (
            "fresh meal kits fully cooked freeze dried shelf stable ready eat",
            "B09KRL9W5C",
            "B099YQ75WT",
        ),
        # "material：metallic", with a full-width colon, is one word to Lucene, so that "metallic" is rarer.
        ("sole rubber metallic and", "B07HP6LVRS", "B00I3O3BSS"),
        # The triangle ▶, five times in a text of 229 words, is a word by either rule.
        ("fleece friendly size: than", "B098B8KGMB", "B098B8KGMB"),
    ],
)
def test_the_tenth_result_by_each_rule_of_words(words, recorded, lucene):
    rules: dict[WordRule, str] = {"recorded": recorded, "lucene": lucene}
    for rule, asin in rules.items():
        shop = WebshopSuite(data=str(DATA), tagger="rule", words=rule).shop
        assert shop.catalogue.products[shop.index.search(words)[9]].asin == asin


def test_the_fallback_tagger_gives_42_of_46_recorded_rewards():
    differing = replay(suite("rule"), RECORDINGS).differences
    assert {difference.what for difference in differing} == {"reward"} and len(differing) == 4


def test_the_goals_are_those_of_the_released_shop():
    goals = suite("rule").shop.goals
    assert len(goals) == 6910


def test_no_goal_is_in_both_splits():
    tasks = suite("rule")
    held_out, training = tasks.tasks("evaluation"), tasks.tasks("train", 6410)
    assert len({task.id for task in training}) == 6410
    wanted = [{(task.game.asin, task.game.goal_options) for task in part} for part in (held_out, training)]
    assert not wanted[0] & wanted[1]


def test_the_contract_of_environments_holds():
    report = check(suite("rule"), games=6)
    assert report.ok, format_report(report)


def test_the_expert_wins_all_that_the_reward_lets_be_won():
    # A chosen colour is shortened to its colour word, which the wanted "2005black" then does not match: such
    # goals are not rewarded in full even where exactly the wanted thing is bought.
    shop = suite("rule")
    won = sum(shop.walkthrough(task) is not None for task in shop.tasks("evaluation"))
    assert won >= 460
