"""Lets in the one browser that opens the URL which the console printed, on a machine that several people use."""

import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

PATH: Final = "/enter"
_COOKIE: Final = "remit-entry"
_SHUT: Final = "Open the URL that the console printed. It opens the console once, for one browser.\n"


class Entrance:
    """Middleware. `key` is in the printed URL; the browser that brings it first gets a cookie, and the key is void."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app = app
        self._key: str | None = key
        self._cookie = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        app = self._app
        if scope["path"] == PATH:
            app = self._enter(QueryParams(scope["query_string"]).get("key", ""))
        elif not secrets.compare_digest(_cookie(Headers(scope=scope)).encode(), self._cookie.encode()):
            app = PlainTextResponse(_SHUT, 401)
        await app(scope, receive, send)

    def _enter(self, key: str) -> Response:
        if self._key is None or not secrets.compare_digest(key.encode(), self._key.encode()):
            return PlainTextResponse(_SHUT, 401)
        self._key = None
        answer = RedirectResponse("./", 303)
        answer.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="lax")
        return answer


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""
