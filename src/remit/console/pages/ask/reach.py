import asyncio
from typing import Final

from remit.client import DecisionUnavailable
from remit.console.cells import Cell, Table, code, effect, plain, tenant_link
from remit.console.forms import Input, errors_at, fields
from remit.console.view import View, WebPage
from remit.console.visit import BadInputError, Visit

_INPUTS: Final = (
    Input("ns", "Namespaces that begin with", "acme.finance", "prefix"),
    Input("rev", "Revision", "the one that serves", "revision"),
)
_MOST: Final = 20
"""Namespaces of the map: each is a question of its own."""


async def show(visit: Visit) -> View:
    """Which namespace may use what another owns, by one relation."""
    vocabulary = await visit.about.get_vocabulary()
    relations = [each.relation for each in vocabulary.relations]
    relation, below = visit.text("r"), visit.text("ns")
    tables = []
    errors: dict[str, str] = {}
    sentence = ""
    if relation in relations:
        try:
            revision = await visit.revision()
            found = visit.about.with_terms(revision=revision).list_names("namespace", prefix=below, page_size=_MOST + 1)
            names = [each.name for each in await visit.some(found, _MOST + 1)]
            tables.append(await _map(visit, relation, names[:_MOST], revision))
        except (DecisionUnavailable, BadInputError) as refusal:
            errors = errors_at(_INPUTS, visit, refusal)
        else:
            if len(names) > _MOST:
                sentence = f"The first {_MOST} namespaces: narrow the list by a prefix for the others."
    elif relation or "r" in visit.query:
        errors = {"r": f"expected one of {', '.join(relations)}"}
    inputs = (Input("r", "Relation", "choose one", options=["", *relations]), *_INPUTS)
    return View(
        f"Reach in {visit.tenant}",
        # `remit reach` answers about one namespace at a time.
        (),
        tables,
        "form.html",
        {
            "fields": fields(inputs, visit, errors),
            "button": "Show",
            "sentence": errors.get("", sentence),
        },
        status=400 if errors else 200,
    )


async def _map(visit: Visit, relation: str, names: list[str], revision: str) -> Table:
    about = visit.about.with_terms(revision=revision)
    answers = await asyncio.gather(*(about.list_reachable(each, relations=[relation], among=names) for each in names))
    rows: list[list[Cell]] = []
    for caller, answer in zip(names, answers, strict=True):
        used = {owner for each in answer.relations for owner in each.uses_among}
        cells = [_cell(visit, (caller, owner, relation), used, revision) for owner in names]
        rows.append([code(caller, tenant_link(visit.tenant, "namespace", ns=caller, rev=revision)), *cells])
    caption = f"May work in the row's namespace use what the column's owns, by {relation}?"
    return Table("map", caption, ("work in", *names), rows, "The policy names no such namespace.", total=len(rows))


def _cell(visit: Visit, question: tuple[str, str, str], used: set[str], revision: str) -> Cell:
    caller, owner, relation = question
    if caller == owner:
        return plain("itself")
    href = tenant_link(visit.tenant, "explain-reach", c=caller, o=owner, r=relation, rev=revision)
    return effect("allow" if owner in used else "deny", href)


PAGE: Final = WebPage("reach", "/t/{tenant}/reach", "Reach map", show, "Ask")
