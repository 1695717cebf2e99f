"""The application: the routes of the pages, and what a person sees when there is no answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from remit.client import DecisionUnavailable
from remit.console.drawing.graphs import GraphProcess
from remit.console.feed import Feed
from remit.console.guard import Guard
from remit.console.login.admission import Admission
from remit.console.options import ConsoleOptions
from remit.console.pages import PAGES
from remit.console.render import THEME_COOKIE, THEMES, Renderer
from remit.console.static_files import StoredFiles
from remit.console.view import View, WebPage
from remit.console.visit import BadInputError, Visit
from remit.core.names import INSTANCE, is_tenant

NOT_FOUND: Final = "There is no such page, or you may not see it."
"""One text for both: what exists is told only to those who may know."""
_HIDDEN: Final = frozenset({"PERMISSION_DENIED", "NOT_FOUND"})
_STATUSES: Final = {
    "UNAUTHENTICATED": 401,
    "FAILED_PRECONDITION": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def application(console: ConsoleOptions, pages: Sequence[WebPage] = PAGES) -> ASGIApp:
    entrance = console.entrance
    static = StoredFiles()
    renderer = Renderer(pages, console.target, static.path)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with console.client() as client:
            app.state.client = client
            app.state.feed = feed = Feed(client, console.ask_again_s)
            app.state.graphs = graphs = GraphProcess()
            try:
                yield
            finally:
                await graphs.close()
                await feed.close()

    async def unknown(request: Request, _: Exception) -> Response:
        return renderer.message(request, "Not found", NOT_FOUND, status=404)

    async def broken(request: Request, _: Exception) -> Response:
        return renderer.message(
            request, "The console failed", "This is a mistake in the console; its log says more.", status=500
        )

    app = Starlette(
        routes=[
            *(entrance.routes if entrance is not None else ()),
            *(
                Route(page.path, _endpoint(console, renderer, page), name=page.name, methods=_methods(page))
                for page in pages
            ),
            Route("/theme", choose_theme, methods=["POST"]),
            Mount(f"/{static.path}", static),
        ],
        middleware=[Middleware(Admission, entrance=entrance, renderer=renderer)] if entrance is not None else [],
        exception_handlers={404: unknown, 500: broken},
        lifespan=lifespan,
    )
    # Around all, so that the page about a mistake in the console has the headers too.
    return Guard(
        app,
        hosts=console.hosts,
        forms=entrance.forms if entrance is not None else tuple,
        secure=console.secure,
    )


def _endpoint(console: ConsoleOptions, renderer: Renderer, page: WebPage) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if not is_tenant(request.path_params.get("tenant", INSTANCE)):
            return renderer.message(request, "Not found", NOT_FOUND, status=404)
        visit = Visit(request, request.app.state.client, console)
        try:
            if request.method == "POST" and page.act is not None:
                view = await page.act(visit, await form_of(request))
            else:
                view = await page.show(visit)
            words = await suggestions(visit) if isinstance(view, View) and view.suggests else {}
        except BadInputError as error:
            return renderer.message(request, "This cannot be asked", f"{error.field}: {error.message}", status=400)
        except DecisionUnavailable as error:
            if console.entrance is not None and error.code == "UNAUTHENTICATED":
                return console.entrance.refused(request)
            if error.code == "PERMISSION_DENIED" and await _sees_status(visit):
                text = f"You lack a right: {error.message}."
                return renderer.message(request, "You may not see this", text, status=403)
            return _no_answer(renderer, request, error)
        if isinstance(view, str):
            return RedirectResponse("../" * (request.url.path.count("/") - 1) + view, 303)
        # Others are answered meanwhile.
        return await asyncio.to_thread(renderer.page, request, page, view, words)

    return answer


async def _sees_status(visit: Visit) -> bool:
    """Whether the person knows already that the page's tenant exists; of other pages, whether the person sees any tenant."""
    try:
        if visit.tenant:
            await visit.status()
        else:
            await visit.client.status()
    except DecisionUnavailable:
        return False
    return True


async def suggestions(visit: Visit) -> dict[str, list[str]]:
    """Words of the tenant's vocabulary, for those who may read it. Raises DecisionUnavailable with NOT_FOUND if there is
    no such tenant."""
    try:
        found = await visit.about.get_vocabulary()
    except DecisionUnavailable as error:
        if error.code == "NOT_FOUND":
            raise
        return {}
    return {
        "kinds": [each.kind for each in found.kinds],
        "actions": sorted({action for each in found.kinds for action in each.actions}),
        "relations": [each.relation for each in found.relations],
    }


def _no_answer(renderer: Renderer, request: Request, error: DecisionUnavailable) -> Response:
    if error.code in _HIDDEN:
        return renderer.message(request, "Not found", NOT_FOUND, status=404)
    if error.code == "INVALID_ARGUMENT":
        return renderer.message(request, "This cannot be asked", error.message, status=400)
    status = _STATUSES.get(error.code, 502)
    return renderer.message(request, "The server gave no answer", f"{error.code}: {error.message}", status=status)


def _methods(page: WebPage) -> list[str]:
    return ["GET", "POST"] if page.act is not None else ["GET"]


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a posted form."""
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), max_num_fields=20))


async def choose_theme(request: Request) -> Response:
    """Keeps the theme in a cookie, and goes back to the page."""
    form = await form_of(request)
    theme = form.get("theme", "")
    response = RedirectResponse(back_to(form.get("back", "")), 303)
    if theme in THEMES:
        response.set_cookie(THEME_COOKIE, theme, max_age=365 * 86_400, httponly=True, samesite="lax")
    return response


def back_to(path: str) -> str:
    """A way to a path of this console, whatever the form says: `./` leads to no other host."""
    return f"./{path}" if path.isprintable() and not path.startswith(("/", "\\")) else "./"
