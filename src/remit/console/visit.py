"""One request of a person: what stands in its URL, and the client that asks in the person's name."""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from starlette.requests import Request

from remit.client import AsyncClient, AsyncTenantClient, DecisionUnavailable
from remit.console.options import ConsoleOptions
from remit.console.person import PERSON, RecentLoginNeededError
from remit.v1.policy_service_pb2 import ListRevisionsRequest
from remit.v1.status_service_pb2 import TenantStatus

if TYPE_CHECKING:
    from remit.console.drawing.graphs import GraphProcess
    from remit.console.feed import Feed

_Answer = TypeVar("_Answer")

ROWS_A_PAGE: Final = 100
MOST_ROWS: Final = 100_000
MOST_CELLS: Final = 500_000
"""Of one CSV, and in a matrix."""
_AGO: Final = re.compile(r"([0-9]{1,6})([smhd])").fullmatch
_LEAST_DIGITS: Final = 8
_DIGITS: Final = 64
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TOO_MANY: Final = f"the table has more than {MOST_ROWS} rows: narrow the question"


def whole_revision(wanted: str, known: Iterable[str]) -> str:
    """The one of these revisions that begins so, if there is only one; else what was wanted."""
    found = [each for each in known if wanted and each.startswith(wanted)]
    return found[0] if len(found) == 1 else wanted


def unknown_tenant() -> DecisionUnavailable:
    """As of a tenant that the person may not see."""
    return DecisionUnavailable("NOT_FOUND", "there is no such tenant")


@dataclass(frozen=True, slots=True)
class NotShown:
    """What a page does not show, and the right that it takes."""

    what: str
    right: str


