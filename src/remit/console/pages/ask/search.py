"""Who, where and what: Check in reverse."""

from collections.abc import Mapping, Sequence
from typing import Final

from remit import wire
from remit.client import DecisionUnavailable
from remit.console.cells import Cell, Table, code, joined, plain, tenant_link
from remit.console.forms import Input, errors_at, fields, missing
from remit.console.pages.ask.rows import chain_cell, place_cell, reason_text, text_cell
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, BadInputError, Visit
from remit.core.errors import InvalidNameError
from remit.v1 import search_service_pb2 as messages

_PRINCIPAL: Final = Input("p", "Principal", "user:bob", "principal")
_ACTION: Final = Input("a", "Action", "UPDATE", "action", list="actions")
_KIND: Final = Input("k", "Kind", "FLOW", "kind", list="kinds")
_NAMESPACE: Final = Input("ns", "Namespace", "acme.finance; empty: tenant", "namespace")
_REVISION: Final = Input("rev", "Revision", "the one that serves", "revision")


async def show_who(visit: Visit) -> View:
    """Everybody who may do something, with the rule that says so."""
    inputs = (_ACTION, _KIND, _NAMESPACE, _REVISION)
    action, kind, namespace = visit.text("a"), visit.text("k"), visit.text("ns")
    if not (action and kind):
        return _form(visit, "Who", inputs, "Who may do this?", missing(inputs, visit.query, "a", "k"))
    request = messages.ListPrincipalsRequest(
        tenant=visit.tenant,
        action=action,
        kind=kind,
        namespace=namespace,
        page_size=1_000 if visit.whole else ROWS_A_PAGE,
        page_token="" if visit.whole else visit.text("after"),
    )
    try:
        request.revision = revision = await visit.revision()
        answer: messages.ListPrincipalsResponse = await visit.client.ask(request)
        found = [*answer.principals]
        visit.need_room(answer.total)
        while visit.whole and answer.next_page_token:
            request.page_token = answer.next_page_token
            answer = await visit.client.ask(request)
            found += answer.principals
    except (DecisionUnavailable, BadInputError) as refusal:
        return _form(visit, "Who", inputs, "Who may do this?", errors_at(inputs, visit, refusal))
    rows = [
        [
            code(each.principal, tenant_link(visit.tenant, "principal", p=each.principal, rev=revision)),
            text_cell(each.rule.row),
            place_cell(each.rule.row, visit.tenant, revision),
            chain_cell(each.chain),
            plain("why", "why")._replace(
                href=tenant_link(
                    visit.tenant, "explain", p=each.principal, a=action, k=kind, ns=namespace, rev=revision
                )
            ),
        ]
        for each in found
    ]
    further = ""
    if answer.next_page_token:
        further = tenant_link(
            visit.tenant, "who", a=action, k=kind, ns=namespace, rev=revision, after=answer.next_page_token
        )
    table = Table(
        "principals",
        "Principals",
        ("principal", "rule", "at", "held by", "explained"),
        rows,
        "Nobody.",
        total=answer.total,
        further=further,
    )
    place = namespace or "the tenant itself"
    sentence = _sentence(answer.receipt, f"{answer.total} may {action} {kind} in {place}.")
    words = [word for word in ("who", visit.tenant, action, kind, namespace) if word]
    return _form(visit, "Who", inputs, "Who may do this?", sentence=sentence, tables=[table], command=words)


async def show_where(visit: Visit) -> View:
    """The namespaces in which somebody may do something, as patterns."""
    inputs = (_PRINCIPAL, _ACTION, _KIND, _REVISION)
    principal, action, kind = visit.text("p"), visit.text("a"), visit.text("k")
    if not principal:
        return _form(visit, "Where", inputs, "Where may they do this?", missing(inputs, visit.query, "p"))
    try:
        answer = await visit.about.with_terms(revision=await visit.revision()).list_namespaces(principal, action, kind)
    except (DecisionUnavailable, BadInputError) as refusal:
        return _form(visit, "Where", inputs, "Where may they do this?", errors_at(inputs, visit, refusal))
    rows: list[list[Cell]] = []
    for each in answer.sets:
        try:
            text = str(wire.set_from(each))
        except InvalidNameError:
            text = joined(each.only)
        rows.append([code(text)])
    table = Table("namespaces", "Namespaces", ("namespaces",), rows, "Nowhere.", total=len(rows))
    sentence = _sentence(
        answer.receipt, f"{principal} may {action or 'do something'}{f' on {kind}' if kind else ''} in:"
    )
    words = ["where", visit.tenant, principal, *((action or "*", kind or "*") if action or kind else ())]
    return _form(visit, "Where", inputs, "Where may they do this?", sentence=sentence, tables=[table], command=words)


async def show_what(visit: Visit) -> View:
    """What somebody may do in a namespace, by kind."""
    inputs = (_PRINCIPAL, _NAMESPACE, _REVISION)
    principal, namespace = visit.text("p"), visit.text("ns")
    if not principal:
        return _form(visit, "What", inputs, "What may they do?", missing(inputs, visit.query, "p"))
    try:
        revision = await visit.revision()
        answer = await visit.about.with_terms(revision=revision).list_actions(principal, namespace)
    except (DecisionUnavailable, BadInputError) as refusal:
        return _form(visit, "What", inputs, "What may they do?", errors_at(inputs, visit, refusal))
    rows = [
        [
            code(each.kind),
            code(
                action,
                tenant_link(visit.tenant, "explain", p=principal, a=action, k=each.kind, ns=namespace, rev=revision),
            ),
        ]
        for each in answer.kinds
        for action in each.actions
    ]
    table = Table("actions", "Kinds and actions", ("kind", "action"), rows, "Nothing.", total=len(rows))
    sentence = _sentence(answer.receipt, f"{principal} may do this in {namespace or 'the tenant itself'}:")
    words = [word for word in ("what", visit.tenant, principal, namespace) if word]
    grouped = [(each.kind, [*each.actions]) for each in answer.kinds]
    return _form(
        visit,
        "What",
        inputs,
        "What may they do?",
        sentence=sentence,
        tables=[table],
        command=words,
        template="what.html",
        grouped=grouped,
        principal=principal,
        namespace=namespace,
        rev=revision,
    )


def _sentence(receipt: object, otherwise: str) -> str:
    """Why there is no answer at all, or the sentence."""
    reason = getattr(receipt, "reason", 0)
    return reason_text(reason) if reason else otherwise


def _form(
    visit: Visit,
    title: str,
    inputs: Sequence[Input],
    button: str,
    wrong: Mapping[str, str] | None = None,
    *,
    sentence: str = "",
    tables: Sequence[Table] = (),
    command: Sequence[str] = (),
    template: str = "form.html",
    **context: object,
) -> View:
    errors = wrong or {}
    return View(
        f"{title} in {visit.tenant}",
        command,
        tables,
        template if tables else "form.html",
        {
            "fields": fields(inputs, visit, errors),
            "button": button,
            "sentence": errors.get("", sentence),
            **context,
        },
        status=400 if errors else 200,
        suggests=True,
    )


PAGES: Final = (
    WebPage("who", "/t/{tenant}/who", "Who", show_who, "Ask"),
    WebPage("where", "/t/{tenant}/where", "Where", show_where, "Ask"),
    WebPage("what", "/t/{tenant}/what", "What", show_what, "Ask"),
)
