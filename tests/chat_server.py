"""A server that speaks the chat protocol and can misbehave, for tests of everything that asks one."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Raw:
    """A response as it is."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def refused(status: int, message: str, code: str | int | None = None, **headers: str) -> Raw:
    """An error as OpenAI's server reports it; header names with "_" for "-"."""
    body = json.dumps({"error": {"message": message, "type": None, "param": None, "code": code}}).encode()
    return Raw(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class ChatServer:
    """Answers by `reply`: a content, a whole choice, or a response; request n gets `faults[n]` if there."""

    reply: Callable[[list[dict[str, str]]], str | dict[str, Any] | Raw | None]
    faults: Sequence[str | Raw | None] = ()
    key: str | None = None
    delay: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    most_at_once: int = 0
    over: bool = False
    url: str = ""
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)


FAULTS: dict[str, Raw] = {
    "busy": refused(429, "slow down", "rate_limit", Retry_After="0.2"),
    "quota": refused(429, "no money left", "insufficient_quota"),
    "broken": Raw(500, b"<html>oops</html>", {"Retry-After": "0.01"}),
    "no_json": Raw(200, b"\x00\xff garbage {"),
    "half": Raw(200, b'{"choices": [{"message": {"content": "go'),
    "nothing": Raw(200, b""),
    "page": Raw(200, b"<html><title>Sign in</title></html>", {"Content-Type": "text/html"}),
    "no_chat": Raw(200, b'{"hello": ["world"]}'),
    "no_text": Raw(200, b'{"choices": [{"message": {"content": 7}}]}'),
    "no_choice": Raw(200, b'{"choices": []}'),
    "loading": Raw(200, b'{"error": {"message": "model is loading", "code": 503}}'),
    "upstream": Raw(200, b'{"error": "upstream went away"}'),
    "cut_stream": Raw(200, b'data: {"choices": [{"delta": {"content": "go"}}]}\n\n'),
    "too_long": refused(400, "maximum context length is 8 tokens", "context_length_exceeded"),
    "filter": refused(400, "it triggers the policy", "content_filter"),
    "bad": refused(400, "I do not like this"),
}


def completion(answer: str | dict[str, Any] | Raw | None) -> Raw:
    """The response that holds a content or a choice."""
    if isinstance(answer, Raw):
        return answer
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    message = {"role": "assistant", "content": answer}
    choice = answer if isinstance(answer, dict) else {"message": message, "finish_reason": "stop"}
    whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
    return Raw(200, json.dumps({**whole, "choices": [{"index": 0, **choice}]}).encode())


@contextmanager
def serving(server: ChatServer, tls: ssl.SSLContext | None = None) -> Iterator[ChatServer]:
    """The server at `server.url` as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server._lock:
                number = len(server.requests)
                server.requests.append(body)
                server.paths.append(self.path)
                server.headers.append(dict(self.headers))
                server.arrivals.append(time.monotonic())
                server._now += 1
                server.most_at_once = max(server.most_at_once, server._now)
            time.sleep(server.delay)
            try:
                self._answer(body, server.faults[number] if number < len(server.faults) else None)
            finally:
                with server._lock:
                    server._now -= 1

        def _answer(self, body: dict[str, Any], fault: str | Raw | None) -> None:
            if fault == "drop":
                self.close_connection = True
                self.connection.close()
            elif fault == "drip":
                # Bytes that come, but never an end.
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while not server.over:
                        self.wfile.write(b" ")
                        time.sleep(0.02)
            elif server.key is not None and self.headers["Authorization"] != f"Bearer {server.key}":
                given = self.headers["Authorization"].removeprefix("Bearer ")
                self._send(refused(401, f"Incorrect key: {given}"))
            else:
                fault = FAULTS[fault] if isinstance(fault, str) else fault
                self._send(fault or completion(server.reply(body["messages"])))

        def _send(self, response: Raw) -> None:
            self.send_response(response.status)
            for name, value in {"Content-Type": "application/json", **response.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.handle_error = lambda request, client_address: None
    if tls is not None:
        httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{httpd.server_address[1]}/v1"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over = True
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def echo(messages: list[dict[str, str]]) -> str:
    """A reply that says what was asked."""
    return f"you said {messages[-1]['content']}"


def contents(server: ChatServer) -> list[str]:
    """The last message of each request."""
    return [request["messages"][-1]["content"] for request in server.requests]


class Pauses:
    """Stands for sleeping: notes how long, and does not; and notes what is told."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.lines: list[str] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    @property
    def opening(self) -> dict[str, Any]:
        """The arguments of `open_chat`."""
        return {"sleep": self, "say": self.lines.append}
