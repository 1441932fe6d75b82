"""Texts of random play: each title describes the play below it, and the play uses no expert."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hgpo.envs import HouseholdSuite, WebshopSuite
from hgpo.envs.alfworld.suite import TITLES
from hgpo.envs.base import Info, ReadingSuite
from hgpo.envs.commands import listed, random_command
from hgpo.envs.episode import TimeStep, Transition, play_episode
from hgpo.envs.household.goals import Goal, pddl_goal
from hgpo.envs.readings import random_readings, shares_a_word
from hgpo.envs.textgame.deeds import deeds
from hgpo.envs.textgame.engine import Episode, compile_game
from hgpo.envs.textgame.task_types import CLEAN, KINDS, LIGHT, PICK, TWO
from hgpo.envs.webshop.goals import Goal as ShopGoal
from hgpo.envs.webshop.pages import Place

HOUSEHOLD, SHOP = HouseholdSuite(), WebshopSuite(data="synthetic")


def play(*commands: str) -> list[Transition[None]]:
    """Steps of which only the commands matter."""
    now = TimeStep("", Info(commands, None))
    return [Transition(now, command, now, None) for command in commands]


def done(*commands: str) -> list[tuple[int, str, str, str]]:
    return [(deed.steps, deed.kind, deed.thing, deed.target) for deed in deeds(play(*commands))]


def test_a_household_deed_is_what_a_task_of_its_type_asks_for():
    # The same game with the goal that the deed names: by the engine's own judgement it is won after these steps.
    rng = np.random.default_rng(0)
    seen: Counter[str] = Counter()
    for task in HOUSEHOLD.tasks("train", 60, seed=2):
        steps = tuple(
            play_episode(
                replace(HOUSEHOLD, max_steps=200).make(),
                task,
                lambda now: random_command(now.info.admissible_commands, "", rng),
            )
        )
        for deed in deeds(steps):
            if seen[deed.kind] == 3:
                continue
            goal = pddl_goal(Goal(deed.kind, deed.thing, deed.target))
            problem = task.game["pddl_problem"].partition(" (:goal")[0] + f" (:goal {goal}))"
            episode = Episode(compile_game({**task.game, "pddl_problem": problem}))
            for step in steps[: deed.steps]:
                episode.step(step.command)
            assert episode.won, (deed, [step.command for step in steps])
            seen[deed.kind] += 1
    assert set(seen) == set(KINDS)


def test_deeds_by_hand():
    # A mug that is put back where it was taken from is nothing done; a lamp counts with something in hand.
    assert done("go to desk", "take mug", "put mug", "turn on lamp", "take mug", "turn on lamp") == [
        (6, LIGHT, "mug", "lamp")
    ]
    assert done("go to desk", "take mug 1", "clean mug 1", "go to shelf", "put mug 1") == [
        (5, CLEAN, "mug", "shelf")
    ]
    two = (
        "go to desk",
        "take pen 1",
        "go to bed",
        "put pen 1",
        "go to desk",
        "take pen 2",
        "go to bed",
        "put pen 2",
    )
    assert done(*two) == [(4, PICK, "pen", "bed"), (8, PICK, "pen", "bed"), (8, TWO, "pen", "bed")]
    # What was taken away again is not there any more.
    assert done(*two[:4], "take pen 1", *two[4:])[1:] == [(9, PICK, "pen", "bed")]


@pytest.mark.parametrize("put", ["move pen 1 to drawer 2", "put pen 1 in/on drawer 2"])
def test_deeds_in_the_words_of_both_releases_of_alfworld(put):
    # Two drawers can be within reach of one place: the one that the command names counts.
    commands = ("go to desk 1", "take pen 1 from desk 1", "use desklamp 1", "look", "go to drawer 1", put)
    assert done(*commands) == [(3, LIGHT, "pen", "desklamp"), (6, PICK, "pen", "drawer")]
    heated = (
        "go to desk 1",
        "take egg 1 from desk 1",
        "clean egg 1 with sinkbasin 1",
        put.replace("pen", "egg"),
    )
    assert done(*heated) == [(4, CLEAN, "egg", "drawer")]


def test_alfworld_has_titles_for_every_type_of_task():
    assert set(TITLES) == set(KINDS)
    for titles in TITLES.values():
        assert all("{thing}" in title and "{target}" in title for title in titles)


def test_an_episode_is_cut_behind_each_deed_and_every_part_has_its_title():
    # Deeds after 2 and 5 steps: two texts, of the first 2 steps and of the next 3; the rest is left out.
    readings = list(
        random_readings(HOUSEHOLD, 1, 0, lambda steps: iter([(2, "one"), (5, "two"), (5, "two")]))
    )
    assert [(reading.task.instruction, len(reading.steps)) for reading in readings] == [
        ("one", 2),
        ("two", 3),
    ]
    assert readings[0].steps[-1].after == readings[1].steps[0].before


def test_the_same_seed_gives_the_same_texts():
    def texts(seed):
        return [
            (reading.task.instruction, [step.command for step in reading.steps])
            for reading in HOUSEHOLD.readings(20, seed)
        ]

    assert texts(1) == texts(1) != texts(2)


@pytest.mark.parametrize("suite", [HOUSEHOLD, SHOP], ids=lambda suite: suite.name)
def test_readings_have_the_words_of_instructions_and_commands_that_are_understood(suite):
    known = set(re.findall("[a-z]+", " ".join(suite.texts()).lower()))
    assert isinstance(suite, ReadingSuite)
    readings = list(suite.readings(60, seed=1))
    assert len(readings) >= 10
    for reading in readings:
        assert set(re.findall("[a-z]+", reading.task.instruction.lower())) <= known
        for step in reading.steps:
            assert listed(step.command, step.before.info.admissible_commands)


def test_what_a_shopper_bought_is_what_the_title_asks_for():
    # A goal of the product with the options that were chosen, at the price of the title, is rewarded in full.
    shop, options = SHOP.shop, 0
    for reading in SHOP.readings(100, seed=3):
        place, title = Place(), reading.task.instruction
        for step in reading.steps:
            place = shop.after(place, step.command) or place
        assert place.asin is not None
        product = shop.catalogue.by_asin[place.asin]
        bound = float(re.findall(r"price lower than ([0-9.]+) dollars", title)[0])
        goal = ShopGoal(
            asin=product.asin,
            category=product.category,
            query=product.query,
            name=product.title,
            product_category=product.product_category,
            instruction_text=title,
            attributes=product.instruction_attributes,
            price_upper=bound,
            goal_options=tuple(re.findall(r"(\w+): (\w+)", title)),
        )
        assert shop.reward(place, goal) == 1 and product.price < bound <= product.price + 10
        assert title.startswith(f"{product.instruction}")
        options += len(goal.goal_options)
    assert options > 0


def test_a_word_after_the_verb_is_shared():
    title = "put a clean mug in the drawer"
    assert shares_a_word("take mug", title) and shares_a_word("go to drawer 2", title)
    # Not by the verb, not by words that name nothing, not by part of a word.
    assert not shares_a_word("put pen", title)
    assert not shares_a_word("clean pen in the sink", title)
    assert not shares_a_word("take mugs", title)
