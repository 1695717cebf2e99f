from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from remit.client import DecisionUnavailable, MalformedQuestion
from remit.console.cells import link_to, tenant_link, time_text
from remit.console.forms import Input, errors_at, fields, missing
from remit.console.pages.ask.grounds import Grounds, of_access, of_reach
from remit.console.view import View, WebPage
from remit.console.visit import BadInputError, Visit
from remit.v1 import audit_service_pb2

WHEN: Final = (
    Input("at", "At", "now, 24h, or 2026-11-27T04:26"),
    Input("rev", "Revision", "the one that serves", "revision"),
)
_INPUTS: Final = (
    Input("p", "Principal", "user:bob", "principal"),
    Input("a", "Action", "UPDATE", "action", list="actions"),
    Input("k", "Kind", "FLOW", "kind", list="kinds"),
    Input("ns", "Namespace", "acme.finance; empty: tenant", "namespace"),
    *WHEN,
)
_TITLE: Final = "Explain"


async def show(visit: Visit) -> View:
    """One question of the access plane, now or in the past, and why it is answered so."""
    principal, action, kind = visit.text("p"), visit.text("a"), visit.text("k")
    if not (principal and action and kind):
        return view_of(visit, _TITLE, _INPUTS, errors=missing(_INPUTS, visit.query, "p", "a", "k"))
    namespace = visit.text("ns")
    place = namespace or "the tenant itself"
    question = f"{principal} · {action} {kind} · {place}"
    words = [word for word in (visit.tenant, principal, action, kind, namespace) if word]
    try:
        at_us = time_of(visit)
        if at_us:
            past = await visit.about.explain_past(principal, action, kind, namespace, time_us=at_us)
            command = ["audit", "explain", *words, "--at", visit.text("at")]
            return view_of(visit, _TITLE, _INPUTS, question, grounds_of(visit.tenant, past.answers), command=command)
        answer = await visit.about.with_terms(revision=await visit.revision()).explain(
            principal, action, kind, namespace
        )
    except (MalformedQuestion, BadInputError) as refusal:
        return view_of(visit, _TITLE, _INPUTS, errors=errors_at(_INPUTS, visit, refusal))
    except DecisionUnavailable as error:
        return unanswered(visit, _TITLE, _INPUTS, question, error)
    return view_of(visit, _TITLE, _INPUTS, question, [of_access(visit.tenant, answer)], command=["explain", *words])


def time_of(visit: Visit) -> int:
    """The time of the question in microseconds, 0 for now. Raises BadInputError if a revision is named too."""
    at_us = visit.time_us("at")
    if at_us and visit.text("rev"):
        raise BadInputError("rev", "expected no revision beside a time: the time says which one answers")
    return at_us


def grounds_of(tenant: str, answers: Iterable[audit_service_pb2.PastAnswer]) -> list[Grounds]:
    """One for each revision that may have answered."""
    found: list[Grounds] = []
    for number, past in enumerate(answers):
        when = "; ".join(f"served on {each.node} since {time_text(each.since_us)}" for each in past.nodes)
        suffix = str(number) if number else ""
        if past.HasField("reach"):
            found.append(of_reach(tenant, past.reach, suffix, when))
        else:
            found.append(of_access(tenant, past.access, suffix, when))
    return found


def unanswered(visit: Visit, title: str, inputs: tuple[Input, ...], question: str, error: DecisionUnavailable) -> View:
    """Where nothing is known of that time or revision, the page says so beside what was typed."""
    if error.code not in {"NOT_FOUND", "FAILED_PRECONDITION"} or not visit.text("at"):
        return view_of(visit, title, inputs, question, errors=errors_at(inputs, visit, error))
    return view_of(visit, title, inputs, question, note=error.message, status=404)


def view_of(
    visit: Visit,
    title: str,
    inputs: tuple[Input, ...],
    question: str = "",
    grounds: Sequence[Grounds] = (),
    *,
    command: list[str] | None = None,
    errors: Mapping[str, str] | None = None,
    note: str = "",
    status: int = 200,
) -> View:
    errors = errors or {}
    return View(
        f"{title} in {visit.tenant}",
        command or (),
        [table for each in grounds for table in each.tables],
        "ask.html",
        {
            "fields": fields(inputs, visit, errors),
            "button": "Explain",
            "question": question,
            "grounds": grounds,
            "note": errors.get("", note),
            "records": tenant_link(
                visit.tenant,
                "decisions",
                p=visit.text("p") or (f"namespace:{visit.text('c')}" if visit.text("c") else ""),
                ns=visit.text("ns") or visit.text("o"),
            ),
            "record_of": lambda decision_id: link_to(f"{tenant_link(visit.tenant, 'decisions')}/{decision_id}"),
            "revisions": tenant_link(visit.tenant, "revisions"),
        },
        status=400 if errors else status,
        suggests=True,
    )


PAGE: Final = WebPage("explain", "/t/{tenant}/explain", "Explain", show, "Ask")
