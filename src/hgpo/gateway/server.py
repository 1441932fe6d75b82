"""The HTTP server: OpenAI's chat completions for the episodes of a rollout.

An episode is named by the key, or by a prefix of the path: /t/ID/v1, or /t/ID/b/BRANCH/v1 for a branch.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hgpo.errors import RunError
from hgpo.gateway.address import listening
from hgpo.gateway.exchange import Exchange, Pending
from hgpo.gateway.protocol import MODEL, ChatRequest, Refusal, Written, read_request
from hgpo.gateway.results import MAIN
from hgpo.gateway.settings import GatewaySettings
from hgpo.gateway.suite import StateKey, last_seen

STATE_HEADER, BRANCH_HEADER = "x-hgpo-state", "x-hgpo-branch"
"""Headers with which a request gives its state key, and the branch that it belongs to."""
MOST_BYTES = 2**24
"""Largest size of a request's body."""
SECONDS_TO_START, SECONDS_TO_STOP = 30.0, 5.0


@dataclass(frozen=True)
class Address:
    """Where an episode's requests go."""

    url: str
    """The server's address, without a path."""
    token: str
    """The run's secret, with which every key begins."""

    def base_url(self, episode: str) -> str:
        """The base URL of an episode."""
        return f"{self.url}/t/{episode}/v1"

    def key(self, episode: str) -> str:
        """The key of an episode, which also names it at the base URL /v1."""
        return f"{self.token}.{episode}"


@contextmanager
def serving(
    exchange: Exchange,
    settings: GatewaySettings,
    state_key: StateKey = last_seen,
) -> Iterator[Address]:
    """A server in another thread, as long as the block lasts.

    Args:
        exchange: takes the requests.
        settings: address and port.
        state_key: returns the state key of a request's messages.

    Raises:
        SettingError: if the address cannot be used.
        RunError: if the server does not start.
    """
    token = secrets.token_urlsafe(24)
    app = application(exchange, token, state_key)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        lifespan="off",
        ws="none",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with listening(settings.host, settings.port) as address:
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [address]}, name="gateway", daemon=True
        )
        thread.start()
        try:
            _wait_for(server, thread)
            yield Address(_url(address), token)
        finally:
            server.should_exit = True
            thread.join(SECONDS_TO_STOP)


def _wait_for(server: uvicorn.Server, thread: threading.Thread) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise RunError("the gateway's server does not start")
        time.sleep(0.002)


def _url(address: socket.socket) -> str:
    host, port = address.getsockname()[:2]
    # A server that listens at all addresses is reached at the loopback address from this machine.
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"


def application(exchange: Exchange, token: str, state_key: StateKey = last_seen) -> Starlette:
    """The ASGI application; arguments as in `serving`, and the secret with which every key begins."""

    async def complete(http: Request) -> Response:
        episode = _episode(http, token)
        request = read_request(await _body(http))
        branch = http.path_params.get("branch") or http.headers.get(BRANCH_HEADER, MAIN)
        key = http.headers.get(STATE_HEADER)
        if key is None:
            key = await _key_of(request, state_key)
        pending = exchange.submit(episode, branch, request, key)
        written = await _response(http, exchange, pending)
        if request.stream:
            usage = bool(request.stream_options and request.stream_options.include_usage)
            events = _sent(exchange, pending, written.events(int(time.time()), usage=usage))
            return StreamingResponse(events, media_type="text/event-stream")
        return JSONResponse(written.whole(int(time.time())))

    async def models(http: Request) -> Response:
        _authenticated(http, token)
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "hgpo"}
        return JSONResponse({"object": "list", "data": [model]})

    prefixes = ("/v1", "/t/{episode}/v1", "/t/{episode}/b/{branch}/v1")
    routes = [
        route
        for prefix in prefixes
        for route in (
            Route(f"{prefix}/chat/completions", complete, methods=["POST"]),
            Route(f"{prefix}/models", models),
        )
    ]
    return Starlette(
        routes=routes,
        exception_handlers={
            Refusal: _refused,
            HTTPException: _unknown,
            ClientDisconnect: lambda http, error: Response(status_code=499),
        },
    )


def _authenticated(http: Request, token: str) -> str:
    """The episode that the key of a request names; empty if it names none.

    Raises:
        Refusal: if the key is wrong.
    """
    scheme, _, key = http.headers.get("authorization", "").partition(" ")
    given, _, named = key.strip().partition(".")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
        raise Refusal(401, "the key is not this run's: take client.api_key", "invalid_api_key")
    return named


def _episode(http: Request, token: str) -> str:
    """The episode that a request belongs to.

    Raises:
        Refusal: if the key is wrong, or if neither key nor path name an episode.
    """
    episode = http.path_params.get("episode", _authenticated(http, token))
    if not episode:
        raise Refusal(400, "neither the key nor the path names an episode: take client.base_url")
    return episode


async def _body(http: Request) -> bytes:
    parts, size = [], 0
    async for part in http.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise Refusal(413, f"the body has more than {MOST_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


async def _key_of(request: ChatRequest, state_key: StateKey) -> Any:
    if state_key is last_seen:
        return last_seen(request.conversation)
    # The user's own function may raise anything, and may never return.
    try:
        return await run_in_threadpool(state_key, request.conversation)
    except Exception as error:
        raise Refusal(400, f"the state key: {type(error).__name__}: {error}") from error


async def _response(http: Request, exchange: Exchange, pending: Pending) -> Written:
    """The response to a request; if its sender goes away, the request is removed."""
    response = asyncio.wrap_future(pending.response)
    gone = asyncio.ensure_future(_disconnected(http))
    try:
        await asyncio.wait({response, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            exchange.drop(pending)
            raise ClientDisconnect
        return response.result()
    finally:
        gone.cancel()
        response.cancel()


async def _disconnected(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def _sent(exchange: Exchange, pending: Pending, events: Iterator[str]) -> AsyncIterator[str]:
    """The events; an episode that does not take them to the end is lost."""
    complete = False
    try:
        for event in events:
            yield event
        complete = True
    finally:
        if not complete:
            exchange.drop(pending)


async def _refused(http: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    wait = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return JSONResponse(error.body, error.status, wait)


async def _unknown(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = f"{http.method} {http.url.path}: there are only POST …/v1/chat/completions and GET …/v1/models"
    return JSONResponse(Refusal(error.status_code, words, "not_found").body, error.status_code)
