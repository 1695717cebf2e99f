from typing import Final

from remit.client import DecisionUnavailable, MalformedQuestion
from remit.console.cells import Table, code, number, tenant_link, time
from remit.console.forms import Input, errors_of, fields
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, Visit
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
    errors: dict[str, str] = {}
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
                code(each.row.member),
                code(each.row.holds),
                code(each.row.scope or "the whole tenant"),
                time(each.row.expires_us),
                number(each.change),
            ]
            for each in rows
        ]
        columns = ("member", "holds", "scope", "until", "change")
        tables.append(Table("rows", "Granted at run time", columns, cells, "No row is granted.", further=further))
    options = [*(("--member", member) if member else ()), *(("--holds", holds) if holds else ())]
    return View(
        f"Run-time rows of {visit.tenant}",
        ["bindings", "list", visit.tenant, *options],
        tables,
        "form.html",
        {"fields": fields(_INPUTS, visit, errors), "button": "Show", "sentence": errors.get("", sentence)},
        status=400 if errors else 200,
    )


PAGE: Final = WebPage("bindings", "/t/{tenant}/bindings", "Run-time rows", show, "Policy")
