"""The texts that a policy is trained on before the warm start, and the weight of each answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import ToySuite
from toy_runs import config

from hgpo.agents import LanguageAgent
from hgpo.envs import HouseholdSuite
from hgpo.envs.readings import shares_a_word
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy
from hgpo.random_streams import READING_TASKS, RandomStreams
from hgpo.runs.display import NoDisplay
from hgpo.training.config import ReadingSettings, WarmStart
from hgpo.training.context import open_context
from hgpo.training.imitation import Demonstration, imitate
from hgpo.training.state import find_starting_point
from hgpo.training.warm_start import read

STILL = WarmStart(epochs=1, batch_rows=8, learning_rate=0.0, prompt_weight=0.0)


class Lines(NoDisplay):
    def __init__(self):
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def after_reading(folder, **changes):
    """The embeddings of a new policy before and after it has read, and the lines that were said."""
    settings = config(**{"env": HouseholdSuite(), "tiny": TinyModel(8, 1, 2), **changes})
    display = Lines()
    run = open_context(settings, folder, display)
    start = find_starting_point(run)
    weight = start.policy.model.model.embed_tokens.weight
    before = weight.detach().clone()
    assert isinstance(start.agent, LanguageAgent)
    read(run, start.policy, start.agent)
    return before, weight.detach(), display.lines


def test_answers_count_by_their_weights():
    # Tokens of weight 1 and 0.25: (1 · 2 a + 0.25 · 2 b) / (1 · 2 + 0.25 · 2) with the means a and b of each row.
    policy = create_policy(["a b c d"], TinyModel(8, 1, 2), max_tokens=16, max_commands=1, seed=0)
    one, other = Demonstration((4, 5), (6, 2)), Demonstration((4, 6), (7, 2), 0.25)
    rng = np.random.default_rng(0)
    (a,), (b,), (both,) = (
        imitate(policy, rows, STILL, rng) for rows in ([one], [replace(other, weight=1.0)], [one, other])
    )
    assert a != pytest.approx(b)
    assert both == pytest.approx((2 * a + 0.5 * b) / 2.5)


def test_the_policy_reads_as_much_as_the_settings_say(tmp_path):
    before, after, said = after_reading(tmp_path, reading=ReadingSettings(tasks=6))
    assert not torch.equal(before, after)
    (line,) = said
    assert line.startswith("reading: ") and "texts under titles in hindsight" in line
    _, again, _ = after_reading(tmp_path, reading=ReadingSettings(tasks=6))
    _, other, _ = after_reading(tmp_path, reading=ReadingSettings(tasks=6), seed=1)
    assert torch.equal(after, again) and not torch.equal(after, other)


@pytest.mark.parametrize("changes", [{"reading": ReadingSettings(tasks=0)}, {"env": ToySuite()}])
def test_nothing_is_read_without_texts(tmp_path, changes):
    # No task is asked for, or the suite has no readings, as the toy game.
    before, after, said = after_reading(tmp_path, **changes)
    assert torch.equal(before, after) and not said


def test_random_play_in_which_nothing_is_done_gives_nothing_to_read(tmp_path, monkeypatch):
    monkeypatch.setattr(HouseholdSuite, "readings", lambda self, count, seed: iter(()))
    before, after, said = after_reading(tmp_path, reading=ReadingSettings(tasks=6))
    assert torch.equal(before, after)
    assert said == ["reading: random play of 6 tasks gave no text"]


def test_answers_that_share_no_word_with_the_title_weigh_less(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        "hgpo.training.warm_start.imitate", lambda policy, rows, *rest: given.extend(rows) or [1.0]
    )
    settings = ReadingSettings(tasks=6, other_weight=0.3)
    after_reading(tmp_path, reading=settings)
    seed = RandomStreams(0).integer(READING_TASKS)
    expected = [
        1.0 if shares_a_word(step.command, reading.task.instruction) else 0.3
        for reading in HouseholdSuite().readings(6, seed)
        for step in reading.steps
    ]
    assert {0.3, 1.0} == set(expected) and [row.weight for row in given] == expected
