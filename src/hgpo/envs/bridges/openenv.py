"""An environment behind a server of OpenEnv as a task suite: a task is a seed."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.request import urlopen

from hgpo.envs.bridges.seeds import HELD_OUT_SEEDS, SPLITS
from hgpo.envs.commands import ANY_TEXT
from hgpo.envs.plain import from_class
from hgpo.errors import SettingError

TRAINING_SEEDS = 10_000
"""Training tasks are the seeds below this number."""
ANSWER_SECONDS = 10.0
"""How long the server may take to say what its actions are."""


@dataclass
class OpenEnv:
    """An environment behind a server of OpenEnv; every episode is a session of its own there."""

    url: str = "http://localhost:8000"
    """The server."""
    instruction: str = "achieve the goal"
    """What the agent is told to achieve."""
    action_field: str | None = None
    """The field of an action that takes the agent's text; None: the only one that an action requires."""
    text_field: str | None = None
    """The field of an observation that the agent reads; None: all of them, one per line."""
    commands_field: str | None = None
    """The field of an observation that lists the admissible commands; None: any text is admissible."""
    state_field: str | None = None
    """The field of an observation that is equal in two states if they count as the same to the estimator;
    None: what the agent reads."""
    reward_scale: float = 10.0
    """Rewards are multiplied by this number."""
    held_out: int = 100
    """Number of held-out tasks."""
    concurrency: int = 16
    """Steps that run at the same time; an iteration needs a session per episode all the same."""

    def __post_init__(self) -> None:
        self._client: Any = None
        self._seen: Mapping[str, Any] = {}

    async def reset(self, task: tuple[int, str]) -> str:
        """Start the task of a seed."""
        from openenv.core import GenericEnvClient

        if self._client is None:
            self._client = GenericEnvClient(base_url=self.url)
            weakref.finalize(self, _close, self._client, asyncio.get_running_loop())
            await self._client.connect()
        return self._read(await self._client.reset(seed=task[0]))

    async def step(self, command: str) -> tuple[str, float, bool]:
        """Send the command as an action; the server's words where it refuses the action."""
        name, kind = _field_of_actions(self.url, self.action_field)
        try:
            result = await self._client.step({name: command if kind == "string" else json.loads(command)})
        except (json.JSONDecodeError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "VALIDATION_ERROR" not in str(error):
                raise
            return f"not an action: {str(error).splitlines()[0]}\n{self._text}", 0.0, False
        return self._read(result), self.reward_scale * float(result.reward or 0.0), bool(result.done)

    def commands(self) -> Sequence[str]:
        """The admissible commands."""
        if self.commands_field is None:
            return ANY_TEXT
        return [_as_text(each) for each in self._field(self.commands_field)]

    def state_key(self) -> str:
        """What the state field holds, or what the agent reads."""
        return self._text if self.state_field is None else json.dumps(self._field(self.state_field))

    def _read(self, result: Any) -> str:
        self._seen = {name: value for name, value in result.observation.items() if name != "metadata"}
        return self._text

    @property
    def _text(self) -> str:
        names = list(self._seen) if self.text_field is None else [self.text_field]
        texts = [_as_text(self._field(name)) for name in names]
        if len(texts) == 1:
            return texts[0]
        return "\n".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))

    def _field(self, name: str) -> Any:
        if name not in self._seen:
            raise KeyError(f"the observation has no field {name}, only {', '.join(self._seen)}")
        return self._seen[name]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@cache
def _field_of_actions(url: str, name: str | None) -> tuple[str, str]:
    """The name and the JSON type of the action's field that takes the agent's text.

    Raises:
        SettingError: if no server answers, if it has no such field, or if none is named and there is not
            exactly one that is required.
    """
    try:
        with urlopen(re.sub("^ws", "http", url).rstrip("/") + "/schema", timeout=ANSWER_SECONDS) as answer:
            schema = json.load(answer)["action"]
    except (OSError, ValueError, KeyError) as error:
        raise SettingError(f"--env.url {url}: no server of OpenEnv answers there: {error}") from None
    fields = schema["properties"]
    required = schema.get("required", [])
    if name is None and len(required) == 1:
        name = required[0]
    if name is None or name not in fields:
        has = ", ".join(each for each in fields if each != "metadata")
        given = "name the one that takes the agent's text" if name is None else f"{name} is none of them"
        raise SettingError(f"--env.action-field: an action has the fields {has}: {given}")
    return name, fields[name].get("type", "any")


def _tasks(url: str, instruction: str, action_field: str | None, held_out: int, **_: Any) -> Any:
    """Seeds with the instruction, once it is known that there is a server to play them."""
    # A missing package is told now, and not in every episode.
    importlib.import_module("openenv.core")
    _field_of_actions(url, action_field)
    held_out_seeds = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + held_out)
    return {
        split: [(seed, instruction) for seed in seeds]
        for split, seeds in zip(SPLITS, (range(TRAINING_SEEDS), held_out_seeds), strict=True)
    }


def _close(client: Any, loop: asyncio.AbstractEventLoop) -> None:
    async def close() -> None:
        await client.close()

    if loop.is_running():
        asyncio.run_coroutine_threadsafe(close(), loop)


OpenEnvSuite = from_class(
    OpenEnv,
    tasks=_tasks,
    instruction=lambda task: task[1],
    kind=lambda task: "openenv",
    name="openenv",
)
"""The suite; see `OpenEnv` for its settings."""
