"""Stores each reply and refusal of a chat server as it arrives, so that no request is sent twice."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hgpo.agents.faults import NO_SYSTEM_ROLE, FaultError
from hgpo.agents.replies import Reply
from hgpo.errors import RunError
from hgpo.files import atomic_write
from hgpo.rollouts.episodes import Failure


class Journal:
    """All replies in order of arrival, one JSON line each; the file contains no secrets.

    Equal questions get their stored replies in this order. These are samples of one distribution, so it does
    not matter which episode gets which. A prompt that the server refused counts as refused each time.
    """

    def __init__(self, path: Path, *, forget_refusals: bool = False) -> None:
        """Read the stored replies.

        Args:
            path: path of the file; it need not exist.
            forget_refusals: delete refusals from the file.
        """
        self._path = path
        self._replies: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._refused: dict[str, Failure] = {}
        self.system_role = True
        """Whether the server accepts system messages, as far as is known."""
        with _in_one_line(path):
            records = [r for r in _records(path) if not (forget_refusals and "refused" in r)]
            if forget_refusals and path.exists():
                atomic_write(path, "".join(json.dumps(record) + "\n" for record in records))
        for record in records:
            self._remember(record)

    def _remember(self, record: dict[str, Any]) -> None:
        question, refused = record.get("question"), record.get("refused")
        if refused == NO_SYSTEM_ROLE and question is None:
            self.system_role = False
        elif isinstance(question, str) and isinstance(refused, str):
            self._refused[question] = Failure(refused, str(record.get("words")))
        elif isinstance(question, str):
            reply = _reply(record)
            if reply is not None:
                self._replies[question].append(reply)

    def take(self, question: str) -> Reply | Failure | None:
        """The next unused reply to the question, or why the server refuses it; None if neither is stored."""
        kept = self._replies.get(question)
        return kept.popleft() if kept else self._refused.get(question)

    def keep(self, question: str, reply: Reply) -> None:
        """Store a reply before it is used."""
        self._write({"question": question, "choice": reply.choice, "usage": reply.usage})

    def refuse(self, question: str, loss: Failure) -> None:
        """Store that the server refuses a question."""
        self._refused[question] = loss
        self._write({"question": question, "refused": loss.kind, "words": loss.words})

    def refuse_system_role(self) -> None:
        """Store that the server refuses system messages."""
        self.system_role = False
        self._write({"refused": NO_SYSTEM_ROLE})

    def _write(self, record: dict[str, Any]) -> None:
        with _in_one_line(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Turn errors of the file system into a RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} cannot be read or written ({error.strerror}): make room, or choose another --out; the "
            "same command continues from the replies in it"
        ) from None


def _reply(record: dict[str, Any]) -> Reply | None:
    """The reply in a record, also of older versions, which kept only the content; None if there is none."""
    choice, usage = record.get("choice", {"text": record.get("text")}), record.get("usage", record)
    if not isinstance(choice, dict) or not isinstance(usage, dict):
        return None
    reply = Reply(choice, usage)
    try:
        _ = reply.answer
    except FaultError:
        return None
    return reply


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of the journal; a line that was written only in part is ended by a line break."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    if text and not text.endswith("\n"):
        with path.open("a") as file:
            file.write("\n")
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            yield record
