from typing import Final

from remit.client import DecisionUnavailable
from remit.console.cells import Cell, code, effect, plain, tenant_link, time
from remit.console.pages.ask.explain import grounds_of
from remit.console.pages.ask.rows import place_text_cell
from remit.console.view import View, WebPage
from remit.console.visit import Visit
from remit.v1 import audit_service_pb2 as messages


async def show(visit: Visit) -> View:
    """One decision: what was asked and answered, its place in its chain, and the explanation by the policy of then."""
    decision_id = str(visit.request.path_params["id"])
    try:
        answer = await visit.client.get_record(decision_id)
    except DecisionUnavailable as error:
        if error.code != "INVALID_ARGUMENT":
            raise
        raise DecisionUnavailable("NOT_FOUND", error.message) from error
    record = answer.record
    if record.tenant != visit.tenant:
        # The page of another tenant says nothing about this record.
        raise DecisionUnavailable("NOT_FOUND", "the record is of another tenant")
    grounds = grounds_of(visit.tenant, [answer.explanation]) if answer.HasField("explanation") else []
    return View(
        f"Decision of {visit.tenant}",
        ("audit", "show", record.id),
        [table for each in grounds for table in each.tables],
        "record.html",
        {
            "facts_of_record": _facts(visit.tenant, record),
            "facts_of_place": _place(answer.place),
            "grounds": grounds,
            "agrees": answer.agrees,
            "unexplained": answer.unexplained,
        },
    )


def _facts(tenant: str, record: messages.Record) -> list[tuple[str, Cell]]:
    reach = record.principal.startswith("namespace:")
    again = (
        tenant_link(
            tenant, "explain-reach", c=record.principal.removeprefix("namespace:"), o=record.namespace, r=record.action
        )
        if reach
        else tenant_link(tenant, "explain", p=record.principal, a=record.action, k=record.kind, ns=record.namespace)
    )
    batch = f"item {record.batch_index} of call {record.call_id}" if record.batch_index >= 0 else record.call_id
    return [
        ("id", code(record.id)),
        ("time", time(record.time_us)),
        ("effect", effect(record.effect)),
        ("reason", plain(record.reason)),
        ("rule", place_text_cell(record.rule, tenant, record.revision)),
        ("principal", code(record.principal, _principal_link(tenant, record.principal))),
        ("relation" if reach else "action", code(record.action)),
        ("kind", code(record.kind)),
        (
            "owner" if reach else "namespace",
            code(record.namespace, tenant_link(tenant, "decisions", ns=record.namespace)),
        ),
        ("resource", code(record.resource_id)),
        (
            "caller",
            code(record.caller, tenant_link(tenant, "decisions", caller=record.caller) if record.caller else ""),
        ),
        ("on behalf of", code(record.on_behalf_of)),
        ("question", plain(record.question)),
        ("node", code(record.node)),
        (
            "revision",
            code(record.revision, tenant_link(tenant, "source", rev=record.revision) if record.revision else ""),
        ),
        ("call", code(batch)),
        ("trace", code(record.trace_id)),
        ("took", plain(f"{record.latency_ns / 1000:.1f} µs")),
        ("detail", code(record.detail)),
        ("asked again", plain("explain it by the policy of now", "again")._replace(href=again)),
    ]


def _principal_link(tenant: str, principal: str) -> str:
    page = "principal" if principal.startswith(("user:", "service:")) else "decisions"
    return tenant_link(tenant, page, p=principal)


def _place(place: messages.Place) -> list[tuple[str, Cell]]:
    if not place.seq:
        return [("number", plain("older than the chains"))]
    return [
        ("number", plain(f"{place.seq} of {place.head} in the chain of this tenant and node")),
        ("hash", code(place.hash.hex())),
    ]


PAGE: Final = WebPage("record", "/t/{tenant}/decisions/{id}", "", show)
