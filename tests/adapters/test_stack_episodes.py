"""Episodes that a training stack's server plays, and files of tasks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from toy import ToySuite

from hgpo.adapters.episodes import EpisodePlayer, EpisodeSettings, player_of_this_process
from hgpo.adapters.task_stream import TaskReference, write_tasks
from hgpo.errors import SettingError
from hgpo.policies.answers import Answer
from hgpo.random_streams import TASKS, RandomStreams
from hgpo.rollouts.prompts import Turn


def player(**settings: Any) -> EpisodePlayer:
    return EpisodePlayer(EpisodeSettings("toy:ToySuite", {"max_steps": 3}, response="number", **settings))


def test_an_episode():
    """Rejects: a turn of another step, an output at another step, and more history than asked for."""
    turns: list[Turn] = []

    async def ask(turn: Turn) -> tuple[Answer, Any]:
        turns.append(turn)
        return Answer(("#1", "nonsense", "#2")[len(turns) - 1]), f"output {len(turns)}"

    playing = player(prompt_history=1)
    task = playing.task(TaskReference("train", 2, 7, 1))
    assert task == ToySuite().tasks("train", 2, 7)[1]
    steps = asyncio.run(playing.play(task, ask))
    assert [turn.step for turn in turns] == [0, 1, 2]
    assert [len(turn.history) for turn in turns] == [0, 1, 1]
    assert [step.decision.output for step in steps] == ["output 1", "output 2", "output 3"]
    assert [step.decision.action.valid for step in steps] == [True, False, True]
    assert [step.before.observation for step in steps] == [turn.observation for turn in turns]
    assert steps[-1].after.over


def test_what_is_wrong_is_told():
    with pytest.raises(SettingError, match="response is 'words': expected one of number, text, think_action"):
        EpisodeSettings(response="words")
    with pytest.raises(SettingError, match="prompt_history is -1: expected 0 or more"):
        EpisodeSettings(prompt_history=-1)
    with pytest.raises(SettingError, match=r"workflow_args\.suit: no such setting; did you mean suite"):
        player_of_this_process({"suit": "household"}, "workflow_args")
    with pytest.raises(SettingError, match=r"suite_settings\.steps: no such setting"):
        EpisodePlayer(EpisodeSettings("toy:ToySuite", {"steps": 3}))


def test_a_process_makes_its_suite_once():
    settings = {"suite": "toy:ToySuite", "suite_settings": {"max_steps": 3}}
    assert player_of_this_process(settings, "x") is player_of_this_process(
        dict(reversed(settings.items())), "x"
    )
    other = {**settings, "suite_settings": {"max_steps": 4}}
    assert player_of_this_process(other, "x") is not player_of_this_process(settings, "x")


def test_files_of_tasks(tmp_path):
    """Rejects: the same tasks in every iteration, and held-out tasks that are drawn."""
    suite = ToySuite()
    files = write_tasks(tmp_path, suite, iterations=2, per_iteration=3, seed=5)
    assert [file.parent.name for file in files] == list(suite.splits)
    lines = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    draws = [RandomStreams(5).integer(TASKS, iteration) for iteration in (0, 1)]
    assert lines[0] == [
        {"split": suite.splits[0], "count": 3, "seed": draw, "number": number}
        for draw in draws
        for number in range(3)
    ]
    for split, of_split in zip(suite.splits[1:], lines[1:], strict=True):
        expected = range(len(suite.tasks(split)))
        assert of_split == [
            {"split": split, "count": None, "seed": 0, "number": number} for number in expected
        ]
