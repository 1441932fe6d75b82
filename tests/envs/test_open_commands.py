"""Commands with a place for words: which texts name them, in each way to answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgpo.agents.untrained_prompts import Plain, ReAct
from hgpo.envs.base import Info, Task
from hgpo.envs.commands import fill, filled_by_chance, listed
from hgpo.envs.episode import TimeStep
from hgpo.rollouts.agent import Situation
from hgpo.rollouts.prompts import CommandNumber, CommandText, ThinkAction

COMMANDS = ("click[b01]", "click[x large]", "click[xlarge]", "search[<words>]")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("search[red mug]", (3, "search[red mug]")),
        ("SEARCH[ Red   Mug ]", (3, "search[red mug]")),
        ("search [ red mug ]", (3, "search[red mug]")),  # as a model of word tokens writes it
        ("search[a]b]", (3, "search[a]b]")),
        ("click [ B 01 ]", (0, "click[b01]")),
        # Commands that differ by spaces alone are told apart by them; where that fails, the first is meant.
        ("click[x large]", (1, "click[x large]")),
        ("click[xlarge]", (2, "click[xlarge]")),
        ("click[x  lar ge]", (1, "click[x large]")),
        ("search[]", None),
        ("search[  ]", None),
        ("search[red", None),
        ("research[red]", None),
        ("click[b02]", None),
        ("click[b01] please", None),
        ("", None),
    ],
)
def test_which_command_a_text_names(text, found):
    assert listed(text, COMMANDS) == found


def test_a_command_listed_word_for_word_goes_before_one_that_merely_fits():
    commands = ("search[<words>]", "search[red mug]")
    assert listed("search[red mug]", commands) == (1, "search[red mug]")


@pytest.mark.parametrize(
    "text", ["search[" * 150_000, " " * 10**6, "search[" + " " * 10**6 + "x" + " " * 10**6]
)
def test_long_texts_take_no_longer_than_they_are(text):
    # A pattern that tries every split of the spaces would take hours.
    assert listed(text, COMMANDS) is None


FORMATS = [CommandNumber(), CommandText(), ThinkAction()]


@pytest.mark.parametrize("response_format", FORMATS, ids=lambda f: type(f).__name__)
@given(words=st.lists(st.text("abc7'", min_size=1), min_size=1, max_size=5), listed_one=st.integers(0, 2))
def test_what_is_answered_is_understood(response_format, words, listed_one):
    for command in (f"search[{' '.join(words)}]", COMMANDS[listed_one]):
        action = response_format.parse(response_format.answer(command, COMMANDS), COMMANDS)
        assert (action.command, action.valid) == (command, True)


def test_a_number_takes_words_only_where_the_command_does():
    parse = CommandNumber().parse
    assert CommandNumber().answer("search[red mug]", COMMANDS) == "#4 red mug"
    assert parse("#4 red  mug", COMMANDS).command == "search[red mug]"
    for wrong in ("#4", "#4 ", "#1 red", "#5 red", "#4red"):
        assert not parse(wrong, COMMANDS).valid, wrong


@pytest.mark.parametrize("response_format", FORMATS, ids=lambda f: type(f).__name__)
def test_no_answer_names_a_command_that_is_not_listed(response_format):
    with pytest.raises(ValueError, match="not in the list"):
        response_format.answer("click[b02]", COMMANDS)


def test_a_chat_model_is_told_to_fill_the_place_for_words():
    hint = "Write words of your own in place of <words>."
    task = Task("t", "kind", "buy", None)
    for commands, told in ((COMMANDS, True), (COMMANDS[:3], False)):
        situation = Situation(
            task, "t/0", (), TimeStep("a shop", Info(commands, None)), np.random.default_rng(0)
        )
        for prompting in (Plain(0), ReAct(None)):
            assert prompting.messages(situation, (), 0)[-1]["content"].endswith(hint) == told


def test_chance_fills_in_neighbouring_words_of_the_instruction():
    rng = np.random.default_rng(0)
    filled = {filled_by_chance("search[<words>]", "find a red mug", rng.random) for _ in range(300)}
    # From each of the 4 words on, 1 to 4 words, as far as there are: 4 + 3 + 2 + 1 texts.
    words = "find a red mug".split()
    assert filled == {
        fill("search[<words>]", " ".join(words[i:j])) for i in range(4) for j in range(i + 1, 5)
    }
    assert filled_by_chance("click[b01]", "find a red mug", rng.random) == "click[b01]"
