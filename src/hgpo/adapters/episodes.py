"""Episodes that a training stack's own server plays, one prompt at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hgpo.adapters.task_stream import TaskReference
from hgpo.envs import ENVIRONMENTS, TaskSuite
from hgpo.envs.base import Task
from hgpo.envs.episode import Transition
from hgpo.errors import SettingError
from hgpo.policies.answers import Answer
from hgpo.policies.base import Completion
from hgpo.registry import create
from hgpo.rollouts.episodes import Decision, Episode, turn_at
from hgpo.rollouts.prompts import RESPONSE_FORMATS, ResponseFormat, Turn


@dataclass(frozen=True)
class Reply(Decision):
    """A decision together with what the server returned."""

    output: Any = None
    """The server's output, which the stack gets back unchanged."""


@dataclass(frozen=True)
class EpisodeSettings:
    """What is played, and what the model sees of it."""

    suite: str = "household"
    """The name of an environment, MODULE:CLASS or FILE.py:CLASS."""
    suite_settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the suite by name."""
    prompt_history: int = 2
    """Number of past steps (observation and action) that a prompt shows."""
    response: str = "think_action"
    """The form of an answer: think_action, text or number."""

    def __post_init__(self) -> None:
        if self.response not in RESPONSE_FORMATS:
            known = ", ".join(RESPONSE_FORMATS)
            raise SettingError(f"response is {self.response!r}: expected one of {known}")
        if self.prompt_history < 0:
            raise SettingError(f"prompt_history is {self.prompt_history}: expected 0 or more")

    def make_suite(self) -> TaskSuite:
        """The suite.

        Raises:
            SettingError: if there is no such suite, or one of its settings is unknown or invalid.
        """
        return create(ENVIRONMENTS.find(self.suite, "suite"), self.suite_settings, "suite_settings")

    @property
    def response_format(self) -> ResponseFormat:
        """How commands are listed in the prompt, and how answers are parsed."""
        return RESPONSE_FORMATS[self.response]


class EpisodePlayer:
    """Plays episodes of one suite."""

    def __init__(self, settings: EpisodeSettings) -> None:
        """Create the suite; SettingError as in `EpisodeSettings.make_suite`."""
        self.settings, self.suite = settings, settings.make_suite()
        # The tasks of one iteration are drawn together, so a few draws suffice.
        self._drawn = lru_cache(maxsize=4)(self.suite.tasks)

    def task(self, reference: TaskReference) -> Task:
        """The task that a reference names."""
        return self._drawn(reference.split, reference.count, reference.seed)[reference.number]

    async def play(
        self, task: Task, ask: Callable[[Turn], Awaitable[tuple[Answer, Any]]]
    ) -> list[Transition[Reply]]:
        """The steps of one episode.

        Args:
            task: the task.
            ask: the model's answer to a turn, and the server's output.

        Raises:
            EnvironmentFault: if the environment fails, or its result is invalid.
        """
        episode: Any = Episode(task, self.suite.make())
        # An environment may wait, such as for a server; other episodes go on in the meantime.
        await asyncio.to_thread(episode.begin)
        while not episode.now.over:
            turn = turn_at(task, episode.steps, episode.now, self.settings.prompt_history)
            answer, output = await ask(turn)
            action = self.settings.response_format.parse(answer, turn.commands)
            await asyncio.to_thread(episode.take, Reply(action, Completion.of_answer(answer), output=output))
        return episode.steps


def player_of_this_process(settings: Mapping[str, Any], place: str) -> EpisodePlayer:
    """The player with these settings, made once per process: episodes share the games of its suite.

    Args:
        settings: values by the names of the fields of `EpisodeSettings`.
        place: where the settings were given, for messages.

    Raises:
        SettingError: if a setting is unknown or invalid.
    """
    return _player(json.dumps(dict(settings), sort_keys=True), place)


@lru_cache(maxsize=4)
def _player(settings: str, place: str) -> EpisodePlayer:
    return EpisodePlayer(create(EpisodeSettings, json.loads(settings), place))
