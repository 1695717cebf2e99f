"""Makes HTML of views. Every text is escaped; links are relative, so that the console may stand below any path."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from remit.console.cells import ROWS_SHOWN, csv_text, link_to, shown, tenant_link, time_text
from remit.console.person import PERSON
from remit.console.view import View, WebPage

THEMES: Final = ("auto", "light", "dark")
THEME_COOKIE: Final = "remit-theme"


class Renderer:
    def __init__(self, pages: Sequence[WebPage], target: str, static: str) -> None:
        """`static` is the path of scripts and styles, relative to the console's root."""
        self._pages = pages
        self._target = target
        self._templates = Environment(
            loader=PackageLoader("remit.console", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["shown"] = shown
        self._templates.filters["time"] = time_text
        self._templates.globals.update(link_to=link_to, tenant_link=tenant_link, static=static, rows_shown=ROWS_SHOWN)

    def page(
        self,
        request: Request,
        page: WebPage,
        view: View,
        words: Mapping[str, Sequence[str]] | None = None,
    ) -> Response:
        wanted = request.query_params.get("csv")
        if wanted:
            table = view.table(wanted)
            if table is None or view.status != 200:  # noqa: PLR2004
                return self.message(request, "No such table", "This page has no such table.", status=404)
            name = "-".join(filter(None, (request.path_params.get("tenant", ""), page.name, table.name)))
            return Response(
                csv_text(table),
                media_type="text/csv; charset=utf-8",
                headers={"content-disposition": f'attachment; filename="{name}.csv"'},
            )
        fragment = request.query_params.get("part") == "main"
        context = self._context(request, page, view, fragment)
        return self._html(view.template, {**context, "words": words or {}}, view.status)

    def message(
        self, request: Request, title: str, text: str, *, status: int, template: str = "message.html"
    ) -> Response:
        view = View(title, template=template, context={"text": text}, status=status)
        return self._html(template, self._context(request, None, view, False), status)

    def _html(self, template: str, context: Mapping[str, Any], status: int) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(context), status)

    def _context(self, request: Request, page: WebPage | None, view: View, fragment: bool) -> dict[str, Any]:
        tenant = str(request.path_params.get("tenant", "")) if page is not None else ""
        query = [(name, value) for name, value in request.query_params.multi_items() if name not in {"csv", "part"}]
        theme = request.cookies.get(THEME_COOKIE, "auto")
        person = PERSON.get(None)
        words = view.command if view.status == 200 else ()  # noqa: PLR2004 (what cannot be asked here, no command asks)
        target = ["--target", self._target] if words else []
        return {
            "up": "../" * (request.url.path.count("/") - 1),
            "back": request.url.path.lstrip("/") + (f"?{urlencode(query)}" if query else ""),
            "query": query,
            # No link repeats what a form posted.
            "csv": None if request.method == "POST" else lambda name: f"?{urlencode([*query, ('csv', name)])}",
            "page": page,
            "view": view,
            "tenant": tenant,
            "person": person.name if person is not None else "",
            "theme": theme if theme in THEMES else "auto",
            "themes": THEMES,
            "of_node": self._grouped(of_tenant=False),
            "of_tenant": self._grouped(of_tenant=True) if tenant else {},
            "command": shlex.join(["remit", *words, *target]) if words else "",
            "layout": "fragment.html" if fragment else "base.html",
            "tables": view.tables,
            "ways": {},
            **view.context,
        }

    def _grouped(self, *, of_tenant: bool) -> dict[str, list[WebPage]]:
        groups: dict[str, list[WebPage]] = {}
        for page in self._pages:
            if page.label and page.of_tenant == of_tenant:
                groups.setdefault(page.group, []).append(page)
        return groups
