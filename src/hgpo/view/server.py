"""Serves the live page: its files, and questions about runs and rollouts, answered in JSON.

Everything lies under a token that only those know who were given the address. Questions read; none of them
writes, or imports anything that it names.
"""

from __future__ import annotations

import dataclasses
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS
from hgpo.report.page import SHARED, as_json, one_file, web_text
from hgpo.view.rollouts import Filter, Rollouts
from hgpo.view.sources import Source

HOSTS = ("127.0.0.1", "localhost")
"""The names by which the server may be called. Requests by another site's name are refused."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MODULES = ("data.js", "credit.js", "table.js", "task.js", "compare.js", "save.js", "view.js")
"""The page's own modules; each comes after those that it imports."""
MOST_ROWS = 1000
"""Largest number of rollouts in an answer."""
PACKAGE = "hgpo.view"
KINDS = {".js": "text/javascript", ".css": "text/css"}


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(18)


def application(sources: Sequence[Source], token: str) -> Starlette:
    """The server's ASGI application.

    Args:
        sources: what is looked at.
        token: the first part of every path; a request without it is refused.
    """
    rollouts = Rollouts(sources)
    questions: dict[str, Callable[[Mapping[str, str]], Any]] = {
        "sources": lambda asked: _sources(sources),
        "version": lambda asked: _version(sources),
        "rollouts": lambda asked: _found(rollouts, asked),
        "credit": lambda asked: rollouts.credit_by_type(
            _source(rollouts, asked, "source"), _text(asked, "credit")
        ),
        "task": lambda asked: rollouts.task(
            _source(rollouts, asked, "source"),
            _integer(asked, "iteration"),
            _text(asked, "task"),
            _text(asked, "credit"),
            asked.get("trajectory", ""),
        ),
        "answers": lambda asked: rollouts.answers(
            _source(rollouts, asked, "source"), _integer(asked, "iteration"), _text(asked, "trajectory")
        ),
        "common": lambda asked: rollouts.common_tasks(
            _source(rollouts, asked, "first"), _source(rollouts, asked, "second"), _text(asked, "credit")
        ),
    }

    # Plain functions, so that Starlette calls them in threads: they read files and compute.
    def answer(request: Request) -> Response:
        question = questions.get(request.path_params["question"])
        if question is None:
            raise HTTPException(404, "no such question")
        try:
            return _json(question(request.query_params))
        except SettingError as error:
            return _json({"error": str(error)}, 400)

    def page(request: Request) -> Response:
        return Response(web_text("view.html", PACKAGE), media_type="text/html")

    def offline(request: Request) -> Response:
        return Response(offline_page(), media_type="text/plain")

    def web(request: Request) -> Response:
        name = request.path_params["name"]
        known = {**dict.fromkeys((*SHARED, "style.css"), "hgpo.report"), **dict.fromkeys(MODULES, PACKAGE)}
        known["view.css"] = PACKAGE
        if name not in known:
            raise HTTPException(404, "no such file")
        return Response(web_text(name, known[name]), media_type=KINDS[name[name.rindex(".") :]])

    routes = [
        Route("/{token}/", page),
        Route("/{token}/offline", offline),
        Route("/{token}/web/{name}", web),
        Route("/{token}/api/{question}", answer),
    ]
    middleware = [
        Middleware(_Headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False),
        Middleware(_Token, token=token),
        Middleware(GZipMiddleware, minimum_size=2000, compresslevel=4),
    ]
    return Starlette(routes=routes, middleware=middleware)


def offline_page() -> str:
    """The page as one file without data, which "save this view" fills with what is on the screen."""
    modules = [web_text(name) for name in SHARED] + [web_text(name, PACKAGE) for name in MODULES]
    style = web_text("style.css") + web_text("view.css", PACKAGE)
    return one_file(_without_links(web_text("view.html", PACKAGE)), style, modules)


