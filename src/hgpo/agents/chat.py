"""Client of a server with OpenAI's chat protocol: sends concurrent requests and stores every reply."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.wait import wait_random_exponential

from hgpo.agents.faults import CONNECTION, NO_SYSTEM_ROLE, TIMEOUT, Fault, FaultError, Reach, failure
from hgpo.agents.journal import Journal
from hgpo.agents.replies import Reply, read_reply
from hgpo.agents.untrained_prompts import Message, without_system_role
from hgpo.errors import RunError, SettingError
from hgpo.files import exclusive_lock
from hgpo.policies.answers import Answer
from hgpo.rollouts.episodes import Failure

LONGEST_PAUSE = 60.0
"""Seconds between two attempts at most, unless the server asks for more."""
LONGEST_CONNECT = 20.0
"""Longest time to connect, in seconds."""
LONGEST_WAIT = 300.0
"""Longest wait that a server may ask for, in seconds; the evaluation stops if it asks for more."""
FEW = 3
"""Number of attempts to reach a server that has not replied yet, and number of prompts that a server may
refuse before it has answered any."""
SAY_EVERY = 10.0
"""Shortest time between two messages of the same kind, in seconds."""


@dataclass(frozen=True)
class Server:
    """The server, and the limits on requests, retries and waiting."""

    model: str
    """The model's name on the server."""
    base_url: str | None
    """The server's address; None is the value of OPENAI_BASE_URL or else OpenAI's own address."""
    key: str | None = field(repr=False)
    """The secret key; it is used only in request headers. None for a server that needs no key."""
    concurrency: int = 16
    """Largest number of requests at the same time."""
    attempts: int = 8
    """Number of attempts per request if it fails with a temporary fault."""
    timeout: float = 120.0
    """Longest time of a request, in seconds."""
    longest_pause: float = LONGEST_PAUSE
    """Seconds between two attempts at most, unless the server asks for more."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, as JSON values; a field with the value None is left out."""


@dataclass
class Usage:
    """Counts of replies, retries and tokens so far."""

    asked: int = 0
    """Number of replies from the server."""
    replayed: int = 0
    """Number of replies reused from an earlier call, at no further cost."""
    retries: int = 0
    """Number of failed attempts that were repeated."""
    prompt_tokens: int = 0
    """Number of prompt tokens of all replies, including reused ones."""
    completion_tokens: int = 0
    """Number of completion tokens of all replies, including reused ones."""

    def add(self, reply: Reply) -> None:
        """Count the tokens of a reply."""
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens


