"""Thoughts are separated from answers in every form, and invalid answers are counted by reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgpo.agents.untrained_prompts import ReAct
from hgpo.policies.answers import Answer, InvalidReason, begun_by, left_to_write, read_answer
from hgpo.rollouts.prompts import CommandNumber, CommandText, ThinkAction

COMMANDS = ("go to bin", "take mug")


@pytest.mark.parametrize(
    ("prompt", "begun"),
    [
        # DeepSeek-R1-Distill, QwQ, Qwen3-Thinking: the template opens the thought.
        ("<|im_start|>assistant\n<think>\n", "<think>\n"),
        # Qwen3 with enable_thinking=False: the template gives an empty one.
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
        # A thought that is not empty is over, too.
        ("<think>\nI need not think.\n</think>\n", "</think>\n"),
        ("[INST] hi [/INST][THINK]", "[THINK]"),
        # Our own prompt speaks of the tags, but does not end in them.
        ("Think within <think> </think>. Answer within <action> </action>.", ""),
        ("<think>\nuser:", ""),
        ("", ""),
    ],
)
def test_what_a_prompt_has_begun_of_a_thought(prompt, begun):
    assert begun_by(prompt) == begun


@pytest.mark.parametrize(
    ("written", "begun", "reasoning", "thought", "text"),
    [
        ("go", "", None, None, "go"),
        ("<think>near</think>go", "", None, "near", "go"),
        ("near</think>go", "<think>\n", None, "near", "go"),
        # A model that repeats the tag that its prompt ends in.
        ("<think>near</think>go", "<think>\n", None, "<think>near", "go"),
        # A server does not tell how its prompt ended.
        ("near\n</think>\n\ngo", "", None, "near", "go"),
        ("go", "<think>\n\n</think>\n\n", None, "", "go"),
        ("go", "", "near", "near", "go"),
        ("go", "", "", "", "go"),
        ("<think>b</think>go", "", "a", "a\nb", "go"),
        ("[THINK]near[/THINK]go", "", None, "near", "go"),
        ("<|START_THINKING|>near<|END_THINKING|>go", "", None, "near", "go"),
        ("<|begin_of_thought|>near<|end_of_thought|>go", "", None, "near", "go"),
        ("< THINK >near< / Think >go", "", None, "near", "go"),
        # Kimi, Gemma 4, gpt-oss, and Command A, which marks its answer, too.
        ("◁think▷near◁/think▷go", "", None, "near", "go"),
        ("<|channel>thought\nnear<channel|>go", "", None, "near", "go"),
        (
            "<|channel|>analysis<|message|>near<|end|><|start|>assistant<|channel|>final<|message|>go",
            "",
            None,
            "near",
            "go",
        ),
        ("<|channel|>final<|message|>go", "", None, None, "go"),
        (
            "near<|END_THINKING|><|START_RESPONSE|>go<|END_RESPONSE|>",
            "<|START_THINKING|>",
            None,
            "near",
            "go",
        ),
        # Never closed: all of it is thought.
        ("<think>near go", "", None, "near go", ""),
        ("near go", "<think>\n", None, "near go", ""),
        # Thoughts between the parts of an answer.
        ("<think>a</think>go <think>b</think>to bin", "", None, "a\nb", "go to bin"),
        # A thought that quotes the tags: the last closing tag ends it.
        ("<think>close with </think> then go</think>left", "", None, "close with\nthen go", "left"),
        ("<think>a</think>go</think>", "", None, "a", "go"),
    ],
)
def test_thoughts_are_taken_out_however_they_come(written, begun, reasoning, thought, text):
    assert read_answer(written, begun=begun, reasoning=reasoning) == Answer(text, thought)


@pytest.mark.parametrize(
    ("begun", "left"),
    [
        ("", "<think>near</think> go"),
        ("<think>\n", "near</think>\n\ngo"),
        ("< Thinking >", "near</thinking>\n\ngo"),
        ("[THINK]", "near[/THINK]\n\ngo"),
        ("<|START_THINKING|>", "near<|END_THINKING|>\n\ngo"),
        ("<|channel>thought\n", "near<channel|>\n\ngo"),
        ("<think>\n\n</think>\n\n", "go"),
        ("</think>\n", "go"),
    ],
)
def test_what_is_left_to_write_of_an_answer_that_the_prompt_has_begun(begun, left):
    assert left_to_write("<think>near</think> go", begun) == left
    # Without a thought of its own, the answer closes the one that the prompt has opened.
    assert left_to_write("go", begun) == left.replace("near", "").replace("<think></think> ", "")
    for written in ("<think>near</think> go", "go"):
        assert read_answer(left_to_write(written, begun), begun=begun).text == "go"


@given(st.text("ab <>/action"), st.sampled_from(COMMANDS))
def test_an_action_within_the_thought_is_never_taken(words, command):
    # Whatever stands in the thought, the one action behind it counts.
    for other in COMMANDS:
        thought = f"{words}<action>{other}</action>"
        for answer in (
            read_answer(f"<think>{thought}</think><action>{command}</action>"),
            read_answer(f"{thought}</think><action>{command}</action>", begun="<think>\n"),
            read_answer(f"<action>{command}</action>", reasoning=thought),
        ):
            action = ThinkAction().parse(answer, COMMANDS)
            assert (action.command, action.valid) == (command, True)


GOOD = "<think>near</think><action>go to bin</action>"


@pytest.mark.parametrize(
    ("response_format", "written", "ended", "reason"),
    [
        (ThinkAction(), GOOD, "stop", None),
        # The limit was reached, but the action was complete.
        (ThinkAction(), GOOD, "length", None),
        (ThinkAction(), "<action>go to bin</action>", "stop", "no_thought"),
        (ThinkAction(), "<think>go to bin</think>", "stop", "no_action"),
        (ThinkAction(), "<think><action>go to bin</action>", "stop", "no_action"),
        (ThinkAction(), "<think>I should", "length", "cut_off"),
        (ThinkAction(), "<think>a</think><action>go to", "length", "cut_off"),
        (ThinkAction(), GOOD + "<action>take mug</action>", "stop", "two_actions"),
        (ThinkAction(), GOOD + "<action>take mug</action>", "length", "two_actions"),
        (ThinkAction(), "<think></think><action>fly</action>", "stop", "not_listed"),
        (ThinkAction(), "<think></think><action>fly</action>", "length", "not_listed"),
        (ThinkAction(), "", "stop", "no_content"),
        (ThinkAction(), " \n", "stop", "no_content"),
        (ThinkAction(), "", "length", "cut_off"),
        (ThinkAction(), "", "tool_call", "tool_call"),
        (ThinkAction(), "I cannot help with that.", "refused", "refused"),
        (CommandText(), "Go  to bin", "length", None),
        (CommandText(), "go to", "length", "cut_off"),
        (CommandText(), "go to", "stop", "not_listed"),
        (CommandText(), "<think>go to bin", "stop", "no_action"),
        (CommandText(), "", "stop", "no_content"),
        (CommandNumber(), "#1", "length", None),
        (CommandNumber(), "<think>the bin is #1</think>#2", "stop", None),
        (CommandNumber(), "#3", "length", "not_listed"),
        # A longer answer would not be a number, either.
        (CommandNumber(), "bin", "length", "no_action"),
        (CommandNumber(), "<think>bin", "length", "cut_off"),
        (ReAct(None), "<think>Action: take mug</think>Thought: near\nAction: go to bin", "stop", None),
        (ReAct(None), "Thought: near", "stop", "no_action"),
        (ReAct(None), "Thought: near", "length", "cut_off"),
        (ReAct(None), "Action: go to", "length", "cut_off"),
        (ReAct(None), "Action: fly\nObservation: a", "length", "not_listed"),
    ],
)
def test_each_invalid_answer_has_its_reason(response_format, written, ended, reason):
    action = response_format.parse(read_answer(written, ended=ended), COMMANDS)
    assert action.invalid == (None if reason is None else InvalidReason(reason))
    assert action.valid == (reason is None)
