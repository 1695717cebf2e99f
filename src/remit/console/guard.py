"""Keeps other sites out: refuses foreign hosts and requests from foreign pages, and sends the headers of a strict browser."""

from collections.abc import Callable, Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from remit.core.addresses import is_loopback

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
MOST_BODY: Final = 4 * 1024 * 1024
"""Bytes of a request: a pasted graph."""
_SAFE: Final = ("GET", "HEAD")
_OWN: Final = ("same-origin", "none")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action {forms}; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types remit"
)


def policy(forms: Iterable[str] = ()) -> str:
    return _POLICY.format(forms=" ".join(("'self'", *forms)))


class Guard:
    """Middleware before all else."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str],
        forms: Callable[[], Iterable[str]] = tuple,
        secure: bool = False,
    ) -> None:
        """`hosts` are the names under which the console is reached, without ports. `forms` are the origins that forms may
        lead to, beside the console itself. `secure`: browsers reach the console by https."""
        self.app = app
        self._hosts = hosts
        self._forms = forms
        self._scheme = "https" if secure else "http"
        self._headers = {
            "x-content-type-options": "nosniff",
            # Principals stand in URLs.
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }
        if secure:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("content-security-policy", policy(self._forms()))
            await send(message)

        refused = self._refusal(scope["method"], Headers(scope=scope))
        app = self.app if refused is None else refused
        await app(scope, receive, guarded)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name(hosts[0]) not in self._hosts:
            # A page of another site whose name was pointed at this address (DNS rebinding).
            return PlainTextResponse("This console is not reached under that name.\n", 421)
        site = headers.get("sec-fetch-site")
        if method not in _SAFE:
            own = site in _OWN if site is not None else headers.get("origin") == f"{self._scheme}://{hosts[0]}"
            if not own:
                return PlainTextResponse("Only a page of this console may send this.\n", 403)
            length = headers.get("content-length", "")
            if not length.isdigit() or len(length) > len(str(MOST_BODY)) or int(length) > MOST_BODY:
                return PlainTextResponse(f"Expected a body of at most {MOST_BODY} bytes, and its length.\n", 413)
        elif site in {"cross-site", "same-site"} and headers.get("sec-fetch-mode") != "navigate":
            # Each page asks the server questions, which are recorded: a link may lead here, an image may not.
            return PlainTextResponse("Only a page of this console may load this.\n", 403)
        return None


def _name(host: str) -> str:
    """Without the port: a browser leaves it out where it is the scheme's own."""
    name, separator, port = host.rpartition(":")
    return (name if separator and port.isdigit() else host).lower()


def needs_login(host: str) -> bool:
    """Whether a console that listens at `host` can be reached from another machine."""
    return not is_loopback(host)
