"""Asks a server that speaks OpenAI's chat protocol, many at once, and keeps each answer that was paid for."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from hgpo.agents.prompting import Message
from hgpo.errors import RunError
from hgpo.files import only_process

LONGEST_WAIT = 60.0
"""Seconds between two attempts at most, unless the server asks for more."""


@dataclass(frozen=True)
class Reply:
    """What the server said, and what it counted."""

    text: str
    prompt_tokens: int
    completion_tokens: int


@dataclass
class Usage:
    """What has been asked so far."""

    asked: int = 0
    """Replies that the server gave."""
    replayed: int = 0
    """Replies that were there from an earlier call, at no further cost."""
    retries: int = 0
    """Attempts that failed and were made again."""
    prompt_tokens: int = 0
    """Of all replies, those from earlier too."""
    completion_tokens: int = 0
    """Of all replies, those from earlier too."""


class Journal:
    """Every reply in the order in which it came, one JSON line each; nothing in it is secret.

    Equal questions are answered in that order: their replies are draws from one distribution, so it does not
    matter which episode gets which.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: defaultdict[str, deque[Reply]] = defaultdict(deque)
        for record in _whole_records(path):
            self._kept[record.pop("question")].append(Reply(**record))

    def take(self, question: str) -> Reply | None:
        """A kept reply to the question that was not taken yet."""
        kept = self._kept.get(question)
        return kept.popleft() if kept else None

    def keep(self, question: str, reply: Reply) -> None:
        """Write a reply down before anything is made of it."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"question": question, **vars(reply)}) + "\n")


@dataclass(frozen=True)
class Server:
    """Where to ask, and how patiently."""

    model: str
    """The model's name on the server."""
    base_url: str | None
    """The server's address; None is OpenAI's own."""
    key: str = field(repr=False)
    """The secret; it goes into the requests' headers and nowhere else."""
    concurrency: int = 16
    """Requests under way at the same time."""
    attempts: int = 8
    """Times that a request is made before the evaluation stops."""
    timeout: float = 120.0
    """Seconds that a request may take."""
    longest_wait: float = LONGEST_WAIT
    """Seconds between two attempts at most, unless the server asks for more."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the request beside model and messages, as JSON values; None leaves one out."""


