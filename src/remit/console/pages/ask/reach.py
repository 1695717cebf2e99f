import asyncio
from typing import Final

from remit.client import MalformedQuestion
from remit.console.cells import Cell, Table, code, effect, plain, tenant_link
from remit.console.forms import Field
from remit.console.view import View, WebPage
from remit.console.visit import Visit

_MOST: Final = 20
"""Namespaces of the map: each is a question of its own."""


async def show(visit: Visit) -> View:
    """Which namespace may use what another owns, by one relation."""
    vocabulary = await visit.about.get_vocabulary()
    relations = [each.relation for each in vocabulary.relations]
    relation, below = visit.text("r"), visit.text("ns")
    tables = []
    sentence = error = ""
    if relation in relations:
        names = await visit.some(visit.about.list_names("namespace", prefix=below, page_size=_MOST + 1), _MOST + 1)
        if len(names) > _MOST:
            sentence = f"The first {_MOST} namespaces: narrow the list by a prefix for the others."
        try:
            tables.append(await _map(visit, relation, [each.name for each in names[:_MOST]]))
        except MalformedQuestion as refusal:
            sentence = refusal.message
    elif relation or "r" in visit.query:
        error = f"expected one of {', '.join(relations)}"
    return View(
        f"Reach in {visit.tenant}",
        ["names", visit.tenant, "namespace", *(("--prefix", below) if below else ())],
        tables,
        "form.html",
        {
            "fields": [
                Field("r", "Relation", relation, "choose one", error, ["", *relations]),
                Field("ns", "Namespaces that begin with", below, "acme.finance"),
            ],
            "button": "Show",
            "sentence": sentence,
        },
        status=400 if error else 200,
    )


async def _map(visit: Visit, relation: str, names: list[str]) -> Table:
    answers = await asyncio.gather(
        *(visit.about.list_reachable(each, relations=[relation], among=names) for each in names)
    )
    rows: list[list[Cell]] = []
    for caller, answer in zip(names, answers, strict=True):
        used = {owner for each in answer.relations for owner in each.uses_among}
        cells = [_cell(visit.tenant, caller, owner, relation, used) for owner in names]
        rows.append([code(caller, tenant_link(visit.tenant, "namespace", ns=caller)), *cells])
    caption = f"May work in the row's namespace use what the column's owns, by {relation}?"
    return Table("map", caption, ("work in", *names), rows, "The policy names no such namespace.", total=len(rows))


def _cell(tenant: str, caller: str, owner: str, relation: str, used: set[str]) -> Cell:
    if caller == owner:
        return plain("itself")
    href = tenant_link(tenant, "explain-reach", c=caller, o=owner, r=relation)
    return effect("allow" if owner in used else "deny", href)


PAGE: Final = WebPage("reach", "/t/{tenant}/reach", "Reach map", show, "Ask")
