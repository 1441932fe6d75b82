"""A server that speaks the chat protocol and can misbehave, for tests of everything that asks one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ChatServer:
    """Answers by `reply`; request number n misbehaves as `faults[n]` says, if it is there."""

    reply: Callable[[list[dict[str, str]]], str | None]
    faults: Sequence[str | None] = ()
    key: str | None = None
    delay: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)


FAULTS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "busy": (429, {"Retry-After": "0.2"}, b'{"error": {"message": "slow down", "code": "rate_limit"}}'),
    "quota": (429, {}, b'{"error": {"message": "no money left", "code": "insufficient_quota"}}'),
    "broken": (500, {"Retry-After": "0.01"}, b"<html>oops</html>"),
    "no json": (200, {}, b"\x00\xff garbage {"),
    "no chat": (200, {}, b'{"hello": ["world"]}'),
    "no text": (200, {}, b'{"choices": [{"message": {"content": 7}}]}'),
    "too long": (400, {}, b'{"error": {"message": "maximum context length is 8 tokens"}}'),
}


@contextmanager
def serving(server: ChatServer) -> Iterator[ChatServer]:
    """The server at `server.url` as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server._lock:
                number = len(server.requests)
                server.requests.append(body)
                server.arrivals.append(time.monotonic())
                server._now += 1
                server.most_at_once = max(server.most_at_once, server._now)
            time.sleep(server.delay)
            try:
                self._answer(body, server.faults[number] if number < len(server.faults) else None)
            finally:
                with server._lock:
                    server._now -= 1

        def _answer(self, body: dict[str, Any], fault: str | None) -> None:
            if fault == "drop":
                self.close_connection = True
                self.connection.close()
                return
            if server.key is not None and self.headers["Authorization"] != f"Bearer {server.key}":
                given = self.headers["Authorization"].removeprefix("Bearer ")
                message = json.dumps({"error": {"message": f"Incorrect key: {given}"}}).encode()
                self._send(401, {}, message)
            elif fault is not None:
                self._send(*FAULTS[fault])
            else:
                text = server.reply(body["messages"])
                counts = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
                choice = {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
                answer = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
                self._send(200, {}, json.dumps({**answer, "choices": [choice], "usage": counts}).encode())

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}/v1"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
