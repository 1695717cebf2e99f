from collections.abc import Mapping, Sequence
from typing import Final

from remit.client import DecisionUnavailable, MalformedQuestion
from remit.console.cells import Table, code, number, tenant_link, time
from remit.console.forms import Input, errors_of, fields
from remit.console.pages.policy.names import page_of
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, Visit
from remit.core.errors import InvalidNameError
from remit.core.names import is_principal, parse_subject
from remit.v1 import binding_service_pb2 as messages

_INPUTS: Final = (Input("m", "Member", "user:ann", "member"), Input("h", "Holds", "role:viewer", "holds"))


async def show(visit: Visit) -> View:
    """The rows that were granted at run time and are in force."""
    member, holds = visit.text("m"), visit.text("h")
    request = messages.ListBindingsRequest(
        tenant=visit.tenant,
        member=member,
        holds=holds,
        page_size=1_000 if visit.whole else ROWS_A_PAGE,
        page_token="" if visit.whole else visit.text("after"),
    )
    tables = []
    errors = _wrong_names(visit)
    if errors:
        return _view(visit, errors=errors)
    sentence = ""
    try:
        answer: messages.ListBindingsResponse = await visit.client.ask(request)
        rows = [*answer.rows]
        while visit.whole and answer.next_page_token:
            request.page_token = answer.next_page_token
            answer = await visit.client.ask(request)
            rows += answer.rows
    except MalformedQuestion as refusal:
        errors = errors_of(_INPUTS, refusal)
    except DecisionUnavailable as error:
        if error.code != "FAILED_PRECONDITION":
            raise
        sentence = error.message
    else:
        further = ""
        if answer.next_page_token:
            further = tenant_link(visit.tenant, "bindings", m=member, h=holds, after=answer.next_page_token)
        cells = [
            [
                code(each.row.member, page_of(visit.tenant, each.row.member, _kind(each.row.member))),
                code(each.row.holds, page_of(visit.tenant, each.row.holds, _kind(each.row.holds))),
                code(each.row.scope or "the whole tenant"),
                time(each.row.expires_us),
                number(each.change),
            ]
            for each in rows
        ]
        empty = "No such row is granted." if member or holds else "No row is granted."
        columns = ("member", "holds", "scope", "until", "change")
        tables.append(Table("rows", "Granted at run time", columns, cells, empty, further=further))
    return _view(visit, tables, errors=errors, sentence=sentence)


def _kind(name: str) -> str:
    return "principal" if is_principal(name) else "group"


def _wrong_names(visit: Visit) -> dict[str, str]:
    """Names that no row can have: the server would find nothing of them."""
    found = {}
    for each in _INPUTS:
        try:
            if visit.text(each.name):
                parse_subject(visit.text(each.name))
        except InvalidNameError as error:
            found[each.name] = str(error)
    return found


def _view(visit: Visit, tables: Sequence[Table] = (), *, errors: Mapping[str, str], sentence: str = "") -> View:
    member, holds = visit.text("m"), visit.text("h")
    ways = {"Who granted, and why": f"{tenant_link(visit.tenant, 'revisions')}#events"} if tables else {}
    options = [*(("--member", member) if member else ()), *(("--holds", holds) if holds else ())]
    return View(
        f"Run-time rows of {visit.tenant}",
        ["bindings", "list", visit.tenant, *options],
        tables,
        "form.html",
        {
            "fields": fields(_INPUTS, visit, errors),
            "button": "Show",
            "sentence": errors.get("", sentence),
            "ways": ways,
        },
        status=400 if errors else 200,
    )


PAGE: Final = WebPage("bindings", "/t/{tenant}/bindings", "Run-time rows", show, "Policy")
