from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from remit.client import DecisionUnavailable, MalformedQuestion
from remit.console.cells import Cell, Table, code, joined, number, plain, tenant_link, time_text
from remit.console.forms import Field, Input, errors_of
from remit.console.pages.ask.rows import place_cell, text_cell
from remit.console.pages.policy.namespace import sets
from remit.console.view import View, WebPage
from remit.console.visit import Visit, whole_revision
from remit.v1 import decision_pb2, resource_service_pb2
from remit.v1 import policy_service_pb2 as messages

_PAIRS: Final = {
    messages.REACH_PAIRS_OTHERS: "where the two differ",
    messages.REACH_PAIRS_ABOVE: "where the owner is an ancestor",
    messages.REACH_PAIRS_NOT_ABOVE: "where the owner is no ancestor",
    messages.REACH_PAIRS_ITSELF: "of itself",
}
_ACCESS: Final = ("who", "through", "all holders of that", "may", "in")
_RUNTIME: Final = {
    "roles": ("may now be granted", "may no longer be granted"),
    "groups": ("may now be granted", "may no longer be granted"),
    "scopes": ("rows may now have scopes within", "rows may no longer have scopes within"),
    "suspend": ("anybody may now be put into", "anybody may no longer be put into"),
    "max_ttl": ("rows may now last", "rows must now end within"),
    "rights": ("gained by whoever is granted", "lost by whoever is granted"),
    "denies": ("no longer denied to whoever is granted", "now denied to whoever is granted"),
    "people": ("what a grant may now give", "what no grant may give any more"),
    "access": ("whoever is granted this now passes the access list", "whoever is granted this no longer passes it"),
}
"""By key: what a gain says, and what a loss says."""
_INPUTS: Final = (Input("old", "Earlier"), Input("new", "Later"))
_REACH: Final = ("work in", "by", "uses what is owned by", "pairs")


async def show(visit: Visit) -> View:
    """Who gains and who loses what where, between two revisions, and by which rows."""
    kept = (await visit.client.ask(messages.ListRevisionsRequest(tenant=visit.tenant))).revisions
    serving = (await visit.status()).revision
    known = {each.revision: _words(each, serving) for each in kept}
    old, new = (whole_revision(visit.text(each.name), known) for each in _INPUTS)
    if not (old or new):
        asked = "old" in visit.query or "new" in visit.query
        return _view(visit, known, note="Choose another revision than the one that serves." if asked else "")
    try:
        answer = await visit.about.diff_revisions(old, new)
    except MalformedQuestion as refusal:
        return _view(visit, known, errors=errors_of(_INPUTS, refusal), status=400)
    except DecisionUnavailable as error:
        if error.code not in {
            "NOT_FOUND",
            "FAILED_PRECONDITION",
            "RESOURCE_EXHAUSTED",
            "UNAVAILABLE",
        }:
            raise
        return _view(visit, known, note=error.message, status=409)
    tables = [
        _access_table(visit.tenant, "Losses", answer.losses, "Nobody loses anything."),
        _access_table(visit.tenant, "Gains", answer.gains, "Nobody gains anything."),
    ]
    if answer.reach_losses or answer.reach_gains:
        tables += [
            Table("reach-losses", "Reach that is lost", _REACH, _reach(answer.reach_losses), "None."),
            Table("reach-gains", "Reach that is gained", _REACH, _reach(answer.reach_gains), "None."),
        ]
    if answer.runtime:
        tables.append(_runtime(answer.runtime))
    if answer.dedicated:
        tables.append(_dedicated(answer.dedicated))
    tables += [
        _rows(visit.tenant, "removed", "earlier", answer.removed, answer.old, total=answer.rows_removed),
        _rows(visit.tenant, "added", "later", answer.added, answer.new, total=answer.rows_added),
    ]
    return _view(visit, known, tables, command=("diff", answer.old, answer.new, "--tenant", visit.tenant))


def _words(kept: messages.KeptRevision, serving: str) -> str:
    """Short enough for the list of a narrow window."""
    return f"{kept.revision[:8]} {'serves' if kept.revision == serving else time_text(kept.kept_us)[:16]}"


def _access_table(tenant: str, caption: str, changes: Iterable[messages.AccessChange], empty: str) -> Table:
    rows: list[list[Cell]] = [
        [
            code(
                joined(each.principals),
                tenant_link(tenant, "principal", p=each.principals[0]) if len(each.principals) == 1 else "",
            ),
            code(each.through),
            number(each.holders),
            code(_permissions(each.permissions)),
            code(_where(each)),
        ]
        for each in changes
    ]
    return Table(caption.lower(), caption, _ACCESS, rows, empty, numbers=frozenset({2}))


def _reach(changes: Iterable[messages.ReachChange]) -> list[list[Cell]]:
    return [
        [
            code(sets(each.callers)),
            code(joined(each.relations)),
            code(sets(each.owners)),
            plain(_PAIRS.get(each.pairs, "")),
        ]
        for each in changes
    ]


def _dedicated(changes: Iterable[messages.DedicatedChange]) -> Table:
    rows = [
        [
            plain(resource_service_pb2.ResourceType.Name(each.resource).removeprefix("RESOURCE_TYPE_").lower()),
            code(each.before or "the instance's own"),
            code(each.after or "the instance's own"),
            code(_where(each)),
        ]
        for each in changes
    ]
    return Table("dedicated", "Other dedicated resources", ("resource", "before", "after", "of"), rows)


def _runtime(changes: Iterable[messages.RuntimeChange]) -> Table:
    rows = [
        [
            plain("gain" if each.gain else "loss"),
            plain(_RUNTIME.get(each.key, (each.key,) * 2)[not each.gain]),
            code(joined(each.values) or "without an end"),
            code(_permissions(each.permissions)),
            code(_where(each)),
        ]
        for each in changes
    ]
    return Table("runtime", "At run time", ("", "what", "which", "may", "in"), rows)


def _permissions(permissions: Iterable[messages.Permission]) -> str:
    return ", ".join(f"{each.action} {each.kind}" for each in permissions)


def _where(change: messages.AccessChange | messages.DedicatedChange | messages.RuntimeChange) -> str:
    return "; ".join(filter(None, [sets(change.namespaces), "the tenant itself" if change.tenant_itself else ""]))


def _rows(
    tenant: str, name: str, which: str, rows: Iterable[decision_pb2.PolicyRow], revision: str, *, total: int
) -> Table:
    return Table(
        name,
        f"{total} {'row' if total == 1 else 'rows'} that only the {which} has",
        ("row", "at"),
        [[text_cell(each), place_cell(each, tenant, revision)] for each in rows],
        "Too many to list." if total else "None.",
    )


def _view(
    visit: Visit,
    known: Mapping[str, str],
    tables: Iterable[Table] = (),
    *,
    errors: Mapping[str, str] | None = None,
    note: str = "",
    command: Sequence[str] = (),
    status: int = 200,
) -> View:
    wrong = errors or {}
    choices = {"": "the one that serves", **known}
    return View(
        f"Difference of two revisions of {visit.tenant}",
        command or ("rollback", visit.tenant),
        [*tables],
        "form.html",
        {
            "fields": [
                Field(
                    each.name,
                    each.label,
                    whole_revision(visit.text(each.name), known),
                    error=wrong.get(each.name, ""),
                    options=choices,
                )
                for each in _INPUTS
            ],
            "button": "Compare",
            "sentence": wrong.get("", note),
        },
        status=status,
    )


PAGE: Final = WebPage("diff", "/t/{tenant}/diff", "Differences", show, "Policy")
