"""Login of people by an OpenID provider. Whatever a page asks of the server carries the person's access token."""

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from remit.console.login.entrance import LOGIN_NEEDED, LoginFailedError, NotAdmittedError, navigates
from remit.console.login.provider import (
    SKEW_S,
    Identity,
    LoginRefusedError,
    LoginStart,
    Provider,
    ProviderAwayError,
    ProviderError,
    Tokens,
)
from remit.console.login.sessions import Sessions
from remit.console.person import Person

SESSION_COOKIE: Final = "__Host-remit"
START_COOKIE: Final = "__Host-remit-login"
"""Binds a login that has begun to one browser: only that browser can end it."""
RECENT_S: Final = 300
"""For so long a proof of who somebody is counts, where something is changed."""
START_S: Final = 600
"""For so long a login that has begun can be ended."""
_FRESH_S: Final = 60.0
_SOON_S: Final = 30.0
_LONGEST_PATH: Final = 2000

_log = logging.getLogger("remit.console")


@dataclass(slots=True)
class LoggedIn:
    """One person in one browser."""

    identity: Identity
    tokens: Tokens
    begun_s: float
    proved_s: float
    """When the person proved who they are, by the clock of the sessions."""
    refreshing: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProviderLogin:
    """The entrance of a console that asks people to log in."""

    def __init__(self, provider: Provider, sessions: Sessions[LoggedIn] | None = None) -> None:
        self._provider = provider
        self._sessions: Sessions[LoggedIn] = Sessions() if sessions is None else sessions
        self._root = provider.settings.public_url.rstrip("/")
        self._sealed = URLSafeTimedSerializer(secrets.token_bytes(32), salt="login")
        self.routes: Sequence[Route] = (
            Route("/login", self._login),
            Route("/login/callback", self._callback),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/logged-out", self._logged_out),
        )

    @property
    def names_people(self) -> bool:
        """Whether the console names people to the server, in place of showing their tokens."""
        return bool(self._provider.settings.act_for)

    def forms(self) -> list[str]:
        return self._provider.origins

    async def admit(self, request: Request) -> Person:
        session_id = request.cookies.get(SESSION_COOKIE, "")
        # A page that reads news in the background keeps no session alive.
        session = self._sessions.find(session_id, used=navigates(request))
        if session is None:
            raise NotAdmittedError(self._to_login(request))
        async with session.refreshing:
            await self._refresh(request, session_id, session)
        recent = self._sessions.clock() - session.proved_s < RECENT_S
        return Person(session.identity.name, session.tokens.access, recent, session.identity.principal)

    def refused(self, request: Request) -> Response:
        if self.names_people:
            _log.warning("the server refuses the credential of this console")
            raise LoginFailedError("The server does not accept the credential of this console.", status=401)
        session = self._sessions.end(request.cookies.get(SESSION_COOKIE, ""))
        if session is not None and self._sessions.clock() - session.begun_s < _FRESH_S:
            # Another login would end here again, and so on.
            _log.warning(
                "the server refuses the access token of %r, which is new: do its issuer, audience and keys fit `identities`?",
                session.identity.name,
            )
            raise LoginFailedError(
                "The provider let you in, but the server does not accept its token. Whoever runs the console finds more "
                "in the logs of both.",
                status=401,
            )
        return self._to_login(request)

    def again(self, request: Request) -> Response:
        return self._to_login(request, recent=True)

    async def _refresh(self, request: Request, session_id: str, session: LoggedIn) -> None:
        tokens = session.tokens
        if tokens.lasts(_SOON_S):
            return
        try:
            if tokens.refresh is not None:
                session.tokens = await self._provider.refresh(tokens)
                return
        except LoginRefusedError as error:
            _log.warning("the token of %r is not renewed: %s", session.identity.name, error)
            self._sessions.end(session_id)
            raise NotAdmittedError(self._to_login(request)) from None
        except ProviderError as error:
            if not tokens.lasts(0):
                raise self._away(error) from None
        if not tokens.lasts(0):
            self._sessions.end(session_id)
            raise NotAdmittedError(self._to_login(request))

    async def _login(self, request: Request) -> Response:
        recent = request.query_params.get("recent") == "1"
        try:
            start = await self._provider.begin(recent_s=RECENT_S if recent else None)
        except ProviderError as error:
            raise self._away(error) from None
        path = own_path(request.query_params.get("next", ""))
        answer = RedirectResponse(start.url, 303)
        sealed = self._sealed.dumps([start.state, start.nonce, start.verifier, path, recent])
        answer.set_cookie(
            START_COOKIE,
            sealed,
            max_age=START_S,
            secure=True,
            httponly=True,
            samesite="lax",
        )
        return answer

    async def _callback(self, request: Request) -> Response:
        start, path, recent = self._started(request)
        query = request.query_params
        if not secrets.compare_digest(query.get("state", "").encode(), start.state.encode()):
            raise _failed("This login was not begun in this browser, or another one was begun after it.")
        try:
            if "error" in query:
                raise LoginRefusedError(f"the provider answers {query['error'][:100]!r}")
            identity = await self._provider.finish(start, query.get("code", ""), query.get("iss"))
        except ProviderAwayError as error:
            raise self._away(error) from None
        except ProviderError as error:
            _log.warning("login refused: %s", error)
            raise _failed("The provider did not let you in, or its answer does not count.") from None
        age_s = time.time() - identity.proved_s if identity.proved_s is not None else None
        if recent and (age_s is None or not -SKEW_S <= age_s <= RECENT_S + SKEW_S):
            _log.warning(
                "login refused: the provider was asked for a new proof by `max_age`, `auth_time` is %s s ago", age_s
            )
            raise _failed("The provider did not ask you again who you are, which this takes.")
        now_s = self._sessions.clock()
        proved_s = now_s - max(age_s, 0.0) if age_s is not None else float("-inf")
        self._sessions.end(request.cookies.get(SESSION_COOKIE, ""))
        session_id = self._sessions.begin(LoggedIn(identity, identity.tokens, now_s, proved_s))
        answer = RedirectResponse(self._root + path, 303)
        answer.set_cookie(SESSION_COOKIE, session_id, secure=True, httponly=True, samesite="lax")
        _forget(answer, START_COOKIE)
        return answer

    async def _logout(self, request: Request) -> Response:
        session = self._sessions.end(request.cookies.get(SESSION_COOKIE, ""))
        there = await self._provider.logout_url(session.identity.id_token) if session is not None else None
        answer = RedirectResponse(there or f"{self._root}/logged-out", 303)
        _forget(answer, SESSION_COOKIE)
        return answer

    async def _logged_out(self, request: Request) -> Response:
        del request
        raise LoginFailedError("Your session has ended.", title="Logged out", status=200)

    def _started(self, request: Request) -> tuple[LoginStart, str, bool]:
        try:
            sealed = request.cookies.get(START_COOKIE, "")
            state, nonce, verifier, path, recent = self._sealed.loads(sealed, max_age=START_S)
        except BadData:
            raise _failed("This login was not begun in this browser, or it took too long.") from None
        return LoginStart("", state, nonce, verifier), own_path(path), recent

    def _to_login(self, request: Request, *, recent: bool = False) -> Response:
        if not navigates(request):
            return PlainTextResponse(LOGIN_NEEDED, 401)
        query = request.scope["query_string"].decode("ascii", "replace")
        path = request.scope["raw_path"].decode("ascii", "replace") + (f"?{query}" if query else "")
        asked = {"next": own_path(path), **({"recent": "1"} if recent else {})}
        return RedirectResponse(f"{self._root}/login?{urlencode(asked)}", 303)

    @staticmethod
    def _away(error: ProviderError) -> LoginFailedError:
        _log.warning("nobody can log in: %s", error)
        return LoginFailedError("The login provider does not answer, or not as expected. Try again later.", status=503)


def own_path(path: str) -> str:
    """The path if it can only lead to this console, else the first page."""
    own = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if own and len(path) <= _LONGEST_PATH else "/"


def _failed(text: str) -> LoginFailedError:
    return LoginFailedError(text, forget=START_COOKIE)


def _forget(answer: Response, cookie: str) -> None:
    answer.delete_cookie(cookie, secure=True, httponly=True, samesite="lax")
