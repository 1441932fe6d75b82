"""Texts of random play, with titles that name what the player happened to do.

A pretrained language model connects "mug" in its task with "mug" in a command. A model made from scratch
learns this from such texts, which replace pretraining and need no expert and no reward. The idea of naming
goals in hindsight comes from hindsight experience replay (arXiv 1707.01495).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from hgpo.envs.base import Reading, Task, TaskSuite
from hgpo.envs.commands import random_command
from hgpo.envs.episode import TimeStep, Transition, play_episode

Deeds = Callable[[Sequence[Transition[Any]]], Iterator[tuple[int, str]]]
"""Finds what was done in an episode: after how many steps, and the title that names it."""

FUNCTION_WORDS = frozenset(
    "a an and another at for from in it me of on than the them to two under with".split()
)
"""Words that do not name things."""


def random_readings(suite: TaskSuite, count: int, seed: int, deeds: Deeds) -> Iterator[Reading]:
    """Random play of training tasks, cut after each deed, which gives the title of the part before it.

    Args:
        suite: plays the tasks.
        count: number of tasks played; the steps after the last deed of an episode are left out.
        seed: seed of the tasks, the commands and the titles.
        deeds: finds and names what was done.
    """
    rng = np.random.default_rng(seed)
    environment = suite.make()

    def choose(task: Task, now: TimeStep) -> str:
        return random_command(now.info.admissible_commands, task.instruction, rng)

    for task in suite.tasks(suite.splits[0], count, seed):
        steps = tuple(play_episode(environment, task, partial(choose, task)))
        start = 0
        for end, done in groupby(deeds(steps), key=itemgetter(0)):
            titles = [title for _, title in done]
            title = titles[int(rng.integers(len(titles)))]
            yield Reading(replace(task, instruction=title), steps[start:end])
            start = end


def shares_a_word(command: str, title: str) -> bool:
    """Whether a word of the command other than the first, its verb, names something in the title."""
    words, of_title = (re.findall("[a-z]+", text.lower()) for text in (command, title))
    return bool(set(words[1:]) & set(of_title) - FUNCTION_WORDS)
