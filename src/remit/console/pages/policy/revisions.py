import json
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Final

from remit.client import DecisionUnavailable
from remit.console.cells import Cell, Table, code, plain, revision, state, tenant_link, time
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, NotShown, Visit
from remit.v1 import audit_service_pb2
from remit.v1 import policy_service_pb2 as messages

EVENTS: Final = ("time", "event", "revision", "node", "detail")


async def show(visit: Visit) -> View:
    """The revisions on the node's disk, and what became of each version of the files."""
    status = await visit.status()
    not_shown: list[NotShown] = []
    tables = []
    notes: list[str] = []
    try:
        kept = (await visit.client.ask(messages.ListRevisionsRequest(tenant=visit.tenant))).revisions
        tables.append(_kept(visit.tenant, kept, status.revision))
        if any(each.serving and each.revision != status.revision for each in kept):
            notes.append(f"Rows of run time are over the files that serve: together they are {status.revision[:12]}.")
    except DecisionUnavailable as error:
        if error.code != "FAILED_PRECONDITION":
            raise
        notes.append(error.message)
    after = visit.text("after")
    events = await visit.allowed(
        visit.rows(visit.client.list_lifecycle(visit.tenant, after=after, without_calls=True)),
        "What became of the files",
        "AUDIT",
        not_shown,
    )
    if events is not None:
        shown = events if visit.whole else events[:ROWS_A_PAGE]
        tables.append(
            Table(
                "events",
                "Events, newest first",
                EVENTS,
                event_rows(shown),
                further=tenant_link(visit.tenant, "revisions", after=shown[-1].id) if len(events) > len(shown) else "",
            )
        )
    return View(
        f"Revisions of {visit.tenant}",
        ("rollback", visit.tenant),
        tables,
        "notes.html",
        {"notes": notes, "pinned_by": status.pinned_by, "unpin": tenant_link(visit.tenant, "pin")},
        not_shown,
    )


def _kept(tenant: str, kept: Sequence[messages.KeptRevision], serving: str) -> Table:
    newest = sorted(kept, key=lambda each: each.kept_us, reverse=True)
    return Table(
        "kept",
        "Revisions on this node's disk",
        ("revision", "loaded", "state", "what it changed", "against what serves", "pin", "commit", "read from"),
        [
            [
                revision(each.revision, tenant_link(tenant, "source", rev=each.revision)),
                time(each.kept_us),
                state("serving", good=True) if each.serving else plain(""),
                _compared(tenant, before.revision if before is not None else "", each.revision),
                _compared(tenant, each.revision, serving),
                plain("pin")._replace(href=tenant_link(tenant, "pin", rev=each.revision)),
                revision(each.commit),
                code(each.source),
            ]
            for each, before in zip_longest(newest, newest[1:])
        ],
        "No revision is stored.",
    )


def _compared(tenant: str, old: str, new: str) -> Cell:
    if not old or old == new:
        return plain("")
    return plain("compare")._replace(href=tenant_link(tenant, "diff", old=old, new=new))


def event_rows(events: Iterable[audit_service_pb2.LifecycleRecord]) -> list[list[Cell]]:
    return [
        [
            time(each.time_us),
            plain(each.type),
            revision(each.revision),
            code(each.node),
            Cell(detail_text(each.detail), code=True, whole=each.detail),
        ]
        for each in events
    ]


def detail_text(detail: str) -> str:
    """An event's detail, which is JSON, as words."""
    try:
        found = json.loads(detail or "{}")
    except ValueError:
        return detail
    if not isinstance(found, dict):
        return detail
    return "; ".join(f"{name}: {_value_text(value)}" for name, value in found.items())


def _value_text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_value_text(each) for each in value)
    return value if isinstance(value, str) else json.dumps(value)


PAGE: Final = WebPage("revisions", "/t/{tenant}/revisions", "Revisions", show, "Policy")
