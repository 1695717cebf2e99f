"""Lets no request past that nobody is admitted for."""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from remit.console.login.entrance import Entrance, LoginFailedError, NotAdmittedError
from remit.console.person import PERSON, RecentLoginNeededError
from remit.console.render import Renderer

_OPEN_TO_ALL: Final = frozenset({"/theme"})
_STATIC: Final = "/static/"


class Admission:
    """Middleware before all pages."""

    def __init__(self, app: ASGIApp, *, entrance: Entrance, renderer: Renderer) -> None:
        self._app = app
        self._entrance = entrance
        self._renderer = renderer
        self._open = _OPEN_TO_ALL | {each.path for each in entrance.routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            person = None if self._is_open(scope["path"]) else await self._entrance.admit(request)
            if person is None:
                await self._app(scope, receive, send)
                return
            before = PERSON.set(person)
            try:
                await self._app(scope, receive, send)
            finally:
                PERSON.reset(before)
        except NotAdmittedError as error:
            await error.answer(scope, receive, send)
        except RecentLoginNeededError:
            await self._entrance.again(request)(scope, receive, send)
        except LoginFailedError as error:
            page = self._renderer.message(request, error.title, error.text, status=error.status, template="log_in.html")
            if error.forget:
                page.delete_cookie(error.forget, secure=True, httponly=True, samesite="lax")
            await page(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith(_STATIC)