class ChatClient:
    """Sends conversations to a server; use it as `with open_chat(…) as client`."""

    def __init__(
        self,
        server: Server,
        journal: Journal,
        runner: asyncio.Runner,
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.server, self.usage = server, Usage()
        self._journal, self._runner = journal, runner
        self._say_line, self._sleep = say, sleep
        self._said: dict[str, float] = {}
        self._stopped: RunError | None = None
        self._stopping = asyncio.Event()
        self._gate = asyncio.Semaphore(server.concurrency)
        self._alone, self._checking = asyncio.Lock(), asyncio.Lock()
        self._answered: Sequence[Message] | None = None
        """A conversation that the server has answered, in this call or an earlier one."""
        self._reached = False
        """Whether the server has responded at all in this call."""
        self._failures = 0
        """Attempts that failed since the last reply."""
        self._takes_system: bool | None = None if journal.system_role else False
        self._unanswered: list[tuple[str, Fault]] = []
        """Questions of the current call without an answer, and the fault of each."""
        self._client = _connect(server)

    @property
    def where(self) -> str:
        """The server's address, without any secret in it."""
        url = urlsplit(str(self._client.base_url))
        return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path.rstrip("/"), "", ""))

    def say(self, kind: str, line: str) -> None:
        """Show the user a line, unless one of the same kind was shown in the last seconds."""
        if time.monotonic() - self._said.get(kind, -SAY_EVERY) >= SAY_EVERY:
            self._said[kind] = time.monotonic()
            self._say_line(line)

    def ask(
        self,
        conversations: Sequence[Sequence[Message]],
        temperature: float,
        on_reply: Callable[[], None] = lambda: None,
    ) -> list[Answer | Failure]:
        """The answer to each conversation, or the reason why this one failed while others succeeded.

        Args:
            conversations: lists of messages; the model answers the last message of each.
            temperature: sampling temperature.
            on_reply: called after each reply.

        Raises:
            RunError: if the server answers no request at all; replies received before are kept.
        """
        return self._runner.run(self._ask_all(conversations, temperature, on_reply))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask_all(
        self, conversations: Sequence[Sequence[Message]], temperature: float, on_reply: Callable[[], None]
    ) -> list[Answer | Failure]:
        async def one(messages: Sequence[Message]) -> Answer | Failure:
            answer = await self._answer(messages, temperature)
            on_reply()
            return answer

        # Wait for all requests even if one fails, because the other replies have been paid for.
        answers = await asyncio.gather(*map(one, conversations), return_exceptions=True)
        self._settle()
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    def _settle(self) -> None:
        """Record the prompts that were refused; stop if none was ever answered."""
        if self._answered is None and self._unanswered:
            raise self._stop(self._unanswered[0][1])
        for question, fault in self._unanswered:
            # After a temporary fault, a later call asks again.
            if fault.reach is not Reach.MOMENT:
                self._journal.refuse(question, Failure(fault.kind, fault.words))
        self._unanswered = []

    async def _answer(self, messages: Sequence[Message], temperature: float) -> Answer | Failure:
        body = {"temperature": temperature, **self.server.request}
        body = {name: value for name, value in body.items() if value is not None}
        asked = json.dumps([self.server.model, list(messages), body], sort_keys=True)
        question = hashlib.sha256(asked.encode()).hexdigest()
        kept = self._journal.take(question)
        if isinstance(kept, Failure):
            return kept
        if kept is not None:
            self.usage.replayed += 1
            self.usage.add(kept)
            self._learn_from(self._as_taken(messages))
            return kept.answer
        async with self._gate, self._first_alone():
            try:
                reply = await self._reply(messages, body)
            except FaultError as error:
                return await self._lost(question, error.fault, body)
            self._journal.keep(question, reply)
            return reply.answer

    @asynccontextmanager
    async def _first_alone(self) -> AsyncIterator[None]:
        """Send requests one by one until the server has answered once: a fault may concern all of them."""
        if self.usage.asked:
            yield
            return
        async with self._alone:
            if not self.usage.asked:
                yield
                return
        yield

    def _as_taken(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages in the form that the server accepts, as far as is known."""
        return without_system_role(messages) if self._takes_system is False else messages

    def _learn_from(self, answered: Sequence[Message]) -> None:
        self._answered = answered
        if answered[0]["role"] == "system":
            self._takes_system = True

    async def _reply(self, messages: Sequence[Message], body: dict[str, Any]) -> Reply:
        """The server's reply. If it refuses system messages, their text is moved into the user's message.

        Raises:
            FaultError: if the server does not reply to this conversation.
        """
        sent = self._as_taken(messages)
        try:
            reply = await self._patiently(sent, body)
        except FaultError as error:
            unknown = self._takes_system is None and sent[0]["role"] == "system"
            if not unknown or error.fault.reach is not Reach.UNCLEAR:
                raise
            sent = without_system_role(messages)
            try:
                reply = await self._patiently(sent, body)
            except FaultError:
                raise error from None
            self._takes_system = False
            self._journal.refuse_system_role()
            self.say(
                NO_SYSTEM_ROLE, f"{self.where} refuses system messages: the rules go into the user's message"
            )
        self._learn_from(sent)
        return reply

    async def _lost(self, question: str, fault: Fault, body: dict[str, Any]) -> Failure:
        """The failure of one episode whose prompt has no answer, while the server answers others.

        Raises:
            RunError: if the server does not answer others either.
        """
        if fault.reach is Reach.EVERY or not self._reached:
            raise self._stop(fault)
        in_doubt = self._answered is not None and fault.reach is not Reach.PROMPT
        if in_doubt and not await self._still_answers(body):
            raise self._stop(fault)
        self._unanswered.append((question, fault))
        if self._answered is None and len(self._unanswered) >= FEW:
            raise self._stop(self._unanswered[0][1])
        return Failure(fault.kind, fault.words)

    async def _still_answers(self, body: dict[str, Any]) -> bool:
        """Whether the server still answers: any other request, or one that it has answered before."""
        until_now = self.usage.asked
        async with self._checking:
            if self.usage.asked == until_now:
                try:
                    await self._once(self._answered or (), body)
                except FaultError:
                    return False
            return True

    async def _patiently(self, messages: Sequence[Message], body: dict[str, Any]) -> Reply:
        """The server's reply; the request is repeated after a temporary fault."""
        # The client's own retries show no message, and they miss faults that arrive as replies.
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=lambda state: state.attempt_number >= self._attempts,
            wait=self._pause,
            before_sleep=self._tell_retry,
            sleep=self._sleep_unless_stopped,
            reraise=True,
        )
        return await retrying(self._once, messages, body)

    async def _once(self, messages: Sequence[Message], body: dict[str, Any]) -> Reply:
        if self._stopped is not None:
            raise self._stopped
        try:
            # The client's own time limit restarts with every byte received.
            async with asyncio.timeout(self.server.timeout):
                response = await self._client.chat.completions.with_raw_response.create(
                    model=self.server.model,
                    messages=list(messages),  # pyright: ignore[reportArgumentType]
                    extra_body=body,
                )
            reply = read_reply(response.http_response.text, response.headers)
        except (openai.OpenAIError, TimeoutError) as error:
            raise FaultError(self._heeded(failure(error, self.server.timeout))) from None
        except FaultError as error:
            raise FaultError(self._heeded(error.fault)) from None
        self._reached, self._failures = True, 0
        self.usage.asked += 1
        self.usage.add(reply)
        return reply

    def _heeded(self, fault: Fault) -> Fault:
        """The fault with the key removed from its text; one that asks for too long a wait ends the run."""
        self._reached = self._reached or fault.kind not in (CONNECTION, TIMEOUT)
        self._failures += 1
        words = fault.words
        if self.server.key is not None:
            words = re.sub(rf"(?<!\w){re.escape(self.server.key)}(?!\w)", "…", words)
        if fault.reach is Reach.MOMENT and (fault.wait or 0.0) > LONGEST_WAIT:
            words = f"it asks to wait {_span(fault.wait or 0.0)}: {words}"
            return replace(fault, words=words, reach=Reach.EVERY, advice="start again after that time")
        return replace(fault, words=words)

    @property
    def _attempts(self) -> int:
        """Number of attempts for a request with a temporary fault."""
        if self._answered is None and self._unanswered:
            return 1
        return self.server.attempts if self._reached else min(FEW, self.server.attempts)

    def _pause(self, state: RetryCallState) -> float:
        """Seconds until the next attempt: as the server asks, or else random with exponential growth."""
        drawn = wait_random_exponential(multiplier=1, max=self.server.longest_pause)
        return _fault_of(state).wait or drawn(state)

    def _tell_retry(self, state: RetryCallState) -> None:
        self.usage.retries += 1
        fault, pause = _fault_of(state), state.next_action.sleep if state.next_action else 0.0
        attempt = f"attempt {state.attempt_number + 1} of {self._attempts}"
        self.say(fault.kind, f"{self.where}: {fault}; asked again in {_span(pause)}, {attempt}")

    async def _sleep_unless_stopped(self, seconds: float) -> None:
        tasks = [asyncio.ensure_future(self._sleep(seconds)), asyncio.create_task(self._stopping.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _stop(self, fault: Fault) -> RunError:
        """The error that ends the evaluation; no request is sent after it."""
        if fault.kind == CONNECTION:
            how = "cannot be reached"
        elif fault.reach is Reach.MOMENT:
            how = f"failed {self._failures} times in a row, the last time"
        else:
            how = "refuses"
        self._stopped = self._stopped or RunError(
            f"{self.where} {how}: {fault}; {fault.advice}. The replies that came are kept: the same command "
            "continues from there"
        )
        self._stopping.set()
        return self._stopped


@contextmanager
def open_chat(
    server: Server,
    folder: Path,
    *,
    say: Callable[[str], None] = lambda line: None,
    forget_refusals: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Iterator[ChatClient]:
    """A client that stores its replies in the folder's replies.jsonl; a later client reuses them.

    Args:
        server: the server and its limits.
        folder: where the replies are stored.
        say: called with a line of text when the user has to wait.
        forget_refusals: send again the prompts that the server has refused.
        sleep: waits for a number of seconds.

    Raises:
        RunError: if another process uses the same folder.
        SettingError: if the address or the key cannot be used.
    """
    with exclusive_lock(folder, "asking with the replies"), asyncio.Runner() as runner:
        journal = Journal(folder / "replies.jsonl", forget_refusals=forget_refusals)
        client = ChatClient(server, journal, runner, say, sleep)
        try:
            yield client
        finally:
            runner.run(client.close())


def _connect(server: Server) -> openai.AsyncOpenAI:
    """The client of the server; the part of the address after "?" is sent with each request.

    Azure's deployments expect an api-version there, and the key in a special header.

    Raises:
        SettingError: if the address, a proxy or the key cannot be used.
    """
    key = server.key or "none"
    try:
        url = urlsplit(server.base_url or "")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        path = url.path.rstrip("/").removesuffix("/chat/completions")
        return openai.AsyncOpenAI(
            api_key=key,
            base_url=urlunsplit((url.scheme, url.netloc, path, "", "")) or None,
            default_query=query,
            default_headers={"api-key": key} if "api-version" in query else None,
            timeout=openai.Timeout(server.timeout, connect=min(LONGEST_CONNECT, server.timeout)),
            max_retries=0,
        )
    # The HTTP library raises several kinds of exceptions for invalid addresses and proxies.
    except Exception as error:
        raise SettingError(f"--base-url {server.base_url} or a proxy cannot be used: {error}") from None


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, FaultError) and error.fault.reach is Reach.MOMENT


def _fault_of(state: RetryCallState) -> Fault:
    """The fault after which a request is repeated."""
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, FaultError)
    return error.fault


def _span(seconds: float) -> str:
    """A time in words: "12 s", "5 min", "55 h"."""
    for unit, length in (("s", 1.0), ("min", 60.0)):
        if seconds < 100 * length:
            return f"{max(1, round(seconds / length))} {unit}"
    return f"{seconds / 3600:,.0f} h"