class BadInputError(Exception):
    """What stands in the URL cannot be asked. `field` is the name of the input."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Visit:
    def __init__(self, request: Request, client: AsyncClient, console: ConsoleOptions) -> None:
        self.request = request
        self.client = client
        self.console = console
        self.now_us = time.time_ns() // 1_000

    @property
    def tenant(self) -> str:
        return str(self.request.path_params.get("tenant", ""))

    def need_recent_login(self) -> None:
        """For what changes the server: call it before the form is shown, and again before what was sent is done. Without
        login nothing happens."""
        person = PERSON.get(None)
        if person is not None and not person.recent:
            raise RecentLoginNeededError

    @property
    def feed(self) -> "Feed":
        feed: Feed = self.request.app.state.feed
        return feed

    @property
    def graphs(self) -> "GraphProcess":
        graphs: GraphProcess = self.request.app.state.graphs
        return graphs

    @property
    def about(self) -> AsyncTenantClient:
        """The client, for the tenant of the page."""
        return self.client.tenant(self.tenant)

    async def revision(self) -> str:
        """The revision of the URL, for questions that only the serving one answers. Its first digits name it too, as
        pages show them. Raises BadInputError for another one, on which the server would wait."""
        wanted = self.text("rev")
        if not wanted:
            return ""
        try:
            serving = (await self.status()).revision
        except DecisionUnavailable as error:
            if error.code != "PERMISSION_DENIED":
                raise
            return wanted
        if len(wanted) < _LEAST_DIGITS or not serving.startswith(wanted):
            raise BadInputError("rev", f"expected the revision that serves: {serving[:12]}")
        return serving

    async def stored_revision(self) -> str:
        """The revision of the URL, for what older ones left. Its first digits name it, if this node stores it."""
        wanted = self.text("rev")
        if not _LEAST_DIGITS <= len(wanted) < _DIGITS:
            return wanted
        try:
            stored = await self.client.ask(ListRevisionsRequest(tenant=self.tenant))
        except DecisionUnavailable as error:
            if error.code not in {"PERMISSION_DENIED", "FAILED_PRECONDITION"}:
                raise
            return wanted
        return whole_revision(wanted, [each.revision for each in stored.revisions])

    async def status(self) -> TenantStatus:
        """The status of the page's tenant. Raises DecisionUnavailable with NOT_FOUND if there is no such tenant."""
        found = (await self.client.status(self.tenant)).tenants
        if not found:
            raise unknown_tenant()
        return found[0]

    async def unknown(self, text: str = "") -> str:
        """The text, and that there is no such tenant if so: for forms, and for tables of records, which may be older than
        the tenant's end."""
        try:
            await self.status()
        except DecisionUnavailable as error:
            if error.code == "NOT_FOUND":
                return f"{text} The server serves no tenant of this name.".strip()
            if error.code != "PERMISSION_DENIED":
                raise
        return text

    async def not_stored(self, error: DecisionUnavailable) -> str:
        """What the server says of a file or revision that it does not have. Raises the error if it is about something
        else, and as for any page of a tenant that the person may not see."""
        if error.code != "NOT_FOUND" or not (self.text("rev") or self.text("file")):
            raise error
        await self.status()
        return error.message

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    def text(self, name: str, default: str = "") -> str:
        return self.query.get(name, default).strip()

    def choice(self, name: str, known: tuple[str, ...]) -> str:
        """One of the known words; the first if none is given."""
        word = self.text(name) or known[0]
        if word not in known:
            raise BadInputError(name, f"expected one of {', '.join(each or '(empty)' for each in known)}")
        return word

    def number(self, name: str, default: int, *, least: int = 0, most: int = 1_000_000) -> int:
        text = self.text(name) or str(default)
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
            raise BadInputError(name, f"expected a number from {least} to {most}")
        return int(text)

    def time_us(self, name: str) -> int:
        """A time of the query as microseconds: in UTC, or so long ago as `30m`, `24h` or `7d`. 0 if none is given."""
        text = self.text(name)
        if not text:
            return 0
        if ago := _AGO(text):
            return self.now_us - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000
        try:
            found = datetime.fromisoformat(text)
            found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
            return int(found.timestamp() * 1e6)
        except (ValueError, OverflowError):
            raise BadInputError(
                name, "expected a time in UTC such as 2026-11-27T04:26, or how long ago, such as 24h"
            ) from None

    @property
    def whole(self) -> bool:
        """Whether a table is wanted with all its rows, as CSV."""
        return bool(self.text("csv"))

    def need_room(self, rows: int, columns: int = 1) -> None:
        """Raises BadInputError if the CSV that is wanted would have too many rows, or a matrix too many cells."""
        if not self.whole:
            return
        if rows > MOST_ROWS:
            raise BadInputError(
                "csv", f"the table has {rows} rows: at most {MOST_ROWS} are written; narrow the question"
            )
        if rows * columns > MOST_CELLS:
            raise BadInputError(
                "csv",
                f"the matrix has {rows} rows and {columns} columns: at most {MOST_CELLS} cells are written; name fewer "
                "kinds or actions",
            )

    async def allowed(
        self, asked: Awaitable[_Answer], what: str, right: str, not_shown: list[NotShown]
    ) -> _Answer | None:
        """The answer; None if the person has no right to it, which is then noted in `not_shown`."""
        try:
            return await asked
        except DecisionUnavailable as error:
            if error.code != "PERMISSION_DENIED":
                raise
            not_shown.append(NotShown(what, right))
            return None

    async def some(self, items: AsyncIterator[_Answer], most: int = ROWS_A_PAGE) -> list[_Answer]:
        """The first items."""
        found: list[_Answer] = []
        async for each in items:
            found.append(each)
            if len(found) == most:
                break
        return found

    async def every(self, items: AsyncIterator[_Answer]) -> list[_Answer]:
        """All items. Raises BadInputError if they are too many for one answer."""
        found = await self.some(items, MOST_ROWS + 1)
        if len(found) > MOST_ROWS:
            raise BadInputError("csv", _TOO_MANY)
        return found

    async def rows(self, items: AsyncIterator[_Answer]) -> list[_Answer]:
        """Those of a page and one more, which tells that there are further ones; or all, for CSV."""
        return await (self.every(items) if self.whole else self.some(items, ROWS_A_PAGE + 1))
