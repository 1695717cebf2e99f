from typing import Final

from remit.client import DecisionUnavailable
from remit.console.cells import Cell, code, effect, plain, tenant_link, time
from remit.console.pages.ask.explain import grounds_of
from remit.console.pages.ask.matrix import PLACES
from remit.console.pages.ask.rows import place_text_cell
from remit.console.pages.policy.revisions import detail_text
from remit.console.view import View, WebPage
from remit.console.visit import Visit
from remit.core.question import QuestionType
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
    again = _again(tenant, record)
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
            code(record.namespace, tenant_link(tenant, "decisions", ns=record.namespace) if record.namespace else ""),
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
        ("detail", code(detail_text(record.detail))),
        ("asked again", plain("ask the policy of now" if again else "", "again")._replace(href=again)),
    ]


def _again(tenant: str, record: messages.Record) -> str:
    """The page that asks the same now; empty if there is none."""
    principal, action, kind, namespace = record.principal, record.action, record.kind, record.namespace
    caller = principal.removeprefix("namespace:")
    asked: dict[str, str]
    match record.question:
        case QuestionType.NAMESPACES:
            page, asked = "where", {"p": principal, "a": action, "k": kind}
        case QuestionType.ACTIONS:
            page, asked = "what", {"p": principal, "ns": namespace}
        case QuestionType.PRINCIPALS:
            page, asked = "who", {"a": action, "k": kind, "ns": namespace}
        case QuestionType.HELD:
            page, asked = "principal", {"p": principal}
        case QuestionType.REACHABLE:
            page, asked = "namespace", {"ns": caller}
        case QuestionType.DEDICATED:
            page, asked = "namespace", {"ns": namespace}
        case QuestionType.MATRIX:
            rows = {"rows": PLACES, "p": principal} if principal else {}
            page, asked = "matrix", {**rows, "ns": namespace, "k": kind, "a": action}
        case _ if caller != principal and action and namespace:
            page, asked = "explain-reach", {"c": caller, "o": namespace, "r": action}
        case _ if caller == principal and principal and action and kind:
            page, asked = "explain", {"p": principal, "a": action, "k": kind, "ns": namespace}
        case _:
            return ""
    return tenant_link(tenant, page, **asked)


def _principal_link(tenant: str, principal: str) -> str:
    if not principal:
        return ""
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
