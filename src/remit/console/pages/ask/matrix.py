from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from remit.client import DecisionUnavailable, NamespaceRows, PrincipalRows
from remit.console.cells import Cell, Table, code, effect, plain, tenant_link
from remit.console.forms import Input, errors_at, fields
from remit.console.pages.ask.rows import allowed, reason_text
from remit.console.view import View, WebPage
from remit.console.visit import BadInputError, NotShown, Visit
from remit.v1 import decision_pb2, policy_service_pb2
from remit.v1 import search_service_pb2 as messages

_PEOPLE, PLACES = "principals in a namespace", "namespaces of a principal"
INPUTS: Final = (
    Input("rows", "Rows", options=(_PEOPLE, PLACES)),
    Input("ns", "Namespace", "acme.finance; empty: tenant", "namespace"),
    Input("who", "Only who holds", "group:finance or role:editor", "holding"),
    Input("p", "Principal (for namespaces)", "user:bob", "principal"),
    Input("k", "Kinds", "FLOW EXECUTION", "kinds", list="kinds"),
    Input("a", "Actions", "all", "actions", list="actions"),
    Input("differ", "Columns", options=("all", "only those that differ")),
    Input("rev", "Revision", "the one that serves", "revision"),
)
_ROWS: Final = 50


async def show(visit: Visit) -> View:
    """A table of decisions: what principals may do in a namespace, or what one may do in namespaces."""
    if not (visit.text("k") or visit.text("a")):
        note = "Choose a kind first, for example FLOW, or an action: they make the columns."
        not_shown: list[NotShown] = []
        known = await visit.allowed(visit.about.get_vocabulary(), "The kinds", "LIST", not_shown)
        tables = [_kinds(visit, known.kinds)] if known is not None else []
        return _view(visit, tables=tables, not_shown=not_shown, note=note)
    try:
        people = visit.choice("rows", (_PEOPLE, PLACES)) == _PEOPLE
        answer = await _page(visit, people=people, token="" if visit.whole else visit.text("after"))
        visit.need_room(answer.total, len(answer.columns))
        rows = [*answer.rows]
        while visit.whole and answer.next_page_token:
            answer = await _page(visit, people=people, token=answer.next_page_token)
            rows += answer.rows
    except (DecisionUnavailable, BadInputError) as refusal:
        return _view(visit, errors=errors_at(INPUTS, visit, refusal))
    if answer.receipt.reason:
        return _view(visit, note=reason_text(answer.receipt.reason))
    return _view(visit, answer, rows, people=people)


def _kinds(visit: Visit, known: Iterable[policy_service_pb2.VocabularyKind]) -> Table:
    """The kinds that can make the columns, each with the matrix of it."""
    given = {each.name: visit.text(each.name) for each in INPUTS if each.name not in {"k", "a"}}
    places = visit.choice("rows", (_PEOPLE, PLACES)) == PLACES
    rows = []
    for each in known:
        of_namespace = each.kind_class == policy_service_pb2.KIND_CLASS_NAMESPACE
        if places or of_namespace == bool(given["ns"]):
            link = plain("show")._replace(href=tenant_link(visit.tenant, "matrix", **given, k=each.kind))
        else:
            link = plain("name a namespace first" if of_namespace else "leave the namespace empty")
        rows.append([code(each.kind), link])
    return Table("kinds", "Kinds", ("kind", "matrix"), rows, "The vocabulary declares none.", total=len(rows))


async def _page(visit: Visit, *, people: bool, token: str) -> messages.ListMatrixResponse:
    rows: PrincipalRows | NamespaceRows
    if people:
        rows = PrincipalRows(visit.text("ns"), holding=visit.text("who"))
    else:
        rows = NamespaceRows(visit.text("p"), below=visit.text("ns"))
    return await visit.about.with_terms(revision=await visit.revision()).list_matrix(
        rows,
        kinds=visit.text("k").split(),
        actions=visit.text("a").split(),
        page_size=100 if visit.whole else _ROWS,
        page_token=token,
    )


