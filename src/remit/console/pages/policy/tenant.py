from collections.abc import Iterable
from typing import Final

from remit.client import RecordFilter
from remit.console.cells import Cell, Table, code, effect, number, plain, tenant_link, time
from remit.console.pages.node.overview import state_cell
from remit.console.pages.policy.revisions import EVENTS, event_rows
from remit.console.view import View, WebPage
from remit.console.visit import NotShown, Visit
from remit.v1 import audit_service_pb2, policy_service_pb2
from remit.v1 import status_service_pb2 as messages

_DAY_US: Final = 24 * 3_600_000_000
_EVENTS: Final = 10
_MEANINGS: Final = {
    messages.TENANT_STATE_STALE: "The newest files do not load: an older revision serves.",
    messages.TENANT_STATE_UNAVAILABLE: "The files do not load and no older revision is there: no question is answered.",
    messages.TENANT_STATE_PINNED: "An operator pinned the revision that serves: newer files are checked and wait.",
}


async def show(visit: Visit) -> View:
    """What a tenant serves, what is wrong with its files, and what was asked of late."""
    found = await visit.status()
    not_shown: list[NotShown] = []
    kept = await visit.allowed(
        visit.client.ask(policy_service_pb2.ListRevisionsRequest(tenant=visit.tenant)),
        "The revisions on disk",
        "STATUS",
        not_shown,
    )
    counts = await visit.allowed(
        visit.some(
            visit.client.count_records(
                RecordFilter(tenant=visit.tenant, since_us=visit.now_us - _DAY_US), ("effect", "question")
            ),
            1_000,
        ),
        "Decisions of the last day, and events",
        "AUDIT",
        not_shown,
    )
    tables = []
    if found.diagnostics:
        tables.append(_mistakes(found.diagnostics))
    if found.hidden_diagnostics:
        not_shown.append(NotShown(f"{found.hidden_diagnostics} mistakes in the files", "READ"))
    if counts is not None:
        tables.append(_counts(visit.tenant, counts))
        events = await visit.some(visit.client.list_lifecycle(visit.tenant, without_calls=True), _EVENTS + 1)
        every = f"{tenant_link(visit.tenant, 'revisions')}#events" if len(events) > _EVENTS else ""
        tables.append(Table("events", "Newest events", EVENTS, event_rows(events[:_EVENTS]), further=every))
    return View(
        visit.tenant,
        ("status",),
        tables,
        "tenant.html",
        {"facts_of_tenant": _facts(found, kept.revisions if kept is not None else ())},
        not_shown,
    )


def _facts(found: messages.TenantStatus, kept: Iterable[policy_service_pb2.KeptRevision]) -> list[tuple[str, Cell]]:
    commit = next((each.commit for each in kept if each.revision == found.revision), "")
    page = tenant_link(found.tenant, "revisions")
    newer = found.files_revision if found.files_revision != found.revision else ""
    return [
        ("state", state_cell(found)),
        ("that is", plain(_MEANINGS.get(found.state, ""))),
        ("in this state since", time(found.since_us)),
        ("pinned by", code(found.pinned_by)),
        ("revision", code(found.revision, page)),
        ("commit", code(commit)),
        ("newest files", code(newer, page) if newer else plain("served" if found.files_revision else "cannot be read")),
        ("rows", number(found.rows)),
        ("position", code(found.position)),
    ]


def _mistakes(found: Iterable[messages.Diagnostic]) -> Table:
    return Table(
        "mistakes",
        "Mistakes in the newest files",
        ("at", "what is wrong"),
        [
            [
                code(":".join(str(part) for part in (each.file, each.line, each.column) if part)),
                plain(each.message),
            ]
            for each in found
        ],
    )


def _counts(tenant: str, counts: Iterable[audit_service_pb2.RecordCount]) -> Table:
    rows = []
    for each in sorted(counts, key=lambda each: -(each.recorded + each.unrecorded)):
        page = tenant_link(tenant, "decisions", effect=each.effect, question=each.question, since="24h")
        rows.append(
            [
                code(each.question, page),
                effect(each.effect),
                number(each.recorded + each.unrecorded),
                number(each.unrecorded),
            ]
        )
    return Table(
        "day",
        "Decisions of the last 24 hours",
        ("question", "effect", "decisions", "of these only counted"),
        rows,
        "Nothing was decided.",
        numbers=frozenset({2, 3}),
    )


PAGE: Final = WebPage("tenant", "/t/{tenant}", "", show)
