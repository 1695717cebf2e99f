from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from remit.client import DecisionUnavailable
from remit.console.cells import Table, code, number, tenant_link
from remit.console.forms import Input, errors_at, fields
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, BadInputError, Visit
from remit.v1 import policy_service_pb2 as messages

_TYPES: Final = ("namespace", "pattern", "group", "role", "principal")
_INPUTS: Final = (
    Input("what", "What", options=_TYPES),
    Input("q", "With this text", "finance"),
    Input("rev", "Revision", "the one that serves", "revision"),
)
_TREE: Final = 1_000
"""Namespaces of one page: a tree that is cut into pages is hard to read."""


@dataclass(slots=True)
class Branch:
    """A namespace in the tree of those that the policy names."""

    label: str
    href: str = ""
    """Empty for a level that no row names."""
    used: int = 0
    below: "dict[str, Branch]" = field(default_factory=dict)


async def show(visit: Visit) -> View:
    """The names that the policy uses: namespaces as a tree, others as a list."""
    what = visit.choice("what", _TYPES)
    request = messages.ListNamesRequest(
        tenant=visit.tenant,
        what=messages.NameType.Value(f"NAME_TYPE_{what.upper()}"),
        contains=visit.text("q"),
        page_size=1_000 if visit.whole or what == "namespace" else ROWS_A_PAGE,
        page_token="" if visit.whole else visit.text("after"),
    )
    try:
        request.revision = revision = await visit.revision()
        answer: messages.ListNamesResponse = await visit.client.ask(request)
    except (DecisionUnavailable, BadInputError) as refusal:
        errors = errors_at(_INPUTS, visit, refusal)
        form = {"fields": fields(_INPUTS, visit, errors), "button": "Show", "sentence": errors.get("", "")}
        return View(f"Names in {visit.tenant}", (), (), "form.html", form, status=400)
    visit.need_room(answer.total)
    found = [*answer.names]
    while visit.whole and answer.next_page_token:
        request.page_token = answer.next_page_token
        answer = await visit.client.ask(request)
        found += answer.names
    further = ""
    if answer.next_page_token:
        further = tenant_link(
            visit.tenant, "names", what=what, q=visit.text("q"), rev=revision, after=answer.next_page_token
        )
    table = Table(
        "names",
        f"{what.capitalize()}s",
        (what, "rows", "other uses"),
        [
            [code(each.name, page_of(visit.tenant, each.name, what, revision)), number(each.rows), number(each.others)]
            for each in found
        ],
        f"The policy names no such {what}." if visit.text("q") else f"The policy names no {what}.",
        total=answer.total,
        further=further,
        numbers=frozenset({1, 2}),
    )
    return View(
        f"Names in {visit.tenant}",
        ["names", visit.tenant, what, *(("--contains", visit.text("q")) if visit.text("q") else ())],
        [table],
        "names.html",
        {
            "fields": fields(_INPUTS, visit),
            "button": "Show",
            "sentence": "",
            "tree": [*_tree(visit.tenant, found, revision).values()] if what == "namespace" else [],
        },
    )


def page_of(tenant: str, name: str, what: str, revision: str = "") -> str:
    """What is known of a name."""
    match what:
        case "namespace":
            return tenant_link(tenant, "namespace", ns=name, rev=revision)
        case "pattern":
            begin = name.partition("*")[0].rstrip(".")
            return tenant_link(tenant, "names", what="namespace", q=begin, rev=revision) if begin else ""
        case "principal":
            return tenant_link(tenant, "principal", p=name, rev=revision)
        case _:
            return tenant_link(tenant, "matrix", who=name, rev=revision)


def _tree(tenant: str, names: Iterable[messages.UsedName], revision: str) -> dict[str, Branch]:
    top: dict[str, Branch] = {}
    for each in names:
        level = top
        branch = Branch("")
        for segment in each.name.split("."):
            branch = level.setdefault(segment, Branch(segment))
            level = branch.below
        branch.href = page_of(tenant, each.name, "namespace", revision)
        branch.used = each.rows + each.others
    return top


PAGE: Final = WebPage("names", "/t/{tenant}/names", "Names", show, "Policy")
