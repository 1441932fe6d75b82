"""Faults of requests to a chat server: which requests they concern, and what the user can do.

The codes and phrases are those of known servers: OpenAI, Azure, vLLM, SGLang, llama.cpp, TGI,
FastChat, Mistral, Anthropic, Gemini, DeepSeek, DashScope, OpenRouter and Groq.
"""

from __future__ import annotations

import email.utils
import json
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import openai

TOO_LONG = "too_long"
"""Kind of a prompt that does not fit into the model's context."""
NO_SYSTEM_ROLE = "no_system_role"
"""Kind of a request that is refused for its system message."""
CONNECTION = "connection"
"""Kind of a request that did not reach the server, or whose reply was incomplete."""
TIMEOUT = "timeout"
"""Kind of a request that took too long."""
NO_COMPLETION = "no_chat_completion"
"""Kind of a reply that does not follow the chat protocol."""


class Reach(Enum):
    """Which requests a fault concerns."""

    MOMENT = auto()
    """Requests at this moment: the same request may succeed later."""
    PROMPT = auto()
    """Only requests with this prompt."""
    UNCLEAR = auto()
    """Requests with this prompt, or all requests: the outcome of other requests decides."""
    EVERY = auto()
    """All requests."""


@dataclass(frozen=True)
class Fault:
    """Why a request has no reply."""

    kind: str
    """The name under which faults are counted: the server's own code or, without one, "http_503" etc."""
    words: str
    """One line that describes the fault, if possible in the server's own words."""
    reach: Reach
    advice: str = "check the request: --request sets fields of it or leaves them out"
    """What the user can do about it."""
    wait: float | None = None
    """Seconds after which the server wants to be asked again; None if it does not say."""

    def __str__(self) -> str:
        return f"{self.words} ({self.kind})"


