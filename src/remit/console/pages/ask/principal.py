from collections.abc import Iterable, Mapping
from typing import Final

from remit.client import DecisionUnavailable, RecordFilter
from remit.console.cells import Cell, Table, code, plain, tenant_link, time
from remit.console.forms import Input, errors_at, fields, missing
from remit.console.pages.ask.rows import place_cell, place_of
from remit.console.pages.decisions.tables import COLUMNS, record_rows
from remit.console.pages.policy.namespace import sets
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, BadInputError, NotShown, Visit, unknown_tenant
from remit.v1 import search_service_pb2 as messages

_INPUTS: Final = (
    Input("p", "Principal", "user:bob", "principal"),
    Input("rev", "Revision", "the one that serves", "revision"),
)
_DENIALS: Final = 10
_HELD: Final = ("holds", "where", "until", "row", "at", "through")


async def show(visit: Visit) -> View:
    """One principal: its own rows first, then what it holds through them; where it may do anything; its last denials."""
    principal = visit.text("p")
    if not principal:
        return _view(visit, missing(_INPUTS, visit.query, "p"), sentence=await visit.unknown())
    not_shown: list[NotShown] = []
    tables = []
    request = messages.ListHeldRequest(tenant=visit.tenant, principal=principal, page_size=1_000)
    try:
        request.revision = revision = await visit.revision()
        held = await visit.allowed(visit.client.ask(request), "What it holds", "WHO and READ", not_shown)
        where = await visit.allowed(
            visit.about.with_terms(revision=revision).list_namespaces(principal),
            "Where it may do something",
            "LIST",
            not_shown,
        )
    except (DecisionUnavailable, BadInputError) as refusal:
        return _view(visit, errors_at(_INPUTS, visit, refusal))
    sentence = ""
    if held is not None:
        direct = [each for each in held.entries if len(each.chain) < 2]  # noqa: PLR2004 (one step)
        further = [each for each in held.entries if len(each.chain) > 1]
        tables += [
            Table("direct", "Its own rows", _HELD, _rows(visit.tenant, direct, revision), "No row names it."),
            Table("inherited", "Through these", _HELD, _rows(visit.tenant, further, revision), "Nothing.", folded=True),
        ]
        if held.shut_out:
            sentence = "It is not on the tenant's access list: everything is denied, whatever the rows say."
        elif held.total > len(held.entries):
            sentence = f"The first {len(held.entries)} of {held.total} entries."
    if where is not None:
        tables.append(
            Table(
                "where",
                "Where it may do something",
                ("namespaces",),
                [[code(sets(where.sets))]] if where.sets else [],
                "Nowhere.",
            )
        )
    denied = await visit.allowed(
        visit.some(
            visit.client.list_records(
                RecordFilter(tenant=visit.tenant, principal=principal, effect="deny"), page_size=_DENIALS + 1
            ),
            ROWS_A_PAGE if visit.whole else _DENIALS + 1,
        ),
        "Its last denials",
        "AUDIT",
        not_shown,
    )
    if denied is not None:
        shown = denied if visit.whole else denied[:_DENIALS]
        every = tenant_link(visit.tenant, "decisions", p=principal, effect="deny")
        tables.append(
            Table(
                "denials",
                "Last denials",
                COLUMNS,
                record_rows(visit.tenant, shown),
                "None.",
                further=every if len(denied) > len(shown) else "",
            )
        )
    if not tables:
        raise unknown_tenant()
    return _view(visit, tables=tables, not_shown=not_shown, sentence=sentence)


def _rows(tenant: str, entries: Iterable[messages.HeldEntry], revision: str) -> list[list[Cell]]:
    found = []
    for each in entries:
        own = each.rule.row if each.HasField("rule") else each.chain[0].row
        found.append(
            [
                code(each.holds, tenant_link(tenant, "matrix", who=each.holds, rev=revision))
                if each.holds
                else plain("a rule"),
                code(each.namespaces),
                time(each.expires_us),
                code(own.text),
                place_cell(own, tenant, revision),
                code(" → ".join(f"{link.row.text} ({place_of(link.row)})" for link in each.chain[1:])),
            ]
        )
    return found


def _view(
    visit: Visit,
    errors: Mapping[str, str] | None = None,
    *,
    tables: Iterable[Table] = (),
    not_shown: Iterable[NotShown] = (),
    sentence: str = "",
) -> View:
    errors = errors or {}
    principal, revision = visit.text("p"), visit.text("rev")
    ways = {
        "What may it do?": tenant_link(visit.tenant, "what", p=principal, rev=revision),
        "Where?": tenant_link(visit.tenant, "where", p=principal, rev=revision),
        "Why, or why not?": tenant_link(visit.tenant, "explain", p=principal, rev=revision),
        "Its decisions": tenant_link(visit.tenant, "decisions", p=principal),
    }
    return View(
        principal if principal and not errors else f"A principal of {visit.tenant}",
        ["held", visit.tenant, principal] if principal else ["names", visit.tenant, "principal"],
        [*tables],
        "form.html",
        {
            "fields": fields(_INPUTS, visit, errors),
            "button": "Show",
            "sentence": errors.get("", sentence),
            "ways": ways if principal and not errors else {},
        },
        [*not_shown],
        400 if errors else 200,
    )


PAGE: Final = WebPage("principal", "/t/{tenant}/principal", "Principal", show, "Ask")
