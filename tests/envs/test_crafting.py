"""Crafting: what commands do, recipes of the depth that is asked for, and the fewest commands."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_games import after, fewest

from hgpo.envs import CraftingSuite
from hgpo.envs.crafting.game import FULL, LACKING, NO_MATERIAL, NO_RECIPE, UNREADABLE, CraftingGame
from hgpo.envs.crafting.readings import solved_by
from hgpo.envs.crafting.recipes import MATERIALS, MOST_OF_EACH, RecipeBook, depth_of, draw_book, plan, total
from hgpo.envs.generated import is_held_out

BOOK = RecipeBook(
    "lamp",
    2,
    (("lamp", (("glass", 2), ("coal", 1))), ("glass", (("sand", 1),)), ("anchor", (("iron", 2),))),
)
"""A lamp is made of two glasses and a coal, a glass of sand; the anchor is of no use."""
GAME = CraftingGame(BOOK, show_inventory=True)


def play(*commands: str) -> tuple[dict[str, int], str]:
    """The inventory after some commands, and what was said to the last one."""
    state, said = GAME.start(), ""
    for command in commands:
        state, said = after(GAME, state, command)
    return dict(state), said


def test_things_are_got_and_crafted():
    assert play("get 2 sand", "get coal") == ({"sand": 2, "coal": 1}, "done.")
    assert play("get 2 sand", "craft glass") == ({"glass": 1, "sand": 1}, "done.")
    assert play("get 2 sand", "craft 2 glass using 2 sand") == ({"glass": 2}, "done.")
    inventory, _ = play("get 2 sand", "craft 2 glass", "get coal", "craft lamp using 2 glass, 1 coal")
    assert inventory == {"lamp": 1}
    assert GAME.outcome(tuple(inventory.items())) == "won"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("get glass", NO_MATERIAL),
        ("get moonlight", NO_MATERIAL),
        ("get 1 sand using 1 coal", NO_MATERIAL),
        ("craft sand", NO_RECIPE),
        ("craft 1 glass using 1 coal", NO_RECIPE),
        ("craft 2 glass using 1 sand", NO_RECIPE),
        ("craft 3 glass", f"{LACKING} 1 sand."),
        ("craft lamp", f"{LACKING} 2 glass, 1 coal."),
        ("get 19 sand", FULL),
        ("get 0 sand", UNREADABLE),
        ("get 100 sand", UNREADABLE),
        ("get the sand", UNREADABLE),
        ("craft ", UNREADABLE),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(command, said):
    assert play("get 2 sand", command) == ({"sand": 2}, said)


def test_what_is_seen_with_and_without_the_inventory():
    task = CraftingSuite().tasks("train", 1)[0]
    material = MATERIALS[0]
    seen, hidden = [], []
    for suite, texts in ((CraftingSuite(), seen), (CraftingSuite(show_inventory=False), hidden)):
        environment = suite.make()
        texts.append(environment.reset(task)[0])
        texts += [environment.step(command)[0] for command in (f"get 2 {material}", "inventory", "sing")]
    held = f"you have: 2 {material}."
    assert seen == ["you have: nothing.", f"done.\n{held}", held, f"nothing happens.\n{held}"]
    assert hidden == ["you have: nothing.", "done.", held, "nothing happens."]


def test_what_is_needed_by_hand():
    # Two glasses, so two sand; of what is there already less is needed.
    assert total(BOOK, {}) == {"lamp": 1, "glass": 2, "coal": 1, "sand": 2}
    assert plan(BOOK, {}) == ("get 2 sand", "get 1 coal", "craft 2 glass", "craft 1 lamp")
    assert plan(BOOK, {"glass": 1, "coal": 5}) == ("get 1 sand", "craft 1 glass", "craft 1 lamp")
    assert plan(BOOK, {"lamp": 1}) == ()


def every_command(book: RecipeBook) -> list[str]:
    """All commands that may help."""
    names = [*book.ingredients, *{part for _, parts in book.recipes for part, _ in parts}]
    return [f"{verb} {n} {name}" for verb in ("get", "craft") for n in (1, 2, 3, 4) for name in names]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_no_way_is_shorter_than_the_expert_s(seed):
    book = draw_book(random.Random(seed), 2, 12)
    way = plan(book, {})
    if len(way) <= 4 and max(total(book, {}).values()) <= 4:
        game = CraftingGame(book, True)
        assert fewest(game, game.start(), lambda _: every_command(book), len(way)) == len(way)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_books_are_as_deep_as_asked_for_and_lead_to_the_target(seed, depth):
    book = draw_book(random.Random(seed), depth, 12)
    assert depth_of(book, book.target) == book.depth == depth
    assert all(
        part in MATERIALS or part in book.ingredients for _, parts in book.recipes for part, _ in parts
    )
    game = CraftingGame(book, show_inventory=False)
    state = game.start()
    for command in plan(book, {}):
        assert game.outcome(state) == "playing"
        state, said = after(game, state, command)
        assert said == "done."
    assert game.outcome(state) == "won" and len(plan(book, {})) <= 12


def test_what_random_play_solves_by_hand():
    # The iron, the second coal and a third glass are of no use for a lamp, nor are attempts at an anchor. The
    # first lamp lacks glass, and the glass lacks sand, which comes next; the second lamp lacks coal.
    solved = solved_by(
        replace(BOOK, target="anchor", depth=1),
        [
            *("get 1 iron", "craft 1 lamp", "craft 1 glass", "craft 1 anchor", "get 2 sand", "craft 2 glass"),
            *("craft 2 lamp", "get 1 coal", "get 1 coal", "get 1 sand", "craft 1 glass", "craft 1 lamp"),
        ],
    )
    assert solved is not None
    book, commands = solved
    assert book == BOOK
    assert commands == (
        *("craft 1 lamp", "craft 1 glass", "get 2 sand", "craft 2 glass"),
        *("craft 2 lamp", "get 1 coal", "craft 1 lamp"),
    )
    assert solved_by(BOOK, ["get 1 sand", "craft 1 lamp"]) is None


def test_attempts_that_do_not_lack_what_comes_next_are_left_out():
    # The first glass lacks sand, but coal comes next; no lamp needs the bottle that lacks sand. A lamp that
    # lacks glass comes before the glasses.
    book = replace(BOOK, recipes=(*BOOK.recipes, ("bottle", (("sand", 1),))))
    useless = ["craft 1 glass", "get 1 coal", "craft 1 bottle"]
    rest = ["get 2 sand", "craft 1 lamp", "craft 2 glass", "craft 1 lamp"]
    assert solved_by(book, [*useless, *rest]) == (book, ("get 1 coal", *rest))


def test_readings_solve_tasks_that_are_not_held_out():
    suite = CraftingSuite()
    readings = list(suite.readings(200, seed=0))
    assert len(readings) >= 100 and {reading.task.kind for reading in readings} >= {"depth 1", "depth 2"}
    for reading in readings:
        book = reading.task.game
        assert not is_held_out(suite.identity(book))
        assert (reading.task.kind, reading.task.instruction) == (suite.kind(book), suite.instruction(book))
        *before, last = (step.after.info.won for step in reading.steps)
        assert last and not any(before)
    assert [reading.task for reading in suite.readings(20, seed=0)] == [
        reading.task for reading in readings[: len(list(suite.readings(20, seed=0)))]
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.text(max_size=20), max_size=5))
def test_no_text_gives_something_for_nothing(seed, words):
    # Whatever is said, numbers stay between 1 and the most that fit, and nothing unknown is held.
    book = draw_book(random.Random(seed), 3, 12)
    game, rng = CraftingGame(book, True), random.Random(seed)
    names = [*MATERIALS, *book.ingredients]
    state = game.start()
    for text in [*words, *(f"get {rng.randint(0, 30)} {rng.choice(names)}" for _ in range(20)), *names]:
        for command in (text, f"get {text}", f"craft {text}"):
            found = game.after(state, command)
            if found is not None:
                assert (
                    not found[0]
                    or 1 <= min(dict(found[0]).values()) <= max(dict(found[0]).values()) <= MOST_OF_EACH
                )
                assert {name for name, _ in found[0]} <= set(names)
                state = found[0]
