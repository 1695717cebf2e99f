from typing import Final

from remit.client import DecisionUnavailable
from remit.console.cells import Cell, Table, code, effect, number, plain, revision, state, tenant_link, time
from remit.console.view import View, WebPage
from remit.console.visit import Visit
from remit.v1 import status_service_pb2 as messages

_COLUMNS: Final = (
    "tenant",
    "principal",
    "action",
    "kind",
    "namespace",
    "live",
    "candidate",
    "rule of the candidate",
    "decisions",
)


async def show(visit: Visit) -> View:
    """What the candidate of the setting `shadow` would decide otherwise."""
    try:
        answer: messages.GetShadowResponse = await visit.client.ask(messages.GetShadowRequest())
    except DecisionUnavailable as error:
        if error.code != "FAILED_PRECONDITION":
            raise
        return View("Shadow", ("shadow",), (), "facts.html", {"facts_shown": [], "notes": [error.message]})
    rows = [
        [
            code(each.tenant),
            code(each.principal),
            code(each.action),
            code(each.kind),
            code(each.namespace),
            effect(each.live.effect),
            effect(each.candidate.effect),
            code(each.candidate.rule or each.candidate.reason),
            number(each.decisions, f"{tenant_link(each.tenant, 'decisions')}/{each.last_decision_id}"),
        ]
        for each in answer.changes
    ]
    facts: list[tuple[str, Cell]] = [
        ("candidate", code(answer.directory)),
        ("loaded", revision(answer.tree_revision) if answer.tree_revision else plain("has not loaded")),
        ("since", time(answer.since_us)),
        ("process", state("runs" if answer.running else "does not run", good=answer.running)),
        ("decided again", number(answer.decided)),
        ("would change", number(answer.differing)),
        ("left out", number(answer.skipped)),
        ("rows of run time not known", number(answer.rows_unknown)),
        ("past its budget", number(answer.dropped)),
    ]
    table = Table("changes", "Decisions that would change", _COLUMNS, rows, "None.", numbers=frozenset({8}))
    return View("Shadow", ("shadow",), [table], "facts.html", {"facts_shown": facts, "notes": [*answer.errors]})


PAGE: Final = WebPage("shadow", "/shadow", "Shadow", show)
