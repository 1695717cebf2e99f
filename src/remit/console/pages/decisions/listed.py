from typing import Final

from remit.client import MalformedQuestion, RecordFilter
from remit.console.cells import Table, tenant_link
from remit.console.forms import Input, errors_of, fields
from remit.console.pages.decisions.tables import COLUMNS, record_rows
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, BadInputError, Visit
from remit.core.decision import Reason
from remit.core.question import QuestionType

_EFFECTS: Final = ("", "allow", "deny")
INPUTS: Final = (
    Input("effect", "Effect", options=_EFFECTS),
    Input("p", "Principal", "user:bob", "principal"),
    Input("ns", "Namespace and below", "acme.finance", "namespace"),
    Input("reason", "Reason", options=("", *Reason)),
    Input("question", "Question", options=("", *QuestionType)),
    Input("caller", "Caller", "service:shop"),
    Input("node", "Node", "node-1"),
    Input("rev", "Revision", "of any time", "revision"),
    Input("since", "Since", "24h, or 2026-11-27T04:26", "since_us"),
    Input("until", "Until", "now", "until_us"),
)
_OPTIONS: Final = {"p": "principal", "ns": "namespace", "rev": "revision"}


async def filter_of(visit: Visit) -> RecordFilter:
    since_us, until_us = visit.time_us("since"), visit.time_us("until")
    if until_us and until_us <= since_us:
        raise BadInputError("until", "expected a time after Since")
    return RecordFilter(
        tenant=visit.tenant,
        namespace=visit.text("ns"),
        principal=visit.text("p"),
        effect=visit.choice("effect", _EFFECTS),
        reason=visit.text("reason"),
        question=visit.text("question"),
        caller=visit.text("caller"),
        node=visit.text("node"),
        revision=await visit.stored_revision(),
        since_us=since_us,
        until_us=until_us,
    )


async def show(visit: Visit) -> View:
    """The decisions that a filter selects, newest first."""
    errors: dict[str, str] = {}
    tables = []
    try:
        where = await filter_of(visit)
        records = await visit.rows(
            visit.client.list_records(where, after=visit.text("after"), page_size=ROWS_A_PAGE + 1)
        )
    except BadInputError as error:
        errors = {error.field: error.message}
    except MalformedQuestion as refusal:
        errors = errors_of(INPUTS, refusal)
    else:
        shown = records if visit.whole else records[:ROWS_A_PAGE]
        further = ""
        if len(records) > len(shown):
            given = {each.name: visit.text(each.name) for each in INPUTS}
            further = tenant_link(visit.tenant, "decisions", **given, after=shown[-1].id)
        rows = record_rows(visit.tenant, shown)
        empty = "" if rows else await visit.unknown("No such decision.")
        tables.append(Table("records", "Decisions, newest first", COLUMNS, rows, empty, further=further))
    return View(
        f"Decisions of {visit.tenant}",
        ("audit", "list", "--tenant", visit.tenant, *_options(visit)),
        tables,
        "form.html",
        {"fields": fields(INPUTS, visit, errors), "button": "Show", "sentence": errors.get("", "")},
        status=400 if errors else 200,
    )


def _options(visit: Visit) -> list[str]:
    return [
        word
        for each in INPUTS
        if visit.text(each.name)
        for word in (f"--{_OPTIONS.get(each.name, each.name)}", visit.text(each.name))
    ]


PAGE: Final = WebPage("decisions", "/t/{tenant}/decisions", "Decisions", show, "Audit")
