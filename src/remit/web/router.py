"""One ASGI application in front of the APIs: it finds the API of a path, and keeps pages of other origins out."""

from collections.abc import Collection
from typing import Final

from remit.web.asgi import Application, Headers, Receive, Scope, Send, respond

_JSON: Final = (b"content-type", b"application/json")
_NOT_FOUND: Final = b'{"code":"not_found","message":"there is no API at this path"}'
_FOREIGN: Final = (
    b'{"code":"permission_denied","message":"the page that sends this has an origin that `http_origins` does not name"}'
)
_ALLOWED_HEADERS: Final = (
    b"authorization, content-type, connect-protocol-version, connect-timeout-ms, grpc-timeout, traceparent, "
    b"x-grpc-web, x-request-id, x-user-agent"
)
_EXPOSED_HEADERS: Final = (
    b"grpc-message, grpc-status, grpc-status-details-bin, retry-after, www-authenticate, x-request-id"
)
_KEPT_S: Final = b"7200"
"""How long browsers keep the answer to a preflight."""


class Router:
    """Hands a request on by the first part of its path.

    Browsers name the origin of the page that sends a request. Only pages of the origins that `http_origins` names are
    answered: otherwise any page that a developer opens could ask a server on the same machine.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(each.encode() for each in origins)
        self._mounted: dict[str, Application] = {}

    def mount(self, first: str, application: Application) -> None:
        """Hands `/FIRST/...` to the application, with the path as it came."""
        self._mounted[first] = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = None
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value
                break
        if origin is not None:
            if origin not in self._origins:
                await respond(send, 403, _FOREIGN, [_JSON])
                return
            send = _shared(send, origin)
            if scope["method"] == "OPTIONS":
                await respond(send, 204, b"", _preflight())
                return
        # An encoded path would be another name of the same thing: proxies may have rules about the first one.
        plain = scope["raw_path"].startswith(b"/") and b"%" not in scope["raw_path"]
        found = self._mounted.get(scope["path"].split("/", 2)[1]) if plain else None
        if found is None:
            await respond(send, 404, _NOT_FOUND, [_JSON])
            return
        await found(scope, receive, send)


def _preflight() -> Headers:
    return [
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", _ALLOWED_HEADERS),
        (b"access-control-max-age", _KEPT_S),
    ]


def _shared(send: Send, origin: bytes) -> Send:
    """Adds the headers by which a browser shows the response to the page."""

    async def sending(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            added = [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _EXPOSED_HEADERS),
                (b"vary", b"Origin"),
            ]
            message = {**message, "headers": [*message["headers"], *added]}  # type: ignore[misc]
        await send(message)

    return sending  # type: ignore[return-value]
