from typing import Final

from remit.client import DecisionUnavailable, PrincipalRows, RecordFilter
from remit.console.cells import Cell, Table, code, effect, number, tenant_link
from remit.console.forms import Field
from remit.console.pages.ask.rows import allowed
from remit.console.pages.node.overview import refused_calls
from remit.console.view import View, WebPage
from remit.console.visit import NotShown, Visit
from remit.v1 import decision_pb2

_CALLERS: Final = "_callers"
_ACROSS: Final = "all tenants at once"
_DAY_US: Final = 24 * 3_600_000_000


async def show(visit: Visit) -> View:
    """Who may ask what of a tenant, who asked of late, and who was refused."""
    tenants = [each.tenant for each in (await visit.client.status()).tenants if not each.tenant.startswith("_")]
    chosen = visit.text("of") or (tenants[0] if tenants else _ACROSS)
    not_shown: list[NotShown] = []
    tables = []
    notes = []
    try:
        rights = await visit.allowed(_rights(visit, chosen), "Who may ask", "WHO on REMIT_INSTANCE", not_shown)
    except DecisionUnavailable as error:
        if error.code not in {"NOT_FOUND", "INVALID_ARGUMENT"}:
            raise
        notes.append(error.message)
        rights = None
    if rights is not None:
        tables.append(rights)
    since_us = visit.now_us - _DAY_US
    asked = await visit.allowed(
        visit.some(visit.client.count_records(RecordFilter(since_us=since_us), ("caller",), most_first=True)),
        "Who asked, and who was refused",
        "AUDIT across tenants",
        not_shown,
    )
    if asked is not None:
        rows = [[code(each.caller), number(each.recorded + each.unrecorded)] for each in asked]
        tables.append(
            Table(
                "asked",
                "Who asked in the last 24 hours",
                ("caller", "decisions"),
                rows,
                "Nobody.",
                numbers=frozenset({1}),
            )
        )
        refused = await visit.rows(visit.client.list_lifecycle(type="CALL_REFUSED", since_us=since_us))
        tables.append(refused_calls(refused, "Calls refused in the last 24 hours"))
    return View(
        "Callers",
        ["matrix", _CALLERS, *([chosen] if chosen != _ACROSS else []), "--kind", _kind(chosen)],
        tables,
        "form.html",
        {
            "fields": [Field("of", "May ask about", chosen, options=[*tenants, _ACROSS])],
            "button": "Show",
            "sentence": "; ".join(notes),
        },
        not_shown,
    )


def _kind(chosen: str) -> str:
    return "REMIT_INSTANCE" if chosen == _ACROSS else "REMIT"


async def _rights(visit: Visit, chosen: str) -> Table | None:
    namespace = "" if chosen == _ACROSS else chosen
    answer = await visit.client.list_matrix(_CALLERS, PrincipalRows(namespace), kinds=[_kind(chosen)])
    if answer.receipt.reason:
        return Table(
            "rights", "Who may ask", ("caller",), (), "There is no folder `_callers`: on a loopback address, everybody."
        )
    rows: list[list[Cell]] = []
    for row in answer.rows:
        cells = []
        for column, cell in zip(answer.columns, row.cells, strict=True):
            asked = {"p": row.name, "a": column.action, "k": column.kind, "ns": namespace}
            href = tenant_link(_CALLERS, "explain", **asked)
            if allowed(cell.effect):
                cells.append(effect("allow", href))
            elif cell.reason == decision_pb2.REASON_DENIED_BY_RULE:
                cells.append(effect("deny", href))
            else:
                cells.append(Cell(""))
        rows.append([code(row.name, tenant_link(_CALLERS, "principal", p=row.name)), *cells])
    columns = ("caller", *(each.action for each in answer.columns))
    return Table("rights", f"Who may ask about {chosen}", columns, rows, "Nobody but operators.", total=answer.total)


PAGE: Final = WebPage("callers", "/callers", "Callers", show)
