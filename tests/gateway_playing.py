"""Episodes through the gateway with a policy whose tokens are bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from hgpo.envs.base import Task
from hgpo.gateway import AgentSuite
from hgpo.gateway.agent import GatewayAgent
from hgpo.gateway.settings import GatewaySettings
from hgpo.policies.answers import read_answer
from hgpo.policies.base import Completion
from hgpo.rollouts.episodes import Trajectory


class Letters:
    """Writes the letters a, b, … by its random numbers; the log-probability of each is minus its number."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[str]] = []
        self.seconds = seconds

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return [tuple(text.encode()) for text in texts]

    def generate(self, prompts: Any, uniforms: np.ndarray, temperature: float) -> list[Completion]:
        self.batches.append([bytes(prompt).decode() for prompt in prompts])
        time.sleep(self.seconds)
        found = []
        for row in uniforms:
            tokens = 97 + (row * 26).astype(np.int64)
            answer = read_answer(bytes(tokens.tolist()).decode(), ended="length")
            found.append(Completion(tokens, -row.astype(np.float32), answer))
        return found


class Bytes:
    """What `ChatTokenizer` does, for tokens that are bytes."""

    begun, tokenizer = "", type("NoTemplate", (), {"chat_template": None})()

    def encode_conversation(self, messages: Any, tools: Any = ()) -> tuple[int, ...]:
        return tuple("\n".join(message["content"] for message in messages).encode())

    def decode(self, rows: Any) -> list[str]:
        return [bytes(np.asarray(row, np.uint8)).decode() for row in rows]

    def answers(self, rows: Any) -> list[Any]:
        return [read_answer(text, ended="length") for text in self.decode(rows)]


class Suite(AgentSuite):
    """A suite whose function is the given one."""

    def __init__(self, play: Any, key: Any = None) -> None:
        super().__init__("here:play")
        object.__setattr__(self, "function", lambda: play)
        if key is not None:
            object.__setattr__(self, "state_key_function", lambda: key)


def agent_of(
    play: Any,
    policy: Any = None,
    response: int = 4,
    key: Any = None,
    say: Any = lambda line: None,
    **settings: Any,
) -> GatewayAgent:
    return GatewayAgent(
        Suite(play, key),
        policy or Letters(),
        Bytes(),  # pyright: ignore[reportArgumentType]
        max_prompt_tokens=1000,
        max_response_tokens=response,
        settings=GatewaySettings(**settings),
        say=say,
    )


def played(
    play: Any, *games: Any, group_size: int = 1, timeout: float | None = None, seed: Any = (0,), **how: Any
) -> list[Trajectory]:
    """The trajectories of one task for each game, or of one without."""
    tasks = [Task(f"t{number}", "task", "", game) for number, game in enumerate(games or (None,))]
    agent = agent_of(play, **how)
    return agent.play(tasks, group_size=group_size, temperature=1.0, seed=seed, timeout=timeout)


async def ask(client: Any, text: str = "hello", **settings: Any) -> str:
    """The content of the reply to one user's message."""
    messages = [{"role": "user", "content": text}]
    reply = await client.chat.completions.create(model="any", messages=messages, **settings)
    return reply.choices[0].message.content


def texts_of(trajectory: Trajectory) -> list[str]:
    return [step.command for step in trajectory.steps]


def letters(seed: Sequence[int], rows: int, count: int = 4) -> list[str]:
    """What `Letters` writes with the numbers of a stream, row by row."""
    numbers = np.random.default_rng(seed).random((rows, count))
    return ["".join(chr(97 + int(number * 26)) for number in row) for row in numbers]
