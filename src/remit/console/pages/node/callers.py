from collections import Counter
from collections.abc import Sequence
from typing import Final

from remit.client import DecisionUnavailable, PrincipalRows, RecordFilter
from remit.console.cells import Cell, Table, code, effect, number, plain, tenant_link, time
from remit.console.forms import Field
from remit.console.pages.ask.rows import allowed
from remit.console.pages.node.overview import detail_of, refused_calls
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, NotShown, Visit
from remit.core.names import is_principal
from remit.v1 import decision_pb2
from remit.v1.audit_service_pb2 import LifecycleRecord, RecordCount
from remit.v1.status_service_pb2 import LimitHit

_CALLERS: Final = "_callers"
_ACROSS: Final = "all tenants at once"
_PAGE: Final = 1_000
_MOST_GROUPS: Final = 20_000
_MOST_REFUSED: Final = 10_000
_NOT_RECORDED: Final = "Calls that a limit refuses leave no record: they are counted below, since the start."
_WITHOUT_CALLER: Final = "No caller: it was not known yet, or the server counts no further callers apart."
_DAY_US: Final = 24 * 3_600_000_000


async def show(visit: Visit) -> View:
    """Who may ask what of a tenant, who asked of late, and who was refused."""
    status = await visit.client.status()
    tenants = [each.tenant for each in status.tenants if not each.tenant.startswith("_")]
    chosen = visit.text("of") or (tenants[0] if tenants else _ACROSS)
    not_shown: list[NotShown] = []
    tables = []
    notes = []
    if chosen not in {*tenants, _ACROSS}:
        return _view(chosen, tenants, error="there is no such tenant, or you may not see it")
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
        visit.some(
            visit.client.count_records(RecordFilter(since_us=since_us), ("caller", "tenant"), page_size=_PAGE),
            _MOST_GROUPS,
        ),
        "Who asked, and who was refused",
        "AUDIT across tenants",
        not_shown,
    )
    if asked is not None:
        tables.append(_asked(visit, asked))
        found = visit.client.list_lifecycle(type="CALL_REFUSED", since_us=since_us, page_size=_PAGE)
        refused = await visit.some(found, _MOST_REFUSED)
        tables.append(_causes(refused))
        shown = refused if visit.whole else refused[:ROWS_A_PAGE]
        tables.append(refused_calls(shown, "Calls refused in the last 24 hours, by minute"))
    if status.HasField("audit"):
        tables.append(_limits(visit, status.limits_hit))
    else:
        not_shown.append(NotShown("Calls that a limit refused", "STATUS across tenants"))
    return _view(chosen, tenants, tables, notes=notes, not_shown=not_shown)


def _view(
    chosen: str,
    tenants: Sequence[str],
    tables: Sequence[Table] = (),
    *,
    notes: Sequence[str] = (),
    not_shown: Sequence[NotShown] = (),
    error: str = "",
) -> View:
    return View(
        "Callers",
        ["matrix", _CALLERS, *([chosen] if chosen != _ACROSS else []), "--kind", _kind(chosen)],
        tables,
        "form.html",
        {
            "fields": [Field("of", "May ask about", chosen, error=error, options=[*tenants, _ACROSS])],
            "button": "Show",
            "sentence": " ".join(notes),
        },
        not_shown,
        400 if error else 200,
    )


def _asked(visit: Visit, counts: Sequence[RecordCount]) -> Table:
    counts = sorted(counts, key=lambda each: -(each.recorded + each.unrecorded))
    shown = counts if visit.whole else counts[:ROWS_A_PAGE]
    rows = []
    for each in shown:
        page = tenant_link(each.tenant, "decisions", caller=each.caller, since="24h") if each.tenant else ""
        rows.append([code(each.caller, page), code(each.tenant), number(each.recorded + each.unrecorded)])
    more = f", the first {ROWS_A_PAGE}: the CSV has all" if len(shown) < len(counts) else ""
    caption = f"Who asked in the last 24 hours{more}"
    return Table("asked", caption, ("caller", "tenant", "decisions"), rows, "Nobody.", numbers=frozenset({2}))


def _causes(refused: Sequence[LifecycleRecord]) -> Table:
    """The refusals by the right that is missing."""
    found: Counter[tuple[str, str]] = Counter()
    for each in refused:
        detail = detail_of(each)
        found[str(detail.get("action", "")), each.tenant] += int(str(detail.get("calls", 1)))
    rows = [[code(action), code(tenant), number(calls)] for (action, tenant), calls in found.most_common()]
    return Table(
        "causes",
        "Refused in the last 24 hours, by the right that is missing",
        ("right", "tenant", "times"),
        rows,
        "No call was refused.",
        numbers=frozenset({2}),
        note=f"Of the newest {_MOST_REFUSED} records. {_NOT_RECORDED}"
        if len(refused) == _MOST_REFUSED
        else _NOT_RECORDED,
    )


def _limits(visit: Visit, hits: Sequence[LimitHit]) -> Table:
    shown = hits if visit.whole else hits[:ROWS_A_PAGE]
    rows = [
        [
            code(each.caller, tenant_link(_CALLERS, "principal", p=each.caller) if is_principal(each.caller) else ""),
            plain(each.calls),
            plain(each.reason),
            number(each.refused),
            time(each.last_us),
        ]
        for each in shown
    ]
    return Table(
        "limits",
        "Calls that a limit refused since the server started",
        ("caller", "calls", "limit", "times", "last"),
        rows,
        "No call was refused.",
        total=len(hits),
        numbers=frozenset({3}),
        note="" if all(each.caller for each in hits) else _WITHOUT_CALLER,
    )


def _kind(chosen: str) -> str:
    return "REMIT_INSTANCE" if chosen == _ACROSS else "REMIT"


async def _rights(visit: Visit, chosen: str) -> Table | None:
    namespace = "" if chosen == _ACROSS else chosen
    answer = await visit.client.tenant(_CALLERS).list_matrix(PrincipalRows(namespace), kinds=[_kind(chosen)])
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