def _view(
    visit: Visit,
    answer: messages.ListMatrixResponse | None = None,
    rows: list[messages.MatrixRow] | None = None,
    *,
    people: bool = True,
    tables: Sequence[Table] = (),
    not_shown: Sequence[NotShown] = (),
    errors: Mapping[str, str] | None = None,
    note: str = "",
) -> View:
    found = rows or []
    columns: list[messages.MatrixColumn] = []
    if answer is not None:
        shown = [place for place in range(len(answer.columns)) if _is_shown(visit, found, place)]
        columns = [answer.columns[place] for place in shown]
        tables = [_table(visit, answer, found, shown, people=people)]
    return View(
        f"Access matrix of {visit.tenant}",
        _command(visit, people=people) if answer is not None else (),
        tables,
        "matrix.html" if answer is not None else "form.html",
        {
            "fields": fields(INPUTS, visit, errors),
            "button": "Show",
            "sentence": (errors or {}).get("", note),
            "columns": columns,
        },
        not_shown,
        status=400 if errors else 200,
        suggests=True,
    )


def _is_shown(visit: Visit, rows: list[messages.MatrixRow], place: int) -> bool:
    differ = visit.choice("differ", ("all", "only those that differ")) != "all"
    return not differ or len({(row.cells[place].effect, row.cells[place].reason) for row in rows}) > 1


def _table(
    visit: Visit, answer: messages.ListMatrixResponse, rows: list[messages.MatrixRow], shown: list[int], *, people: bool
) -> Table:
    further = ""
    if answer.next_page_token:
        given = {each.name: visit.text(each.name) for each in INPUTS}
        further = tenant_link(visit.tenant, "matrix", **given, after=answer.next_page_token)
    return Table(
        "matrix",
        "Who may do what" if people else "What may be done where",
        (
            "principal" if people else "namespace",
            *(f"{answer.columns[place].kind} {answer.columns[place].action}" for place in shown),
        ),
        [
            [
                code(row.name, _page_of(visit, row.name, people=people)),
                *(_cell(visit, row, answer.columns[place], row.cells[place], people=people) for place in shown),
            ]
            for row in rows
        ],
        "Nobody has a rule here." if people else "The policy names no namespace here.",
        total=answer.total,
        further=further,
    )


def _page_of(visit: Visit, name: str, *, people: bool) -> str:
    page, asked = ("principal", {"p": name}) if people else ("namespace", {"ns": name})
    return tenant_link(visit.tenant, page, **asked, rev=visit.text("rev"))


def _cell(
    visit: Visit,
    row: messages.MatrixRow,
    column: messages.MatrixColumn,
    cell: messages.MatrixCell,
    *,
    people: bool,
) -> Cell:
    principal, namespace = (row.name, visit.text("ns")) if people else (visit.text("p"), row.name)
    asked = {"p": principal, "a": column.action, "k": column.kind, "ns": namespace, "rev": visit.text("rev")}
    href = "" if visit.whole else tenant_link(visit.tenant, "explain", **asked)
    if allowed(cell.effect):
        return effect("allow", href)
    if cell.reason == decision_pb2.REASON_DENIED_BY_RULE:
        return effect("deny", href)
    return Cell("", href, "none")


def _command(visit: Visit, *, people: bool) -> list[str]:
    rows = [("--who", visit.text("who"))] if people else [("--of", visit.text("p"))]
    kinds = [("--kind", each) for each in visit.text("k").split()]
    actions = [("--action", each) for each in visit.text("a").split()]
    options = [word for flag, value in [*rows, *kinds, *actions] if value for word in (flag, value)]
    return ["matrix", visit.tenant, *filter(None, [visit.text("ns")]), *options]


PAGE: Final = WebPage("matrix", "/t/{tenant}/matrix", "Matrix", show, "Ask")
