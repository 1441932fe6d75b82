"""The shop: search, pages, reward and goals worked out by hand, laws, and invalid input."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import math
import random
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webshop import released_record

from hgpo.envs import Task, WebshopSuite
from hgpo.envs.checker import check, format_report, steps_to_win
from hgpo.envs.replay import format_comparison
from hgpo.envs.webshop import data_files, indexing, search
from hgpo.envs.webshop.catalogue import Catalogue, Product, Wanted, load_catalogue, read_products
from hgpo.envs.webshop.data_files import read_list, read_object
from hgpo.envs.webshop.files import find_files
from hgpo.envs.webshop.goals import Goal, Goals
from hgpo.envs.webshop.indexing import cached_index, index_catalogue, indexed_text
from hgpo.envs.webshop.nouns import open_tagger, rule_nouns
from hgpo.envs.webshop.pages import Place, page_at
from hgpo.envs.webshop.replay import replay
from hgpo.envs.webshop.reward import purchase_reward, type_reward
from hgpo.envs.webshop.search import SearchIndex, build_index
from hgpo.envs.webshop.shop import Shop, parse_action
from hgpo.envs.webshop.words import words_of
from hgpo.errors import SettingError
from hgpo.training.config import from_json, to_json

SUITE = WebshopSuite(data="synthetic", tagger="rule")

MUG = Product(
    asin="B01",
    title="Red Stone Mug",
    description="A mug for tea.",
    bullet_points=("Dishwasher safe", ""),
    category="garden",
    query="mugs",
    product_category="Home › Kitchen › Mugs",
    options={"color": ("red", "blue"), "size": ("small", "large")},
    price_tag="$8.0 to $12.0",
    price=9.0,
    attributes=("heat resistant",),
    instruction="Find me mugs with heat resistant",
    instruction_attributes=("heat resistant",),
)
KETTLE = replace(
    MUG,
    asin="B02",
    title="Steel Kettle",
    description="",
    bullet_points=("Boils fast",),
    query="kettles",
    product_category="Home › Kettles",
    options={},
    price_tag="$30.0",
    price=30.0,
)


def shop_of(*products: Product) -> Shop:
    catalogue = Catalogue("two things", products)
    return Shop(catalogue, index_catalogue(catalogue, "recorded"), Goals(catalogue, 0), "rule", rule_nouns)


SHOP = shop_of(MUG, KETTLE)


def walkthrough_of(task: Task) -> tuple[str, ...]:
    return SUITE.walkthrough(task) or pytest.fail(f"{task.id} has no walkthrough")


# ---- search ----


# Stop words and 's go, points and colons join letters, points and commas digits; Porter's stems.
ENGLISH = "The men's Running-shoes, 7.5 in size:M & 10,000 ponies"
STEMS = "men run shoe 7.5 size:m 10,000 poni"


@pytest.mark.parametrize(
    ("text", "recorded", "lucene"),
    [
        (ENGLISH, STEMS, STEMS),
        ("a" * 300, f"{'a' * 255} {'a' * 45}", f"{'a' * 255} {'a' * 45}"),
        # Symbols of two blocks are words of their own, and two triangles; to Lucene, emoji are.
        ("★★ ▶◀ ✿ ➤", "★ ★ ▶ ◀ ✿ ➤", "★ ★ ▶ ◀"),
        ("® ⭐ ▸ ◎ ●", "", "® ⭐"),
        ("❤\ufe0f 👨\u200d👩\u200d👧 👍🏽", "❤ 👨 👩 👧 👍 🏽", "❤\ufe0f 👨\u200d👩\u200d👧 👍🏽"),
        ("#\ufe0f\u20e3 # 🇩🇪", "🇩 🇪", "#\ufe0f\u20e3 🇩🇪"),
        # Ideographs and Hiragana are words one by one, Katakana and Hangul are not.
        ("食品 ひら カタ 한국", "食品 ひら カタ 한국", "食 品 ひ ら カタ 한국"),
        # The full-width colon joins letters, and the fraction slash digits; an accent belongs to its letter.
        ("size：m 1⁄2 e\u0301t", "size m 1 2 e t", "size：m 1⁄2 e\u0301t"),
        # A low line joins what it touches, and is no word alone.
        ("a_b _c ___", "a_b _c", "a_b _c"),
        ("l.m-n 1.z b.2 2.3.4 x.", "l.m n 1 z b 2 2.3.4 x", "l.m n 1 z b 2 2.3.4 x"),
    ],
)
def test_words_by_each_rule(text, recorded, lucene):
    assert list(words_of(text, "recorded")) == recorded.split()
    assert list(words_of(text, "lucene")) == lucene.split()


def test_a_long_word_is_cut_as_by_a_reader_that_looks_no_further_than_255_characters():
    # The apostrophe is the 255th: the reader does not see that a letter follows, and leaves it out.
    assert list(words_of("a" * 254 + "'bc", "lucene")) == ["a" * 254, "bc"]


def test_a_weight_by_hand():
    # "mug" is in 1 of 2 documents: idf = ln(1 + (2 − 1 + 0.5) / (1 + 0.5)) = ln 2. The documents have 2 and 4
    # words, 3 on average: the first one's norm is 0.9 (0.6 + 0.4 · 2/3) = 0.78 and tf = 1, so that its score is
    # ln 2 − ln 2 / (1 + 1 / 0.78) = ln 2 / 1.78.
    index = build_index(["red mug", "red kettle of red steel"], "recorded")
    number = index.numbers["mug"]
    assert index.documents[index.starts[number]] == 0
    assert index.idf[number] == pytest.approx(math.log(2), rel=1e-6)
    assert index.divisors[index.starts[number]] == pytest.approx(1 + 1 / 0.78, rel=1e-6)


def test_documents_without_words_count_for_nothing():
    # Lucene's N and mean length are of the documents that have the field, which empty ones have not.
    texts = ["red mug", "red kettle of red steel"]
    full, gaps = (
        build_index(documents, "recorded") for documents in (texts, [texts[0], "", "the", texts[1]])
    )
    assert np.array_equal(full.idf, gaps.idf) and np.array_equal(full.divisors, gaps.divisors)
    assert gaps.search("mug steel") == [0, 3]


def test_a_word_asked_three_times_is_one_term_of_three_times_the_weight():
    # The first document has "mug" with idf 0.3 and divisor 9: 0.9 − 0.9/9 = 0.8, in single precision too. Three
    # terms of 0.3 − 0.3/9, each rounded, add up to the next number, 0.8000001: the score of the second document.
    single = np.float32
    idf = np.array([0.3, np.nextafter(single(0.8), single(1))], single)
    divisors, starts = np.array([9, np.inf], single), np.array([0, 1, 2])
    index = SearchIndex(
        "recorded", 2, {"mug": 0, "tea": 1}, starts, idf, np.array([0, 1], np.int32), divisors
    )
    assert single(3 * float(idf[0] - idf[0] / divisors[0])) == idf[1]
    assert index.search("mug tea mug mug") == [1, 0]


@pytest.mark.parametrize(
    # Exact below 40; then steps of 2 from 40, of 4 from 56, of 8 from 88, as 24 + four leading bits.
    ("length", "kept"),
    [(0, 0), (39, 39), (40, 40), (41, 40), (42, 42), (55, 54), (59, 56), (100, 96), (1000, 984)],
)
def test_lengths_are_kept_in_a_byte(length, kept):
    assert search._rounded(length) == kept


WORDS = st.sampled_from("mug kettle steel red blue tea".split())


@given(st.lists(st.lists(WORDS, max_size=60), min_size=1, max_size=60), st.lists(WORDS, max_size=6))
def test_the_index_ranks_as_plain_loops_do(documents, query):
    filled = sum(map(bool, documents))
    mean = sum(map(len, documents)) / max(1, filled)
    scores = []
    for document in documents:
        score = 0.0
        for word in query:
            n = sum(word in other for other in documents)
            tf = document.count(word)
            if tf:
                norm = 0.9 * (0.6 + 0.4 * search._rounded(len(document)) / mean)
                score += math.log(1 + (filled - n + 0.5) / (n + 0.5)) * tf / (tf + norm)
        scores.append(score)
    found = build_index([" ".join(document) for document in documents], "recorded").search(" ".join(query))
    # Equal but for the last digits of single precision: the scores found must be the highest, in order.
    best = sorted((score for score in scores if score), reverse=True)[:50]
    assert [scores[number] for number in found] == pytest.approx(best, rel=1e-5)
    assert len(set(found)) == len(found)


def test_ties_are_in_the_documents_order_and_at_most_fifty_are_found():
    assert build_index(["red mug"] * 60, "recorded").search("mug") == list(range(50))


def test_an_index_made_in_blocks_is_the_same(monkeypatch):
    texts = [indexed_text(product) for product in SUITE.shop.catalogue.products]
    whole = build_index(texts, "recorded")
    monkeypatch.setattr(search, "BLOCK", 7)
    blocks = build_index(texts, "recorded")
    assert blocks.numbers == whole.numbers
    for name in ("starts", "idf", "documents", "divisors"):
        assert np.array_equal(getattr(blocks, name), getattr(whole, name))


def test_an_index_comes_back_from_disk(tmp_path):
    SUITE.shop.index.save(tmp_path / "index")
    loaded = SearchIndex.load(tmp_path / "index", "recorded")
    assert isinstance(loaded.divisors, np.memmap)
    for task in SUITE.tasks("evaluation", 20):
        assert loaded.search(task.instruction) == SUITE.shop.index.search(task.instruction)


# ---- pages ----


def test_every_page_by_hand():
    place = Place()
    seen = []
    for action in (
        "search[mug kettle]",
        "click[b01]",
        "click[blue]",
        "click[features]",
        "click[< prev]",
        "click[description]",
        "click[back to search]",
    ):
        place = SHOP.after(place, action) or pytest.fail(action)
        seen.append(SHOP.page(place, "Find a mug").observation)
    item = (
        "Instruction: [SEP] Find a mug [SEP] Back to Search [SEP] < Prev [SEP] color [SEP] red [SEP] blue [SEP] "
        "size [SEP] small [SEP] large [SEP] Red Stone Mug [SEP] Price: $8.0 to $12.0 [SEP] Rating: N.A. [SEP] "
        "Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    assert seen == [
        "Instruction: [SEP] Find a mug [SEP] Back to Search [SEP] Page 1 (Total results: 2) [SEP] Next > [SEP] "
        "B01 [SEP] Red Stone Mug [SEP] $8.0 to $12.0 [SEP] B02 [SEP] Steel Kettle [SEP] $30.0",
        item,
        item,  # which options are chosen is not shown
        "Instruction: [SEP] Find a mug [SEP] Back to Search [SEP] < Prev [SEP] Dishwasher safe [SEP] ",
        item,
        "Instruction: [SEP] Find a mug [SEP] Back to Search [SEP] < Prev [SEP] A mug for tea.",
        "WebShop [SEP] Instruction: [SEP] Find a mug [SEP] Search",
    ]


# What the released shop's HTML reader makes of a text: nothing of an empty one; of blanks, tabs and line ends one
# blank, or a line end, which is left out; other white space is only stripped.
BLANKS = [
    ("", []),
    (" ", [""]),
    ("\t \r\f", [""]),
    ("\n", []),
    (" \r\n ", []),
    ("\xa0", [""]),
    ("\xa0\n", [""]),
    ("\x0b\n", [""]),
    ("\u200b", ["\u200b"]),
    (" a\n", ["a"]),
]


@pytest.mark.parametrize(("text", "shown"), BLANKS)
def test_texts_without_letters_are_shown_as_by_the_released_shop(text, shown):
    odd = replace(MUG, title=text, description=text, options={text: (text, "z")}, bullet_points=(text, "f"))
    catalogue = Catalogue("odd", (odd, KETTLE))
    place = Place(found=(0, 1))

    def seen(place: Place, instruction: str = "Find it") -> list[str]:
        return page_at(catalogue, place, instruction).observation.split(" [SEP] ")

    assert seen(place)[5:] == ["B01", *shown, odd.price_tag, "B02", KETTLE.title, KETTLE.price_tag]
    item = replace(place, asin="B01")
    assert seen(item)[4:-6] == [*shown, *shown, "z", *shown]
    assert text in page_at(catalogue, item).clickables  # as the value of the option
    assert seen(replace(item, section="Description"))[4:] == shown
    # A blank stands before each feature, so that an empty one is not nothing.
    assert seen(replace(item, section="Features"))[4:] == [*(shown if text else [""]), "f"]
    assert seen(Place(), text) == ["WebShop", "Instruction:", *shown, "Search"]


def places(*actions: str) -> Place:
    place = Place()
    for action in actions:
        place = SHOP.after(place, action) or pytest.fail(action)
    return place


def test_options_are_kept_on_the_products_pages_and_forgotten_beyond():
    chosen = places(
        "search[mug]", "click[b01]", "click[red]", "click[small]", "click[blue]", "click[reviews]"
    )
    assert dict(chosen.chosen) == {"color": "blue", "size": "small"}
    item = SHOP.after(chosen, "click[< prev]")
    assert item is not None and item.section is None and item.chosen == chosen.chosen
    results = SHOP.after(item, "click[< prev]")
    assert results == places("search[mug]")
    assert SHOP.after(chosen, "search[kettle]") == places("search[kettle]")


def test_pages_turn_and_the_next_one_is_always_there():
    second = places("search[mug]", "click[next >]")
    page = SHOP.page(second)
    assert page.observation == "Back to Search [SEP] Page 2 (Total results: 1) [SEP] < Prev [SEP] Next >"
    assert page.clickables == ("back to search", "< prev", "next >")
    assert SHOP.after(second, "click[< prev]") == places("search[mug]")


def test_a_product_is_left_for_the_page_of_results_on_which_it_was():
    shop = shop_of(*(replace(KETTLE, asin=f"B{number:02}") for number in range(12)))
    place = Place()
    for action in ("search[kettle]", "click[next >]", "click[b11]", "click[< prev]"):
        place = shop.after(place, action) or pytest.fail(action)
    assert place.page == 2 and place.asin is None


def test_an_option_called_like_a_button_is_that_button():
    odd = replace(MUG, options={"name": ("reviews", "search", "plain")})
    page = page_at(Catalogue("odd", (odd,)), Place(found=(0,), asin="B01"))
    assert page.clickables[-3:] == ("buy now", "search", "plain")
    assert page.links["reviews"].section == "Reviews"


@pytest.mark.parametrize(
    ("action", "parsed"),
    [
        ("search[red mug]", ("search", "red mug")),
        ("search[Red]", ("search", "red")),
        ("click[a]b] and more", ("click", "a]b")),
        ("click[a [b]]", ("click[a ", "b]")),
        ("search[]", ("", "")),
        ("[x]", ("", "")),
        ("think\nsearch[x]", ("", "")),
        ("search[x", ("", "")),
        ("buy", ("", "")),
    ],
)
def test_what_an_action_is(action, parsed):
    assert parse_action(action) == parsed


@given(st.text("ab[]\n", max_size=12))
def test_actions_are_those_of_the_released_pattern(action):
    match = re.match(r"(.+)\[(.+)\]", action)
    assert parse_action(action) == ((match[1], match[2].lower()) if match else ("", ""))


# ---- reward ----

WANTED = Goal(
    asin="B01",
    category="garden",
    query="mugs",
    name="Red Stone Mug",
    product_category="Home › Kitchen › Mugs",
    instruction_text="Find me mugs with heat resistant",
    attributes=("heat resistant", "dishwasher safe"),
    price_upper=10.0,
    goal_options=(("color", "blue"), ("size", "large")),
)


@pytest.mark.parametrize(
    ("product", "chosen", "reward"),
    [
        # Of 2 attributes, 2 options and the price: all; one option; none; the price too high.
        (MUG, {"color": "blue", "size": "large"}, 1.0),
        (MUG, {"color": "red", "size": "large"}, 4 / 5),
        (MUG, {}, 3 / 5),
        (replace(MUG, price=10.5), {"color": "blue", "size": "large"}, 4 / 5),
        # "dishwasher safe" is no attribute of the mug but one of its features; without them it is missing.
        (replace(MUG, bullet_points=()), {"color": "blue", "size": "large"}, 4 / 5),
        # Chosen values are the first colour word in them; so is a pair, where its name or value is just that.
        (MUG, {"color": "aqua blue", "size": "large"}, 4 / 5),
        (MUG, {"color": "sky-blue", "size": "large"}, 1.0),
        # A kettle has no noun in common with a red stone mug.
        (KETTLE, {}, 0.0),
    ],
)
def test_rewards_by_hand(product, chosen, reward):
    assert purchase_reward(product, chosen, WANTED, rule_nouns) == pytest.approx(reward)


def test_the_name_of_a_wanted_option_matches_too():
    # The released shop compares a chosen value with name and value: "size" is in ("size", "large").
    assert purchase_reward(MUG, {"fit": "size"}, WANTED, rule_nouns) == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    # Nouns of the wanted title: qa … qt. Alike: the same query, two common parts, or more than a fifth.
    ("common", "query", "category", "expected"),
    [
        (0, "same", "A › B", 0.0),
        (1, "same", "A › B", 0.1),  # 1/20 < 0.1
        (2, "other", "A › C", 0.5),  # 2/20 is not below 0.1, and nothing is alike
        (4, "other", "A › C", 0.5),  # 4/20 is not above 0.2
        (5, "other", "A › C", 1.0),
        (2, "same", "A › C", 1.0),
        (2, "other", "B › A › D", 1.0),
    ],
)
def test_sorts_of_things(common, query, category, expected):
    def letters(n: int) -> str:
        return "q" + "abcdefghijklmnopqrst"[n]

    goal = replace(WANTED, name=" ".join(map(letters, range(20))), query="same", product_category="A › B")
    title = " ".join([*map(letters, range(common)), "else"])
    product = replace(MUG, title=title, query=query, product_category=category)
    assert type_reward(product, goal, rule_nouns) == expected


def test_a_wanted_title_without_nouns_counts_as_a_fifth():
    # 0.2 is neither 0 nor below 0.1; not being above 0.2, it needs a query or a category.
    goal = replace(WANTED, name="7")
    assert type_reward(MUG, goal, rule_nouns) == 1.0
    assert type_reward(replace(MUG, query="x", product_category="x"), goal, rule_nouns) == 0.5


def test_a_noun_said_twice_counts_twice_below_the_line():
    # 1 of 5 mentions is not above a fifth; 1 of 4 different nouns would be.
    goal = replace(WANTED, name="mug cup cup plate bowl", query="x", product_category="x")
    assert type_reward(replace(MUG, title="mug"), goal, rule_nouns) == 0.5


def test_the_fallback_leaves_out_what_is_no_noun():
    assert rule_nouns("Men's Waterproof Hiking Boots for the Garden, 2 Pack") == (
        "men",
        "hiking",
        "boots",
        "garden",
        "pack",
    )


# ---- goals ----


def test_a_goal_for_each_way_to_choose():
    goals = Goals(SHOP.catalogue, 0)
    # 2 colours × 2 sizes of the mug, and the kettle.
    assert len(goals) == len(list(goals)) == 5
    wanted = Counter(goal.goal_options for goal in goals)
    assert wanted == Counter(
        {
            **{(("color", c), ("size", s)): 1 for c in ("red", "blue") for s in ("small", "large")},
            (): 1,
        }
    )
    for goal in goals:
        bounds = (10, 20, 30, 40) if goal.asin == "B01" else (40, 50, 60, 70)
        assert goal.price_upper in bounds[1:]  # the larger of two of them
        options = " with " + ", and ".join(f"{n}: {v}" for n, v in goal.goal_options)
        assert goal.instruction_text == (
            "Find me mugs with heat resistant"
            + options * bool(goal.goal_options)
            + f", and price lower than {goal.price_upper:.2f} dollars"
        )


def test_what_is_too_dear_for_a_bound_has_none():
    dear = replace(KETTLE, price=985.0)
    assert [goal.price_upper for goal in Goals(Catalogue("dear", (dear,)), 0)] == [1_000_000.0]
    assert "price" not in Goals(Catalogue("dear", (dear,)), 0)[0].instruction_text


def test_no_goal_is_in_both_splits_whoever_draws():
    held_out = SUITE.tasks("evaluation")
    assert [task.id for task in held_out] == [f"evaluation/{number}" for number in range(500)]
    total = len(SUITE.shop.goals)
    training = SUITE.tasks("train", total - 500, seed=1)
    wanted = [{(task.game.asin, task.game.goal_options) for task in tasks} for tasks in (held_out, training)]
    assert len(wanted[0]) == 500 and len(wanted[1]) == total - 500
    assert not wanted[0] & wanted[1]
    # Another worker with another seed of its own has the same split.
    other = {task.game for task in WebshopSuite(data="synthetic", tagger="rule").tasks("train", 300, seed=2)}
    assert not other & {task.game for task in held_out}


def test_a_suite_keeps_the_data_that_it_began_with(monkeypatch):
    # Saved with a run: gone on with where the variable says something else, it is still the same shop.
    monkeypatch.setenv("WEBSHOP_DATA", "somewhere")
    begun = WebshopSuite()
    monkeypatch.delenv("WEBSHOP_DATA")
    assert begun.folder == "somewhere" and from_json(to_json(begun)) == begun
    assert WebshopSuite().synthetic and WebshopSuite() == WebshopSuite(data="synthetic")


def test_another_catalogue_seed_gives_other_goals():
    other = WebshopSuite(data="synthetic", tagger="rule", catalogue_seed=1)
    assert other.tasks("evaluation", 1)[0].instruction != SUITE.tasks("evaluation", 1)[0].instruction
    assert "seed 1" in other.description


def test_more_training_tasks_than_goals_come_round_again():
    total = len(SUITE.shop.goals) - 500
    counts = Counter(task.id for task in SUITE.tasks("train", 2 * total))
    assert set(counts.values()) == {2}


def test_a_catalogue_that_is_all_held_out_says_so():
    with pytest.raises(SettingError, match="500 goals are held out, and none is left for training"):
        WebshopSuite(data="synthetic", products=10, tagger="rule").tasks("train", 1)


# ---- the environment ----


def test_the_contract_of_environments_holds():
    report = check(SUITE, games=6)
    assert report.ok, format_report(report)


def test_the_expert_wins_every_goal_of_the_synthetic_shop():
    tasks = [*SUITE.tasks("evaluation", 60), *SUITE.tasks("train", 60)]
    # A search, the product, one option or two, and the purchase.
    assert {steps_to_win(SUITE, task) for task in tasks} == {4, 5}


def test_environments_of_a_process_share_one_shop():
    assert WebshopSuite(data="synthetic", tagger="rule").shop is SUITE.shop
    assert WebshopSuite(data="synthetic", tagger="rule", max_steps=30).shop is SUITE.shop


def test_a_purchase_ends_the_trip_with_its_score():
    task = SUITE.tasks("evaluation", 1)[0]
    searched, clicked, *_ = walkthrough_of(task)
    environment = SUITE.make()
    environment.reset(task)
    for command in (searched, clicked):
        environment.step(command)
    observation, reward, terminated, truncated, info = environment.step("click[buy now]")
    assert (observation, terminated, truncated) == ("Thank you for shopping with us!", True, False)
    assert info.admissible_commands == ()
    # The right thing bought without its options: two attributes and the price of all that was wanted.
    assert info.score == pytest.approx(3 / (3 + len(task.game.goal_options)))
    assert reward == 0 and not info.won
    with pytest.raises(RuntimeError, match="over"):
        environment.step("search[again]")


def test_commands_are_listed_in_the_pages_order():
    task = SUITE.tasks("evaluation", 1)[0]
    environment = SUITE.make()
    _, info = environment.reset(task)
    assert info.admissible_commands == ("search[<words>]",)
    _, _, _, _, info = environment.step(f"search[{task.game.query}]")
    found = SUITE.shop.index.search(task.game.query)[:10]
    assert info.admissible_commands == (
        "search[<words>]",
        "click[back to search]",
        "click[next >]",
        *(f"click[{SUITE.shop.catalogue.products[number].asin.lower()}]" for number in found),
    )


def test_the_keys_that_the_settings_name():
    task = SUITE.tasks("evaluation", 1)[0]
    walkthrough = walkthrough_of(task)
    for state_key, different in (("observation", 3), ("full_state", len(walkthrough))):
        # Start, results, item; a choice changes the item's state but not what is seen of it.
        environment = replace(SUITE, state_key=state_key).make()
        keys = {environment.reset(task)[1].state_key}
        for command in walkthrough[:-1]:
            keys.add(environment.step(command)[4].state_key)
        assert len(keys) == different


def test_only_the_full_state_tells_what_is_chosen():
    # Two ways to one item page, with an option chosen in one of them.
    task = next(task for task in SUITE.tasks("evaluation", 20) if len(walkthrough_of(task)) > 3)
    search, item, option, *_ = walkthrough_of(task)
    environment = SUITE.make()
    environment.reset(task)
    environment.step(search)
    plain = environment.step(item)[4].state_keys
    chosen = environment.step(option)[4].state_keys
    assert [name for name in plain if plain[name] != chosen[name]] == ["full_state"]


def test_the_checker_misses_the_chosen_options_in_a_full_state(monkeypatch):
    def without_options(self):
        return tuple(getattr(self._place, name) for name in Place.__slots__ if name != "chosen")

    monkeypatch.setattr("hgpo.envs.webshop.environment.ShopEnvironment._full_state", without_options)
    (problem,) = check(SUITE, games=4).problems
    assert problem.check == "state" and "have one full_state" in problem.message


NONSENSE = st.one_of(
    st.text(max_size=40),
    st.builds("{}[{}]".format, st.sampled_from(["search", "click", "Search", "buy"]), st.text(max_size=40)),
    st.text("[]\n\0 searchclikB01234é食", max_size=60),
)


@settings(max_examples=300)
@given(st.lists(NONSENSE, min_size=1, max_size=10), st.integers(0, 4))
def test_any_text_is_valid_or_does_nothing(actions, done):
    task = SUITE.tasks("evaluation", 1)[0]
    environment = replace(SUITE, max_steps=100).make()
    observation, info = environment.reset(task)
    for command in walkthrough_of(task)[:-1][:done]:
        observation, *_, info = environment.step(command)
    for action in actions:
        after, reward, terminated, truncated, told = environment.step(action)
        name, argument = parse_action(action)
        if name == "search":
            assert after.startswith("Back to Search [SEP] Page 1 (Total results: ")
        elif not (name == "click" and f"click[{argument}]" in info.admissible_commands):
            assert (after, told) == (observation, info)
        if terminated:
            return
        assert reward == 0 and not truncated
        observation, info = after, told


@pytest.mark.parametrize("rule", ["recorded", "lucene"])
def test_what_would_be_a_word_only_after_255_characters_is_none(rule):
    # "#", accents and the frame of a key are one word of Lucene's; cut after 255 characters they are none.
    framed = "#" + "\u0301" * 300 + "\u20e3"
    assert [*words_of(f"{framed} mug", rule)] == ["mug"]


@pytest.mark.parametrize("text", ["[", "]", "a ", "search[", "食", "y", "\0", "a]["])
def test_a_megabyte_is_carried_out_or_does_nothing(text):
    environment = SUITE.make()
    environment.reset(SUITE.tasks("evaluation", 1)[0])
    for action in (text * (10**6 // len(text)), f"search[{text * (10**6 // len(text))}]"):
        assert not environment.step(action)[2]


# ---- files ----

RECORD = {
    "asin": "B01",
    "name": "Red Mug",
    "full_description": "For tea.",
    "small_description": ["Safe"],
    "category": "garden",
    "query": " Mugs ",
    "product_category": "Home › Mugs",
    "pricing": "$8.00",
    "customization_options": {"Color": [{"value": " Red/Blue "}], "Size": None},
}


def test_a_record_becomes_a_product():
    records = [RECORD, RECORD, {**RECORD, "asin": "nan"}, {**RECORD, "asin": "B0123456789"}]
    (product,) = read_products(records, {"B01": Wanted(("red",), "Find", ("red",))}, 0)
    assert (product.query, product.price_tag, product.price) == ("mugs", "$8.0", 8.0)
    assert product.options == {"color": ("red | blue",)}
    assert (product.attributes, product.instruction) == (("red",), "Find")


@pytest.mark.parametrize(
    ("pricing", "tag", "low", "high"),
    [
        ("", "$100.0", 100, 100),
        (None, "$100.0", 100, 100),
        ("$1,234.50", "$1234.5", 1234.5, 1234.5),
        ("$5 - $9 or $20", "$5.0 to $9.0", 5, 9),
    ],
)
def test_prices(pricing, tag, low, high):
    (product,) = read_products([{**RECORD, "pricing": pricing}], {}, 0)
    assert product.price_tag == tag and low <= product.price <= high


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": 7}, "product B01: 'name' must be a text, not 7"),
        ({"small_description": [None]}, "product B01: 'small_description' must be a text, not None"),
        ({"pricing": "$free"}, "product B01: 'pricing' must have a number after each \\$, not 'free'"),
        (
            {"customization_options": {"color": [3]}},
            "product B01: a value of its option 'color' must be an object",
        ),
        ({"customization_options": {"color": 3}}, "the values of its option 'color' must be a list, not 3"),
        ({"customization_options": [1]}, "product B01: 'customization_options' must be an object"),
        ({"asin": 7}, "product number 0 has no text 'asin'"),
    ],
)
def test_a_broken_record_names_its_product(change, told):
    with pytest.raises(SettingError, match=told):
        read_products([{**RECORD, **change}], {}, 0)


def test_a_missing_field_names_its_product():
    with pytest.raises(SettingError, match="product B01: 'query' is missing"):
        read_products([{name: value for name, value in RECORD.items() if name != "query"}], {}, 0)


def write_shop(folder, records, wanted) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "items_shuffle_2.json").write_text(json.dumps(records))
    (folder / "items_ins_v2_2.json").write_text(json.dumps(wanted))


PRODUCTS, ATTRIBUTES = "items_shuffle_2.json", "items_ins_v2_2.json"
RECORDS = json.dumps([RECORD, {**RECORD, "asin": "B02"}]).encode()
TOLD = json.dumps({"B01": {"attributes": []}}).encode()


def folder_of(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def zstd(content: bytes) -> bytes:
    compressed = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(compressed, "zstd") as file:
        file.write(content)
    return compressed.getvalue().to_pybytes()


COMPRESSED = {".xz": lzma.compress, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}


@pytest.mark.parametrize("compress", [lambda content: content, *COMPRESSED.values()])
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content,
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b", ", b",\r\n\t ") + b"\r\n",
        # What Python writes for numbers that are missing.
        lambda content: content.replace(b'"$8.00"', b"NaN").replace(
            b'"attributes"', b'"x": -Infinity, "attributes"'
        ),
    ],
    ids=["plain", "byte order mark", "line ends", "not a number"],
)
def test_data_files_are_read_however_they_were_written(tmp_path, monkeypatch, compress, change):
    # The name does not tell the compression; values lie across the pieces in which a file is read.
    monkeypatch.setattr(data_files, "PIECE", 5)
    folder_of(tmp_path, {PRODUCTS: compress(change(RECORDS)), ATTRIBUTES: compress(change(TOLD))})
    one, two = load_catalogue(find_files(tmp_path), 0).products
    assert (one.asin, two.asin, one.title, one.options) == (
        "B01",
        "B02",
        "Red Mug",
        {"color": ("red | blue",)},
    )
    assert one.price == (100.0 if b"NaN" in change(RECORDS) else 8.0)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JSON_VALUES, min_size=1, max_size=4), st.integers(1, 9), st.sampled_from([None, 1]))
def test_files_are_read_piece_by_piece_as_json_reads_them_whole(tmp_path, monkeypatch, values, piece, indent):
    monkeypatch.setattr(data_files, "PIECE", piece)
    path = tmp_path / "some.json"
    path.write_text(json.dumps(values, indent=indent))
    assert list(read_list(path)) == values
    named = {str(number): value for number, value in enumerate(values)}
    path.write_text(json.dumps(named, indent=indent))
    assert dict(read_object(path)) == named


WITHOUT_END = "cannot be read after product B01: it is cut off"


@pytest.mark.parametrize(
    ("products", "told"),
    [
        (RECORDS[:-20], WITHOUT_END),
        (RECORDS[:-1], "cannot be read after product B02: it is cut off"),
        (RECORDS.rpartition(b'"asin"')[0] + b'"asin": tru', WITHOUT_END),
        (gzip.compress(RECORDS)[:-20], "it is cut off"),
        (lzma.compress(RECORDS)[:-20], "it is cut off"),
        (bz2.compress(RECORDS)[:-20], "it is cut off"),
        (zstd(RECORDS)[:-20], "Truncated compressed stream"),
        (b"", "cannot be read at its start: it is empty, not a JSON list"),
        (b" \n", "it is empty, not a JSON list"),
        (b"\n<html>\n<body>\n", "it is a web page, not a JSON list"),
        (b"PK\x03\x04\x0a", "it is a zip archive, not a JSON list"),
        (b"not json", "it begins with 'not json', not a JSON list"),
        (TOLD, 'it begins with \'{"B01": {"attributes\', not a JSON list'),
        (b"[]", "it holds no products"),
        (RECORDS.replace(b'"asin"', b"asin", 1), "it is not JSON (Expecting property name"),
        (RECORDS[:-1] + b",]", "after product B02: it is not JSON (Expecting value)"),
        (RECORDS.replace(b"}, {", b"} {"), "after product B01: expected a comma or the end, not '{'"),
        (RECORDS[:-1] + b"x", "after product B02: expected a comma or the end, not 'x'"),
        (RECORDS + b" and more", "after product B02: 'and more' follows its end"),
        (RECORDS.decode().encode("utf-16"), "it is not text in UTF-8"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"[1" + b"0" * 5000 + b"]", "at its start: Exceeds the limit"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path, products, told):
    folder_of(tmp_path, {PRODUCTS: products, ATTRIBUTES: TOLD})
    with pytest.raises(SettingError) as refused:
        load_catalogue(find_files(tmp_path), 0)
    message = str(refused.value)
    assert message.startswith(str(tmp_path / PRODUCTS)) and told in message
    assert "\n" not in message and "b'" not in message


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        (b'{"B01": {"attributes": 3}}', "product B01: 'attributes' must be a list of texts, not 3"),
        (b'{"B01": 3}', "product B01: its record must be an object, not 3"),
        (b'{"B01" 3}', "expected a name and a colon"),
        (b"[]", "not a JSON object"),
        (b"{}", "it holds no products"),
        (TOLD[:-1], "after product B01: it is cut off"),
        (b'{"B09": {}}', "describes none of the products in"),
    ],
)
def test_a_broken_file_of_attributes_is_refused(tmp_path, attributes, told):
    folder_of(tmp_path, {PRODUCTS: RECORDS, ATTRIBUTES: attributes})
    with pytest.raises(SettingError, match=re.escape(told)):
        load_catalogue(find_files(tmp_path), 0)


ALL, ALL_TOLD = "items_shuffle.json", "items_ins_v2.json"
THOUSAND, THOUSAND_TOLD = "items_shuffle_1000.json", "items_ins_v2_1000.json"


@pytest.mark.parametrize(
    ("there", "named", "taken"),
    [
        # Plain before compressed, of the same name.
        ([PRODUCTS, PRODUCTS + ".xz", ATTRIBUTES, ATTRIBUTES + ".xz"], "", (PRODUCTS, ATTRIBUTES)),
        ([PRODUCTS + ".gz", ATTRIBUTES + ".zst"], "", (PRODUCTS + ".gz", ATTRIBUTES + ".zst")),
        # The whole catalogue, with its own attributes; or the one that is named.
        ([ALL, ALL_TOLD, THOUSAND, THOUSAND_TOLD], "", (ALL, ALL_TOLD)),
        ([ALL, ALL_TOLD, THOUSAND, THOUSAND_TOLD], THOUSAND, (THOUSAND, THOUSAND_TOLD)),
        ([ALL + ".xz", ALL_TOLD, THOUSAND, THOUSAND_TOLD], "", (ALL + ".xz", ALL_TOLD)),
        ([THOUSAND + ".xz", THOUSAND_TOLD], THOUSAND, (THOUSAND + ".xz", THOUSAND_TOLD)),
        # The higher number; attributes that end otherwise where there are no others.
        ([THOUSAND, PRODUCTS, ATTRIBUTES], "", (THOUSAND, ATTRIBUTES)),
        (["mine.json", ALL, ALL_TOLD, THOUSAND_TOLD], "mine.json", ("mine.json", ALL_TOLD)),
        # What is no data file is not looked at.
        ([PRODUCTS, PRODUCTS + ".part", PRODUCTS + ".sha256", ATTRIBUTES], "", (PRODUCTS, ATTRIBUTES)),
    ],
)
def test_which_files_are_taken(tmp_path, capsys, there, named, taken):
    folder_of(tmp_path, dict.fromkeys(there, b"[]"))
    files = find_files(tmp_path / named)
    assert (files.products.name, files.attributes.name) == taken
    several = not named and len({name for name in there if "shuffle" in name and "json" in name[-9:]}) > 1
    assert bool(notes(capsys)) == (
        several and PRODUCTS + ".xz" not in there and PRODUCTS + ".part" not in there
    )


def test_several_catalogues_and_human_goals_are_spoken_of(tmp_path, capsys):
    folder_of(tmp_path, dict.fromkeys([ALL, ALL_TOLD, THOUSAND, "items_human_ins.json"], b"[]"))
    find_files(tmp_path)
    assert notes(capsys) == [
        f"hgpo: {tmp_path} holds items_shuffle.json, items_shuffle_1000.json: items_shuffle.json is used; "
        f"--data {tmp_path}/FILE uses another",
        f"hgpo: {tmp_path}/items_human_ins.json is not used: the goals come from items_ins_v2.json",
    ]


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(SettingError, match=r"no folder .*none: --data"):
        find_files(tmp_path / "none")
    with pytest.raises(SettingError, match="File name too long"):
        find_files(tmp_path / ("a" * 300))
    with pytest.raises(SettingError, match=r"no file items_shuffle\*.json in"):
        find_files(tmp_path)
    (tmp_path / PRODUCTS).touch()
    with pytest.raises(SettingError, match=r"no file items_ins\*.json in"):
        find_files(tmp_path)


def test_the_home_folder_is_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WEBSHOP_DATA", "~/shop")
    assert WebshopSuite().folder == WebshopSuite(data="~/shop").folder == str(tmp_path / "shop")
    assert WebshopSuite().data == "~/shop"


def test_half_a_pair_of_surrogates_becomes_a_replacement():
    (product,) = read_products([{**RECORD, "name": "Red \ud83d Mug"}], {}, 0)
    assert product.title == "Red \ufffd Mug"


def released_records(products: int) -> tuple[list[dict], dict[str, dict]]:
    """A synthetic catalogue in the form of the released files."""
    catalogue = WebshopSuite(data="synthetic", products=products, tagger="rule").shop.catalogue
    released = {product.asin: released_record(product) for product in catalogue.products}
    records = [record for record, _ in released.values()]
    random.Random(0).shuffle(records)
    return records, {asin: wanted for asin, (_, wanted) in released.items()}


def test_a_catalogue_comes_back_from_files(tmp_path):
    write_shop(tmp_path, *released_records(300))
    assert load_catalogue(find_files(tmp_path), 0).products == SUITE.shop.catalogue.products


@pytest.fixture
def large(tmp_path, monkeypatch):
    """The files and the catalogue of a shop that is large enough for the cache, and a folder for that."""
    monkeypatch.setattr(indexing, "CACHED_FROM", 100)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_shop(tmp_path / "data", *released_records(300))
    files = find_files(tmp_path / "data")
    return files, load_catalogue(files, 0)


def notes(capsys) -> list[str]:
    """What was said, line by line."""
    return capsys.readouterr().err.splitlines()


def assert_searches(index: SearchIndex) -> None:
    for task in SUITE.tasks("evaluation", 20):
        assert index.search(task.instruction) == SUITE.shop.index.search(task.instruction)


def test_a_large_index_is_made_once_and_kept(large, tmp_path, monkeypatch):
    made = cached_index(*large, rule="recorded")
    monkeypatch.setattr(
        indexing, "index_catalogue", lambda catalogue, rule: pytest.fail("made a second time")
    )
    kept = cached_index(*large, rule="recorded")
    assert isinstance(made.documents, np.memmap) and isinstance(kept.documents, np.memmap)
    assert_searches(kept)
    # Other data are another index, and so are other words.
    with pytest.raises(pytest.fail.Exception, match="a second time"):
        cached_index(*large, rule="lucene")
    write_shop(tmp_path / "data", *released_records(301))
    with pytest.raises(pytest.fail.Exception, match="a second time"):
        cached_index(find_files(tmp_path / "data"), large[1], "recorded")


@pytest.mark.parametrize("cache", ["in/the/way", "/proc/nohome"])
def test_an_index_that_cannot_be_kept_stays_in_memory(large, tmp_path, monkeypatch, capsys, cache):
    (tmp_path / "in").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
    index = cached_index(*large, rule="recorded")
    assert not isinstance(index.documents, np.memmap)
    assert_searches(index)
    (line,) = notes(capsys)
    assert line.startswith("hgpo: the search index cannot be kept in the user's cache ([Errno ")


def test_without_a_home_folder_an_index_stays_in_memory(large, tmp_path, monkeypatch, capsys):
    def missing(name):
        raise RuntimeError

    monkeypatch.chdir(tmp_path)
    for cache_path in (missing, lambda name: Path("~/.cache") / name):
        monkeypatch.setattr(indexing, "user_cache_path", cache_path)
        assert_searches(cached_index(*large, rule="recorded"))
        (line,) = notes(capsys)
        assert "[Errno 2] no home folder" in line
    assert not (tmp_path / "~").exists()


def test_a_full_disk_leaves_no_half_index(large, tmp_path, monkeypatch, capsys):
    calls = []

    def full(path, array):
        calls.append(path)
        path.touch()
        if len(calls) == 3:
            raise OSError("752774 requested and 41952 written")

    monkeypatch.setattr(np, "save", full)
    assert_searches(cached_index(*large, rule="recorded"))
    (line,) = notes(capsys)
    assert "the disk may be full: 752774 requested" in line
    assert [path.suffix for path in (tmp_path / "cache/hgpo/webshop").iterdir()] == [".lock"]


def shorten(path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def overwrite(path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(byte ^ 1 for byte in content[-8:]))


@pytest.mark.parametrize("damage", [shorten, overwrite, Path.unlink])
def test_a_damaged_index_is_made_again(large, tmp_path, capsys, damage):
    cached_index(*large, rule="recorded")
    (place,) = (path for path in (tmp_path / "cache/hgpo/webshop").iterdir() if path.is_dir())
    names = sorted(path.name for path in place.iterdir())
    for name in names:
        damage(place / name)
        assert_searches(cached_index(*large, rule="recorded"))
        (line,) = notes(capsys)
        assert line == f"hgpo: the search index in {place} is damaged and is built again"
        assert sorted(path.name for path in place.iterdir()) == names
    # A file where the folder should be, and what a killed process has left.
    shutil.rmtree(place)
    place.touch()
    place.with_name(f".{place.name}").mkdir()
    assert isinstance(cached_index(*large, rule="recorded").documents, np.memmap)
    assert sorted(path.name for path in place.parent.iterdir()) == [place.name, f"{place.name}.lock"]


@pytest.mark.slow
def test_a_hundred_thousand_products_fit(tmp_path, monkeypatch):
    # 1.18 million in 10 GB are 850 MB for 100,000; synthetic products have a third of a real one's text.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_shop(tmp_path / "data", *released_records(100_000))
    shop = WebshopSuite(data=str(tmp_path / "data"), tagger="rule").shop
    assert len(shop.catalogue.products) == 100_000 and len(shop.goals) > 500_000
    assert isinstance(shop.index.documents, np.memmap)
    goal = shop.goals[7]
    assert goal.asin in {shop.catalogue.products[n].asin for n in shop.index.search(goal.name)}


# ---- recordings ----


def recording(tmp_path, *, change=lambda steps: None):
    """An episode as the released shop would have recorded it, with one thing changed."""
    shop = SUITE.shop
    task = SUITE.tasks("evaluation", 1)[0]
    goal = task.game
    place = Place()

    def seen() -> dict:
        page = shop.page(place, goal.instruction_text)
        available = {"has_search_bar": page.has_search_bar, "clickables": list(page.clickables)}
        return {"observation": page.observation, "available": available}

    first, steps = seen(), []
    for action in ("think[hm]", *walkthrough_of(task)):
        place = shop.after(place, action) or place
        reward = shop.reward(place, goal) if place.bought else 0.0
        steps.append({"action": action, **seen(), "reward": reward, "done": place.bought})
    change(steps)
    record = {
        "goal": {
            "asin": goal.asin,
            "category": goal.category,
            "query": goal.query,
            "name": goal.name,
            "product_category": goal.product_category,
            "instruction_text": goal.instruction_text,
            "attributes": list(goal.attributes),
            "price_upper": goal.price_upper,
            "goal_options": dict(goal.goal_options),
        },
        "first": first,
        "steps": steps,
    }
    path = tmp_path / "recorded.jsonl"
    prices = {product.asin: product.price for product in shop.catalogue.products}
    path.write_text(f"{json.dumps({'prices': prices})}\n{json.dumps(record)}\n")
    return path


def test_an_equal_recording_is_exact(tmp_path):
    comparison = replay(SUITE, recording(tmp_path))
    assert comparison.exact and (comparison.episodes, comparison.steps, comparison.searches) == (1, 6, 1)
    assert format_comparison(comparison) == (
        "1 episodes, 6 steps compared: all equal\n1 searches, 0 ranked differently"
    )


def swap(steps) -> None:
    clickables = steps[1]["available"]["clickables"]
    clickables[-1], clickables[-2] = clickables[-2], clickables[-1]


def test_another_ranking_is_counted_apart_and_the_rest_is_not_compared(tmp_path):
    comparison = replay(SUITE, recording(tmp_path, change=swap))
    assert (comparison.steps, comparison.differences, comparison.ranked_otherwise) == (1, [], 1)
    assert not comparison.exact


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda steps: steps[-1].update(reward=0.5), "reward"),
        (lambda steps: steps[2].update(done=True), "done"),
        (lambda steps: steps[2]["available"].update(has_search_bar=True), "search bar"),
        (lambda steps: steps[2].update(observation="a"), "observation"),
        (lambda steps: steps[1]["available"]["clickables"].remove("next >"), "clickables"),
        (
            lambda steps: steps[1].update(observation=steps[1]["observation"].replace("Total", "All")),
            "observation",
        ),
    ],
)
def test_any_other_difference_is_told(tmp_path, change, what):
    comparison = replay(SUITE, recording(tmp_path, change=change))
    assert not comparison.exact and what in {difference.what for difference in comparison.differences}


def test_a_recording_of_another_catalogue_says_so(tmp_path):
    smaller = WebshopSuite(data="synthetic", products=299, tagger="rule")
    with pytest.raises(
        SettingError, match=r"another catalogue: B0300 is not in synthetic shop, seed 0; .*--data"
    ):
        replay(smaller, recording(tmp_path))


def test_what_is_no_recording_says_so(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"goal": {}}\n')
    with pytest.raises(SettingError, match="line 1 is not a recorded WebShop episode"):
        replay(SUITE, path)


def test_a_tagger_that_is_not_there_says_what_to_do(monkeypatch):
    monkeypatch.setattr("hgpo.envs.webshop.nouns.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"pip install 'hgpo\[spacy\]'"):
        open_tagger("spacy")
    assert open_tagger("auto")[0] == "rule"