def _without_links(page: str) -> str:
    """The page with the places that `one_file` fills, instead of links to its style and modules."""
    lines = [line for line in page.splitlines() if not line.startswith('<link rel="stylesheet"')]
    script = '<script type="module" src="web/view.js"></script>'
    return (
        "\n".join(lines)
        .replace(script, "<script>MODULES</script>")
        .replace("</head>", "<style></style>\n</head>")
    )


class _Token:
    """Refuses every request whose path does not begin with the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = scope.get("path", "").split("/")[1:2] or [""]
        if scope["type"] == "http" and not hmac.compare_digest(given[0].encode(), self.token):
            refusal = Response("the address lacks its token: open the one that hgpo view printed\n", 403)
            return await refusal(scope, receive, send)
        await self.app(scope, receive, send)


class _Headers:
    """Adds `HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        await self.app(scope, receive, with_headers)


def _json(value: Any, status: int = 200) -> Response:
    # Half of a character, which a text may end in, has no UTF-8.
    return Response(as_json(value).encode("utf-8", "replace"), status, media_type="application/json")


def _sources(sources: Sequence[Source]) -> dict[str, Any]:
    shown = []
    for source in sources:
        about = source.about()
        iterations = [batch.iteration for batch in source.batches()]
        shown.append(about | {"iterations": iterations, "estimator": repr(source.estimator())})
    return {**_version(sources), "sources": shown, "estimators": _estimators()}


def _version(sources: Sequence[Source]) -> dict[str, str]:
    """Something that changes whenever there is something new to see."""
    return {"version": str(hash(tuple(source.state() for source in sources)))}


def _estimators() -> list[dict[str, Any]]:
    """The estimators and those of their settings that are a number, a truth value or one of some words."""
    found = []
    for name, cls in ESTIMATORS.items():
        hints = get_type_hints(cls)
        settings = []
        for field in dataclasses.fields(cls):
            if not field.init or not isinstance(field.default, bool | int | float | str):
                continue
            words = [word for word in get_args(hints[field.name]) if isinstance(word, str)]
            settings.append({"name": field.name, "value": field.default, "words": words})
        found.append({"name": name, "settings": settings})
    return found


def _found(rollouts: Rollouts, asked: Mapping[str, str]) -> dict[str, Any]:
    wanted = Filter(
        **{name: _range(asked, name) for name in ("iteration", "steps", "reward", "advantage")},
        won={"yes": True, "no": False}.get(asked.get("won", "")),
        task_type=asked.get("type"),
        task=asked.get("task", ""),
        text=asked.get("text", ""),
    )
    answer = rollouts.find(
        _source(rollouts, asked, "source"),
        wanted,
        _text(asked, "credit"),
        sort=asked.get("sort", "iteration"),
        descending=asked.get("order", "down") == "down",
        first=max(_integer(asked, "first", 0), 0),
        count=min(max(_integer(asked, "count", 100), 0), MOST_ROWS),
    )
    return dataclasses.asdict(answer)


def _range(asked: Mapping[str, str], name: str) -> tuple[float | None, float | None]:
    """The ends of "2..5", "2..", "..5" or "2"; spaces do not matter."""
    low, dots, high = asked.get(name, "").partition("..")
    try:
        ends = [float(end) if end.strip() else None for end in (low, high if dots else low)]
    except ValueError:
        raise SettingError(f"{name} is {asked[name]!r}: expected a number, or a range such as 2..5") from None
    return ends[0], ends[1]


def _text(asked: Mapping[str, str], name: str) -> str:
    if name not in asked:
        raise SettingError(f"{name} is missing")
    return asked[name]


def _integer(asked: Mapping[str, str], name: str, otherwise: int | None = None) -> int:
    if name not in asked and otherwise is not None:
        return otherwise
    text = _text(asked, name)
    try:
        return int(text)
    except ValueError:
        raise SettingError(f"{name} is {text!r}: expected an integer") from None


def _source(rollouts: Rollouts, asked: Mapping[str, str], name: str) -> int:
    number = _integer(asked, name)
    if not 0 <= number < len(rollouts.sources):
        raise SettingError(f"{name} is {number}: there are {len(rollouts.sources)} sources")
    return number
