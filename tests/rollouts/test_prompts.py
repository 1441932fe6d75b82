"""Prompts and answers as text: what the agent reads is pinned word for word."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgpo.rollouts.prompts import (
    RESPONSE_FORMATS,
    CommandNumber,
    CommandText,
    PromptTooLongError,
    ThinkAction,
    Turn,
    fit_prompts,
)

TURN = Turn(
    instruction="put a mug in the sink",
    history=(("in the room: sink, table.", "go to table"), ("at table: mug.", "take mug")),
    observation="at table: nothing. holding mug.",
    commands=("go to sink", "put mug"),
)


def test_the_prompt_with_commands_as_text():
    assert CommandText().prompt(TURN) == (
        "task: put a mug in the sink\n"
        "saw: in the room: sink, table.\n"
        "did: go to table\n"
        "saw: at table: mug.\n"
        "did: take mug\n"
        "now: at table: nothing. holding mug.\n"
        "go to sink\n"
        "put mug\n"
        "answer:"
    )


def test_the_prompt_with_numbered_commands():
    assert CommandNumber().prompt(TURN).endswith("go to sink #1\nput mug #2\nanswer:")


def test_the_prompt_for_chat_models():
    # Four steps were taken and the last two are shown: they are steps 3 and 4, and it is now step 5.
    assert ThinkAction().prompt(replace(TURN, step=4)) == (
        "You play a text game, one command at a time.\n"
        "Your task: put a mug in the sink\n"
        "You have taken 4 steps. The last 2:\n"
        "Step 3 saw: in the room: sink, table.\n"
        "Step 3 did: go to table\n"
        "Step 4 saw: at table: mug.\n"
        "Step 4 did: take mug\n"
        "Now, at step 5, you see: at table: nothing. holding mug.\n"
        "Possible commands:\n"
        "- go to sink\n"
        "- put mug\n"
        "Think about what to do next within <think> </think>. "
        "Then give one of the possible commands within <action> </action>."
    )


@pytest.mark.parametrize(
    ("response", "command", "valid"),
    [
        ("<think>The sink.</think>\n<action>Put  mug</action>", "put mug", True),
        ("< think > it < / think > < action > put mug < / action >", "put mug", True),
        ("<action>put mug</action>", "put mug", False),  # no thought
        # The thought is not closed, so its action is a part of it.
        ("<think>it <action>put mug</action>", "", False),
        ("<think></think><action>eat mug</action>", "eat mug", False),  # not admissible
        ("<think></think><action>put mug</action><action>go to sink</action>", "go to sink", False),
        ("<think></think> put mug", "put mug", False),
    ],
)
def test_thoughts_and_actions_are_told_apart(response, command, valid):
    action = ThinkAction().parse(response, TURN.commands)
    assert (action.command, action.valid) == (command, valid)


@pytest.mark.parametrize(
    ("response", "command", "valid"),
    [("#2", "put mug", True), (" 2 ", "put mug", True), ("#0", "#0", False), ("#3", "#3", False), ("put mug", "put mug", False), ("#2 #1", "#2 #1", False)],
)  # fmt: skip
def test_numbers_are_understood(response, command, valid):
    action = CommandNumber().parse(response, TURN.commands)
    assert (action.command, action.valid) == (command, valid)


@pytest.mark.parametrize(
    ("response", "command", "valid"),
    [
        (" Put  mug\n", "put mug", True),
        ("put", "put", False),
        ("put mug now", "put mug now", False),
        ("", "", False),
    ],
)
def test_texts_are_understood(response, command, valid):
    action = CommandText().parse(response, TURN.commands)
    assert (action.command, action.valid) == (command, valid)


@given(
    st.lists(st.text("abc ", min_size=1).filter(lambda text: text.strip() == text), min_size=1, unique=True)
)
def test_every_answer_is_understood_as_the_command_that_it_names(commands):
    # Two commands that differ in spaces alone are one to CommandText, which shows them as one; leave them out.
    commands = list({" ".join(command.split()): command for command in commands}.values())
    for response_format in RESPONSE_FORMATS.values():
        for command in commands:
            action = response_format.parse(response_format.answer(command, commands), commands)
            assert (action.command, action.valid) == (command, True)


def test_the_oldest_history_is_left_out_first():
    def encode(texts):
        return [tuple(text.split()) for text in texts]

    one = Turn(TURN.instruction, TURN.history[1:], TURN.observation, TURN.commands)
    whole, shorter = encode([CommandText().prompt(TURN), CommandText().prompt(one)])
    # Of two turns the longer alone is cut, and each keeps its place.
    assert fit_prompts([TURN, one], CommandText(), encode, len(whole)) == [whole, shorter]
    assert fit_prompts([one, TURN, one], CommandText(), encode, len(whole) - 1) == [shorter] * 3
    with pytest.raises(PromptTooLongError, match="needs 19 tokens without any history, but may have 5"):
        fit_prompts([TURN], CommandText(), encode, 5)
