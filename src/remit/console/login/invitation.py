"""The URL that opens a console once, for one browser, on a machine that several people use."""

import secrets
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from remit.console.login.entrance import NotAdmittedError
from remit.console.person import Person

_BYTES: Final = 32
_SHUT: Final = "Open the URL that the console printed. It opens the console once, for one browser.\n"


class Invitation:
    def __init__(self) -> None:
        self._key = secrets.token_urlsafe(_BYTES)
        # Browsers send a cookie to every port of a host: two consoles need two names.
        self.cookie = f"remit-{secrets.token_hex(4)}"
        self._session = ""
        self.routes: Sequence[Route] = (Route("/enter", self._enter),)

    @property
    def path(self) -> str:
        return f"enter?key={self._key}"

    def forms(self) -> tuple[str, ...]:
        return ()

    async def admit(self, request: Request) -> Person | None:
        if not _same(request.cookies.get(self.cookie, ""), self._session):
            raise NotAdmittedError(PlainTextResponse(_SHUT, 401))
        return None

    def refused(self, request: Request) -> Response:
        """Nobody has a token: it is the console's own credential that does not count."""
        del request
        return PlainTextResponse("The server does not accept the credential of this console.\n", 401)

    def again(self, request: Request) -> Response:
        return self.refused(request)

    async def _enter(self, request: Request) -> Response:
        if not _same(request.query_params.get("key", ""), self._key):
            return PlainTextResponse(_SHUT, 401)
        self._key = ""
        self._session = secrets.token_urlsafe(_BYTES)
        answer = RedirectResponse("./", 303)
        answer.set_cookie(self.cookie, self._session, httponly=True, samesite="lax")
        return answer


def _same(given: str, expected: str) -> bool:
    return bool(expected) and secrets.compare_digest(given.encode(), expected.encode())
