from collections.abc import Iterable
from typing import Final

from remit.client import DecisionUnavailable
from remit.console.cells import Cell, Table, code, joined, number, plain
from remit.console.forms import Field
from remit.console.pages.ask.rows import place_cell, text_cell
from remit.console.pages.policy.namespace import sets
from remit.console.view import View, WebPage
from remit.console.visit import Visit
from remit.v1 import decision_pb2, resource_service_pb2
from remit.v1 import policy_service_pb2 as messages

_PAIRS: Final = {
    messages.REACH_PAIRS_OTHERS: "where the two differ",
    messages.REACH_PAIRS_ABOVE: "where the owner is an ancestor",
    messages.REACH_PAIRS_NOT_ABOVE: "where the owner is no ancestor",
    messages.REACH_PAIRS_ITSELF: "of itself",
}
_ACCESS: Final = ("who", "through", "holders", "may", "in")
_REACH: Final = ("work in", "by", "uses what is owned by", "pairs")


async def show(visit: Visit) -> View:
    """Who gains and who loses what where, between two revisions, and by which rows."""
    kept = (await visit.client.ask(messages.ListRevisionsRequest(tenant=visit.tenant))).revisions
    known = [each.revision for each in kept]
    old, new = visit.text("old"), visit.text("new")
    if not (old or new):
        return _view(visit, known)
    try:
        answer = await visit.about.diff_revisions(old, new)
    except DecisionUnavailable as error:
        if error.code not in {
            "NOT_FOUND",
            "FAILED_PRECONDITION",
            "RESOURCE_EXHAUSTED",
            "UNAVAILABLE",
            "INVALID_ARGUMENT",
        }:
            raise
        return _view(visit, known, note=error.message, status=409)
    tables = [
        Table("losses", "Losses", _ACCESS, _access(answer.losses), "Nobody loses anything.", numbers=frozenset({2})),
        Table("gains", "Gains", _ACCESS, _access(answer.gains), "Nobody gains anything.", numbers=frozenset({2})),
    ]
    if answer.reach_losses or answer.reach_gains:
        tables += [
            Table("reach-losses", "Reach that is lost", _REACH, _reach(answer.reach_losses), "None."),
            Table("reach-gains", "Reach that is gained", _REACH, _reach(answer.reach_gains), "None."),
        ]
    if answer.dedicated:
        tables.append(_dedicated(answer.dedicated))
    tables += [
        _rows(
            visit.tenant, "removed", f"{answer.rows_removed} rows that only the earlier has", answer.removed, answer.old
        ),
        _rows(visit.tenant, "added", f"{answer.rows_added} rows that only the later has", answer.added, answer.new),
    ]
    return _view(visit, known, tables)


def _access(changes: Iterable[messages.AccessChange]) -> list[list[Cell]]:
    return [
        [
            code(joined(each.principals)),
            code(each.through),
            number(each.holders),
            code(", ".join(f"{permission.action} {permission.kind}" for permission in each.permissions)),
            code("; ".join(filter(None, [sets(each.namespaces), "the tenant itself" if each.tenant_itself else ""]))),
        ]
        for each in changes
    ]


def _reach(changes: Iterable[messages.ReachChange]) -> list[list[Cell]]:
    return [
        [
            code(sets(each.callers)),
            code(joined(each.relations)),
            code(sets(each.owners)),
            plain(_PAIRS.get(each.pairs, "")),
        ]
        for each in changes
    ]


def _dedicated(changes: Iterable[messages.DedicatedChange]) -> Table:
    rows = [
        [
            plain(resource_service_pb2.ResourceType.Name(each.resource).removeprefix("RESOURCE_TYPE_").lower()),
            code(each.before or "the instance's own"),
            code(each.after or "the instance's own"),
            code("; ".join(filter(None, [sets(each.namespaces), "the tenant itself" if each.tenant_itself else ""]))),
        ]
        for each in changes
    ]
    return Table("dedicated", "Other dedicated resources", ("resource", "before", "after", "of"), rows)


def _rows(tenant: str, name: str, caption: str, rows: Iterable[decision_pb2.PolicyRow], revision: str) -> Table:
    return Table(
        name,
        caption,
        ("row", "at"),
        [[text_cell(each), place_cell(each, tenant, revision)] for each in rows],
        "None, or too many to list.",
    )


def _view(visit: Visit, known: list[str], tables: Iterable[Table] = (), *, note: str = "", status: int = 200) -> View:
    old, new = visit.text("old"), visit.text("new")
    return View(
        f"Difference of two revisions of {visit.tenant}",
        ["diff", old, new, "--tenant", visit.tenant] if old and new else ["rollback", visit.tenant],
        [*tables],
        "form.html",
        {
            "fields": [
                Field(
                    "old",
                    "Earlier",
                    old,
                    "the one that serves",
                    options=["", *dict.fromkeys([*known, *filter(None, [old])])],
                ),
                Field(
                    "new",
                    "Later",
                    new,
                    "the one that serves",
                    options=["", *dict.fromkeys([*known, *filter(None, [new])])],
                ),
            ],
            "button": "Compare",
            "sentence": note,
        },
        status=status,
    )


PAGE: Final = WebPage("diff", "/t/{tenant}/diff", "Differences", show, "Policy")
