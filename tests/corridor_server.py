"""A server of OpenEnv for tests: a corridor in which the seed says where the player starts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import uvicorn
from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app

LENGTH = 5


class Move(Action):
    direction: Literal["left", "right"]


class Seen(Observation):
    text: str
    moves: list[str]
    place: int


class Corridor(Environment):
    """Places 0 to 4; place 0 is the exit, worth 1."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Seen:
        self.place = 1 + (seed or 0) % (LENGTH - 1)
        return self._seen()

    def step(self, action: Move, timeout_s: float | None = None, **_: Any) -> Seen:
        self.place += {"left": -1, "right": 1}[action.direction]
        return self._seen(reward=1.0 if self.place == 0 else None)

    @property
    def state(self) -> State:
        return State()

    def _seen(self, reward: float | None = None) -> Seen:
        moves = ["left"] if self.place == LENGTH - 1 else ["left", "right"]
        text = "you are out." if reward else "you are in a corridor."
        return Seen(text=text, moves=moves, place=self.place, done=self.place == 0, reward=reward)


@contextmanager
def serving(sessions: int = 64) -> Iterator[str]:
    """The URL of the server, on this machine only."""
    app = create_fastapi_app(Corridor, Move, Seen, max_concurrent_envs=sessions)
    config = uvicorn.Config(app, port=0, log_level="error", ws="websockets-sansio")
    with running(uvicorn.Server(config)) as url:
        yield url


@contextmanager
def running(server: uvicorn.Server, *sockets: socket.socket) -> Iterator[str]:
    """The URL of a server that runs in a thread for as long as the block lasts.

    Args:
        server: the server.
        sockets: where it listens; without any, where its settings say.
    """
    thread = threading.Thread(target=server.run, args=([*sockets] or None,), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
