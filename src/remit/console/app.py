"""The application: the routes of the pages, and what a person sees when there is no answer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from remit.client import AsyncClient, DecisionUnavailable
from remit.console.guard import LOOPBACK_HOSTS, Guard
from remit.console.pages import PAGES
from remit.console.render import THEME_COOKIE, THEMES, Renderer, static_folder
from remit.console.view import WebPage
from remit.console.visit import BadInputError, Visit
from remit.core.names import INSTANCE, is_tenant

NOT_FOUND: Final = "There is no such page, or you may not see it."
"""One text for both: what exists is told only to those who may know."""
_HIDDEN: Final = frozenset({"PERMISSION_DENIED", "NOT_FOUND"})
_STATUSES: Final = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "FAILED_PRECONDITION": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


@dataclass(frozen=True, slots=True)
class Console:
    """What the application is made from."""

    client: Callable[[], AsyncClient]
    """Makes the client, within the event loop."""
    target: str
    """The server's address, as commands name it."""
    hosts: frozenset[str] = LOOPBACK_HOSTS
    graphs: Path | None = None
    """A folder of dependency graphs to show."""


def application(console: Console, pages: Sequence[WebPage] = PAGES) -> Starlette:
    renderer = Renderer(pages, console.target)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with console.client() as client:
            app.state.client = client
            yield

    def endpoint(page: WebPage) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if not is_tenant(request.path_params.get("tenant", INSTANCE)):
                return renderer.message(request, "Not found", NOT_FOUND, status=404)
            visit = Visit(request, request.app.state.client, console.target)
            try:
                view = await page.show(visit)
            except BadInputError as error:
                return renderer.message(request, "This cannot be asked", f"{error.field}: {error.message}", status=400)
            except DecisionUnavailable as error:
                return _no_answer(renderer, request, error)
            return renderer.page(request, page, view)

        return answer

    async def unknown(request: Request, _: Exception) -> Response:
        return renderer.message(request, "Not found", NOT_FOUND, status=404)

    async def broken(request: Request, _: Exception) -> Response:
        return renderer.message(
            request, "The console failed", "This is a mistake in the console; its log says more.", status=500
        )

    return Starlette(
        routes=[
            *(Route(page.path, endpoint(page), name=page.name) for page in pages),
            Route("/theme", choose_theme, methods=["POST"]),
            Mount("/static", StaticFiles(directory=static_folder())),
        ],
        middleware=[Middleware(Guard, hosts=console.hosts)],
        exception_handlers={404: unknown, 500: broken},
        lifespan=lifespan,
    )


def _no_answer(renderer: Renderer, request: Request, error: DecisionUnavailable) -> Response:
    if error.code in _HIDDEN:
        return renderer.message(request, "Not found", NOT_FOUND, status=404)
    status = _STATUSES.get(error.code, 502)
    return renderer.message(request, "The server gave no answer", f"{error.code}: {error.message}", status=status)


async def choose_theme(request: Request) -> Response:
    """Keeps the theme in a cookie, and goes back to the page."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    theme = (form.get("theme") or [""])[0]
    response = RedirectResponse(back_to((form.get("back") or [""])[0]), 303)
    if theme in THEMES:
        response.set_cookie(THEME_COOKIE, theme, max_age=365 * 86_400, httponly=True, samesite="lax")
    return response


def back_to(path: str) -> str:
    """A way to a path of this console, whatever the form says: `./` leads to no other host."""
    return f"./{path}" if path.isprintable() and not path.startswith(("/", "\\")) else "./"