class ChatClient:
    """Asks a server; use it as `with open_chat(…) as client`."""

    def __init__(self, server: Server, journal: Journal, runner: asyncio.Runner) -> None:
        self.server, self.usage = server, Usage()
        self._journal, self._runner = journal, runner
        self._failure: RunError | None = None
        self._gate = asyncio.Semaphore(server.concurrency)
        # Retries have one home, here, so that the client's own are switched off.
        self._client = openai.AsyncOpenAI(
            api_key=server.key, base_url=server.base_url, timeout=server.timeout, max_retries=0
        )

    def ask(
        self,
        conversations: Sequence[Sequence[Message]],
        temperature: float,
        on_reply: Callable[[], None] = lambda: None,
    ) -> list[str]:
        """The reply to each conversation, in their order.

        Args:
            conversations: messages, the last of which is to be answered.
            temperature: of sampling.
            on_reply: told after each reply.

        Raises:
            RunError: if the server refuses, or has failed at all attempts; replies that came are kept.
        """
        return self._runner.run(self._ask_all(conversations, temperature, on_reply))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask_all(
        self, conversations: Sequence[Sequence[Message]], temperature: float, on_reply: Callable[[], None]
    ) -> list[str]:
        async def one(messages: Sequence[Message]) -> str:
            reply = await self._reply(messages, temperature)
            on_reply()
            return reply.text

        # All are waited for, also where one fails: what the others bring has been paid for.
        replies = await asyncio.gather(*map(one, conversations), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return [reply for reply in replies if isinstance(reply, str)]

    async def _reply(self, messages: Sequence[Message], temperature: float) -> Reply:
        body = {"temperature": temperature, **self.server.request}
        body = {name: value for name, value in body.items() if value is not None}
        asked = json.dumps([self.server.model, list(messages), body], sort_keys=True)
        question = hashlib.sha256(asked.encode()).hexdigest()
        reply = self._journal.take(question)
        if reply is not None:
            self.usage.replayed += 1
        else:
            async with self._gate:
                reply = await self._patiently(messages, body)
            self._journal.keep(question, reply)
            self.usage.asked += 1
        self.usage.prompt_tokens += reply.prompt_tokens
        self.usage.completion_tokens += reply.completion_tokens
        return reply

    async def _patiently(self, messages: Sequence[Message], body: dict[str, Any]) -> Reply:
        """The reply of the server, asked again where it fails in a way that may pass."""
        if self._failure is not None:
            raise self._failure
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.server.attempts),
            retry=retry_if_exception(_may_pass),
            wait=self._pause,
            before_sleep=self._count_retry,
            reraise=True,
        )
        try:
            return await retrying(self._once, messages, body)
        except (openai.OpenAIError, _NonsenseError) as error:
            self._failure = RunError(self._in_words(error))
            raise self._failure from None

    async def _once(self, messages: Sequence[Message], body: dict[str, Any]) -> Reply:
        try:
            response = await self._client.chat.completions.create(
                model=self.server.model,
                messages=list(messages),  # pyright: ignore[reportArgumentType]
                extra_body=body,
            )
            # What comes is as the server wrote it; the client checks none of it.
            text = response.choices[0].message.content
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError, LookupError) as error:
            raise _NonsenseError(f"its answer is no chat completion ({type(error).__name__})") from None
        if text is not None and not isinstance(text, str):
            raise _NonsenseError(f"its answer's content is no text but of type {type(text).__name__}")
        usage = response.usage
        return Reply(text or "", _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))

    def _pause(self, state: RetryCallState) -> float:
        """Seconds to the next attempt: what the server asks for, else ever longer ones, drawn at random."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, openai.APIStatusError):
            asked = error.response.headers.get("retry-after", "")
            if asked.replace(".", "", 1).isdigit():
                return float(asked)
        return wait_random_exponential(multiplier=1, max=self.server.longest_wait)(state)

    def _count_retry(self, _: RetryCallState) -> None:
        self.usage.retries += 1

    def _in_words(self, error: Exception) -> str:
        where = self.server.base_url or "OpenAI"
        # Servers quote a key that they refuse.
        what = str(error).replace(self.server.key, "…").replace("\n", " ")[:400]
        if not _may_pass(error):
            cure = next(
                (cure for kind, cure in _CURES.items() if isinstance(error, kind)), "mend the request"
            )
            return f"{where} refuses: {what}; {cure}. The same command goes on from the replies that came"
        return (
            f"{where} failed {self.server.attempts} times in a row, the last time: {what}; the replies that "
            "came are kept, and the same command goes on from there"
        )


_CURES: dict[type[Exception], str] = {
    openai.AuthenticationError: "put a valid key into the environment variable that --key-variable names",
    openai.PermissionDeniedError: "the key may not use this model: take another --model or key",
    openai.NotFoundError: "check --model and --base-url (which often ends in /v1)",
    openai.RateLimitError: "the account's quota is used up",
    openai.BadRequestError: "--request leaves a field out or sets one, --history-length shortens the prompt",
}


@contextmanager
def open_chat(server: Server, folder: Path) -> Iterator[ChatClient]:
    """A client whose replies are kept in the folder's replies.jsonl, from where a later one goes on.

    Raises:
        RunError: if another process asks with the same folder.
    """
    with only_process(folder, "asking with the replies"), asyncio.Runner() as runner:
        client = ChatClient(server, Journal(folder / "replies.jsonl"), runner)
        try:
            yield client
        finally:
            runner.run(client.close())


class _NonsenseError(Exception):
    """The server answered, but not in its protocol."""


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, openai.APIStatusError):
        # A quota that is used up comes as 429, too, but does not pass.
        if error.code == "insufficient_quota":
            return False
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    return isinstance(error, (openai.APIConnectionError, openai.APIResponseValidationError, _NonsenseError))


def _count(usage: Any, name: str) -> int:
    """A number of tokens; 0 where the server did not count."""
    count = getattr(usage, name, None)
    return count if isinstance(count, int) else 0


def _whole_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of the journal; a line that was cut off in writing is completed by an end of line."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    if text and not text.endswith("\n"):
        with path.open("a") as file:
            file.write("\n")
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