class FaultError(Exception):
    """A request failed."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True)
class _Rule:
    """A rule that matches faults by HTTP status and by a phrase in their code, type or words."""

    reach: Reach
    statuses: Collection[int]
    phrases: str = ""
    kind: str | None = None
    advice: str = Fault.advice


_ANY = range(1000)
_REFUSALS = (200, 400, 403, 413, 422, 451, *range(500, 600))
"""Statuses with which servers refuse a prompt; 200 stands for an error that comes as if it were a reply."""
_KEY = "put a valid key into the environment variable that --key-variable names"
_QUOTA = "the account's quota is used up"
_LESS = "--max-response-tokens leaves more room to the prompt, --prompt-history makes it shorter"
_LATER = "try again later, or more often with --attempts"
_ADDRESS = (
    "check --model and --base-url, which often ends in /v1; Azure's is "
    "https://RESOURCE.openai.azure.com/openai/v1/"
)
_RULES = (
    _Rule(Reach.EVERY, _ANY, r"insufficient_(user_)?quota|billing|payment_required", advice=_QUOTA),
    _Rule(Reach.EVERY, (402,), advice=_QUOTA),
    _Rule(Reach.EVERY, (401,), advice=_KEY),
    _Rule(Reach.EVERY, (400, 403), r"\bapi[ _-]?key\b", advice=_KEY),
    _Rule(
        Reach.PROMPT,
        _REFUSALS,
        r"context[ _-]?(length|size|window|limit)|(maximum|max)\w* (model|prompt|sequence) length|"
        r"(prompt|input|message)s?\b.{0,60}\b(too (long|large)|exceed)|too many (input )?tokens|"
        r"(exceed\w*|maximum)\b.{0,60}\btokens?\b|tokens?\b.{0,60}\b(must be|exceed)|reduce the length|"
        r"must have less than \d+ tokens|range of input length",
        TOO_LONG,
        _LESS,
    ),
    _Rule(Reach.PROMPT, (413,), "", TOO_LONG, _LESS),
    # A limit of tokens per minute that is smaller than this one request.
    _Rule(Reach.PROMPT, (429,), r"request too large", TOO_LONG, _LESS),
    _Rule(
        Reach.PROMPT,
        _REFUSALS,
        r"content[ _-]?(filter|policy|management|violation)|responsibleai|moderation|flagged|"
        r"data_inspection_failed|inappropriate content|prohibited[ _]content|"
        r"safety (system|filter|polic|setting)",
        "content_filter",
    ),
    _Rule(Reach.PROMPT, _REFUSALS, r"invalid_prompt", "invalid_prompt"),
    _Rule(
        Reach.UNCLEAR,
        _REFUSALS,
        r"\bsystem (role|message|prompt|instruction)s?\b|\broles?\b|developer (message|instruction)",
        NO_SYSTEM_ROLE,
    ),
    # llama.cpp reports a refusal by a chat template as a special error, which is permanent.
    _Rule(Reach.UNCLEAR, _REFUSALS, r"\bjinja|raise_exception|\bchat[ _-]template"),
    _Rule(Reach.EVERY, (404, 405, 410, *range(300, 400)), advice=_ADDRESS),
    _Rule(Reach.MOMENT, (200, 408, 409, 425, 429, *range(500, 600)), advice=_LATER),
    _Rule(Reach.UNCLEAR, (403,), advice="the key may not use this model, or not from here: take another one"),
    _Rule(Reach.UNCLEAR, _ANY),
)
"""The first rule that matches classifies a fault."""


def refusal(status: int, body: Any, headers: Mapping[str, str]) -> Fault:
    """The fault that a server reports.

    Args:
        status: the HTTP status.
        body: the body of the response, as JSON values or as text.
        headers: headers of the response, with names in upper or lower case.
    """
    error = error_in(body) or body
    fields = error if isinstance(error, dict) else {}
    code = next((fields[name] for name in ("code", "status_code") if fields.get(name) is not None), "")
    # An error that a gateway passes on in its reply counts as an error of the server behind it.
    if status == 200 and re.fullmatch(r"[45][0-9]{2}", str(code)):
        status = int(code)
    words = words_of(error) or f"HTTP {status} without a word"
    told = f"{code} {fields.get('type') or ''} {words}"
    rule = next(
        rule
        for rule in _RULES
        if status in rule.statuses and re.search(rule.phrases, told, re.IGNORECASE | re.DOTALL)
    )
    own = str(code) if re.fullmatch(r"[A-Za-z][\w.-]{0,60}", str(code)) else None
    kind = rule.kind or own or ("server_error" if status == 200 else f"http_{status}")
    return Fault(kind, words, rule.reach, rule.advice, asked_wait(headers))


def error_in(body: Any) -> Any:
    """The error in a response's body, as text or as a mapping; None if the body contains no error."""
    if isinstance(body, list):
        return next(filter(None, map(error_in, body)), None)
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    inner = choices[0] if isinstance(choices, list) and choices else None
    error = body.get("error") or (inner.get("error") if isinstance(inner, dict) else None)
    if isinstance(error, dict):
        # Some complete replies have the field, but it is empty.
        return error if any(error.values()) else None
    if error:
        return str(error)
    told = not choices and any(isinstance(body.get(name), str | list) for name in _WORDS)
    return body if told or body.get("object") == "error" else None


_WORDS = ("message", "msg", "detail", "errors", "error_description", "reason", "title")


