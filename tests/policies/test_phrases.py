"""Phrases of several words that are one token each, and the tokenizer that has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hgpo.envs import HouseholdSuite
from hgpo.errors import SettingError
from hgpo.policies.phrases import frequent_phrases
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy, word_tokenizer
from hgpo.rollouts.prompts import CommandText
from hgpo.rollouts.token_lengths import random_turns

SUITE = HouseholdSuite()
TURNS = random_turns(SUITE, SUITE.tasks("train", 12, seed=3), np.random.default_rng(0))
PROMPTS = [CommandText().prompt(turn) for turn in TURNS]
COMMANDS = sorted({command for turn in TURNS for command in turn.commands})
PHRASES = frequent_phrases(PROMPTS, 25)


def test_the_two_tokens_that_follow_one_another_most_often_are_joined_first():
    # "go to" 3 times, "to sea" 2 times. With "go to" one token, "go to sea" 2 times and "to sea" never.
    assert frequent_phrases(["Go to sea", "go to sea", "go to, sea"], 2) == ["go to", "go to sea"]


def test_only_words_of_most_texts_are_joined():
    # "the mug" is there twice, but "mug" is in two of eight texts; "put" and "the" are in all of them.
    texts = [f"put the {name}" for name in ("mug", "pen", "book", "cup") for _ in range(2)]
    assert frequent_phrases(texts, 9) == ["put the"]


def test_numbers_are_not_joined():
    assert frequent_phrases(["put mug 1 #2"] * 3, 9) == ["put mug"]


def test_the_end_of_a_line_is_not_joined_with_the_next():
    # Neither "b a" across the lines, which is there twice, nor anything that is there once.
    assert frequent_phrases(["a b\na b"] * 2, 9) == ["a b"]
    assert frequent_phrases(["a b"], 9) == []


def test_a_phrase_does_not_end_within_a_word():
    tokenizer = word_tokenizer(["go to go tomato ."], 0, ["go to"])
    assert tokenizer.tokenize("go to. go tomato") == ["go to", ".", "go", "tomato"]


def test_the_longest_phrase_is_the_token():
    tokenizer = word_tokenizer(["a b c d"], 0, ["a b", "a b c"])
    assert tokenizer.tokenize("a b c d a b d") == ["a b c", "d", "a b", "d"]


@given(st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=5))
def test_what_is_decoded_is_the_command_itself(commands):
    tokenizer = word_tokenizer(SUITE.texts(), 9, PHRASES)
    decoded = tokenizer.batch_decode(tokenizer(commands).input_ids)
    assert decoded == commands


def test_names_have_one_token_wherever_they_stand():
    # In the task, in what is seen and in the command: a model finds again what it is told to look for.
    tokenizer = word_tokenizer(SUITE.texts(), 9, PHRASES)
    (mug,) = tokenizer("mug").input_ids
    for text in ("put a mug on the desk", "saw: at desk: mug. holding nothing.", "take mug", "did: put mug"):
        assert tokenizer(text).input_ids.count(mug) == 1


def test_prompts_get_shorter_and_are_read_the_same_after_saving(tmp_path):
    tokenizer = word_tokenizer(SUITE.texts(), 9, PHRASES)
    words = word_tokenizer(SUITE.texts(), 9)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    short, long = (tokens(PROMPTS).input_ids for tokens in (tokenizer, words))
    assert loaded(PROMPTS).input_ids == short
    assert sum(map(len, short)) < 0.7 * sum(map(len, long))
    # No word is lost: the same words, in the same order, with and without phrases.
    assert [text.split() for text in words.batch_decode(words(tokenizer.batch_decode(short)).input_ids)] == [
        text.split() for text in words.batch_decode(long)
    ]


def test_without_merges_every_word_is_a_token():
    shape = TinyModel(16, 1, 2, merges=0)
    texts = list(SUITE.texts())
    policy = create_policy(texts, shape, max_tokens=8, max_commands=9, seed=0, prompts=PROMPTS)
    assert policy.tokenizer.get_vocab() == word_tokenizer(texts, 9).get_vocab()


def test_fewer_than_no_merges_are_refused():
    with pytest.raises(SettingError, match=r"--tiny.merges is -1: expected a number of at least 0"):
        TinyModel(merges=-1)
