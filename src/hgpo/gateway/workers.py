"""Runs an agent's function for an episode, in a thread of its own with a client of the gateway."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import openai

from hgpo.errors import in_one_line
from hgpo.rollouts.episodes import Failure


class Worker:
    """An episode's thread. Python cannot stop a thread: one that hangs lasts until the program ends."""

    def __init__(
        self, play: Callable[..., Any], task: Any, base_url: str, key: str, on_end: Callable[[Any], None]
    ) -> None:
        """Start the thread.

        Args:
            play: called with the task and a client: openai's AsyncOpenAI if it is `async`, else its OpenAI.
            task: the task's value in the file.
            base_url: the client's base URL.
            key: the client's key.
            on_end: called with what `play` returns, or with a `Failure` if it raises.
        """
        self._play, self._task, self._on_end = play, task, on_end
        # The gateway does not use TLS, and loading certificates takes longer than a small model's episode.
        self._base_url, self._key = base_url, key
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        threading.Thread(target=self._run, name="agent", daemon=True).start()

    def abandon(self) -> None:
        """Cancel the function if it is `async`; another one is left to itself."""
        if self._running is not None:
            loop, task = self._running
            # The loop may just have been closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)

    def _run(self) -> None:
        try:
            if any(map(inspect.iscoroutinefunction, (self._play, type(self._play).__call__))):
                asyncio.run(self._play_in_loop())
            else:
                with openai.OpenAI(
                    base_url=self._base_url,
                    api_key=self._key,
                    http_client=openai.DefaultHttpxClient(verify=False, trust_env=False),
                ) as client:
                    self._on_end(self._play(self._task, client))
        # Also SystemExit: an agent that calls sys.exit ends only its own episode.
        except BaseException as error:
            self._fail(error)

    async def _play_in_loop(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        # Nobody waits for what an agent leaves behind.
        loop.set_exception_handler(lambda loop, context: None)
        self._running = loop, task
        async with openai.AsyncOpenAI(
            base_url=self._base_url,
            api_key=self._key,
            http_client=openai.DefaultAsyncHttpxClient(verify=False, trust_env=False),
        ) as client:
            # Closing the loop may wait for tasks that do not end: the outcome does not.
            try:
                self._on_end(await self._play(self._task, client))
            except BaseException as error:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._on_end(Failure("agent", in_one_line(error).replace(self._key, "…")))