def words_of(error: Any) -> str:
    """The message of an error in one line, without the markup of a web page."""
    if isinstance(error, dict):
        found = next((error[name] for name in _WORDS if error.get(name)), error)
        # A gateway reports the message of the server behind it separately from its own.
        behind = error.get("metadata") if isinstance(error.get("metadata"), dict) else {}
        words = " ".join(filter(None, (_flat(found), _flat((behind or {}).get("raw") or ""))))
    else:
        words = _flat(error)
    # A page may be long, and its message is at the beginning.
    words = words[:20_000]
    words = re.sub(r"<(script|style)\b.*?</\1>|<[^>]{0,500}>", " ", words, flags=re.DOTALL | re.IGNORECASE)
    words = " ".join(words.split())
    return words if len(words) <= 300 else words[:299] + "…"


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) and "msg" in item for item in value):
        return "; ".join(f"{item.get('loc', '')}: {item['msg']}" for item in value)
    return json.dumps(value, ensure_ascii=False)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, from Retry-After as seconds or date, or retry-after-ms."""
    told = {name.lower(): value.strip() for name, value in headers.items()}
    for name, seconds in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            wait = float(told[name]) * seconds
        except (KeyError, ValueError):
            continue
        return wait if 0 < wait < math.inf else None
    try:
        at = email.utils.parsedate_to_datetime(told["retry-after"])
    except (KeyError, ValueError):
        return None
    wait = at.timestamp() - time.time()
    return wait if wait > 0 else None


def failure(error: openai.OpenAIError | TimeoutError, timeout: float) -> Fault:
    """The fault that the client reports.

    Args:
        error: the exception that the client raised.
        timeout: time limit of a request, in seconds.
    """
    if isinstance(error, openai.APIStatusError):
        response = error.response
        return refusal(response.status_code, json_or_text(response.text), response.headers)
    causes = list(_causes(error))
    for is_it, words, reach, advice in _CONNECTIONS:
        for cause in filter(is_it, causes):
            return Fault(CONNECTION, words.format(cause), reach, advice)
    if isinstance(error, (openai.APITimeoutError, TimeoutError)):
        return Fault(TIMEOUT, f"no reply within {timeout:g} s", Reach.MOMENT, _SLOW)
    words = " ".join(str(causes[-1]).split()) or type(causes[-1]).__name__
    return Fault(CONNECTION, words, Reach.MOMENT, _REACHABLE)


def json_or_text(text: str) -> Any:
    """The JSON values of a text, or the text itself if it is not JSON."""
    try:
        return json.loads(text.lstrip("\ufeff"))
    # Python refuses numbers of thousands of digits with a plain ValueError.
    except (ValueError, RecursionError):
        return text


def _named(*names: str) -> Callable[[BaseException], bool]:
    """Whether an exception is of a class with one of these names, whichever HTTP library it belongs to."""
    return lambda error: any(cls.__name__ in names for cls in type(error).__mro__)


def _speaks_no_tls(error: BaseException) -> bool:
    passing = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    return isinstance(error, ssl.SSLError) and not isinstance(error, passing)


_SLOW = "--request-timeout gives a reply more time, --max-response-tokens makes it shorter"
_REACHABLE = "check that the server runs and that --base-url is its address"
_CONNECTIONS: tuple[tuple[Callable[[BaseException], bool], str, Reach, str], ...] = (
    (
        lambda error: isinstance(error, ssl.SSLCertVerificationError),
        "certificate verify failed: {0.verify_message}",
        Reach.EVERY,
        "SSL_CERT_FILE=FILE in the environment names certificates to trust",
    ),
    (
        _speaks_no_tls,
        "no secure connection: {0}",
        Reach.EVERY,
        "the address of a server without TLS begins with http://",
    ),
    (
        lambda error: isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN,
        "the name is not known: {0.strerror}",
        Reach.EVERY,
        "check the name in --base-url",
    ),
    (_named("ConnectTimeout"), "nothing answers at its address", Reach.MOMENT, _REACHABLE),
    (_named("TooManyRedirects"), "it redirects without end", Reach.EVERY, _ADDRESS),
    (_named("UnsupportedProtocol"), "{0}", Reach.EVERY, _ADDRESS),
    (_named("LocalProtocolError"), "the request cannot be sent: {0}", Reach.EVERY, _KEY),
    (
        lambda error: isinstance(error, ConnectionRefusedError),
        "connection refused: nothing listens there",
        Reach.MOMENT,
        _REACHABLE,
    ),
)
"""Each cause of a failed request: how to recognize it, its message, the requests concerned, and advice."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, its cause, and so on to the first cause."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        group = seen.exceptions[0] if isinstance(seen, BaseExceptionGroup) else None
        seen = group or seen.__cause__ or seen.__context__
