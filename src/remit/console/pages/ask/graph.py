from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from markupsafe import Markup

from remit.client import MalformedQuestion
from remit.console.cells import ROWS_SHOWN, Table, code, effect, plain
from remit.console.drawing.graphs import GraphRefusedError, GraphTextError
from remit.console.forms import Input, errors_of, fields, missing
from remit.console.pages.ask.rows import allowed, reason_name
from remit.console.view import View, WebPage
from remit.console.visit import BadInputError, Visit
from remit.drawing.graph_tree import GraphBranch, trees
from remit.v1 import visibility_service_pb2 as messages

_HIDDEN: Final = ("nameless stubs", "left out")
_SUFFIXES: Final = (".json", ".dot", ".gv")


async def show(visit: Visit) -> View:
    """A dependency graph of the console's folder, as one person sees it."""
    return await _answered(visit, visit.query, "")


async def act(visit: Visit, form: Mapping[str, str]) -> View:
    """The same for a graph that somebody pasted."""
    return await _answered(visit, form, form.get("graph", ""))


async def _answered(visit: Visit, given: Mapping[str, str], pasted: str) -> View:
    files = _files(visit.console.graphs)
    inputs = (
        Input("p", "Principal", "user:carol", "principal"),
        Input("file", "Graph", "pasted below", options=["", *files]),
        Input("a", "Visible by", "VIEW", "action"),
        Input("hidden", "Hidden nodes", options=_HIDDEN),
    )
    typed = {each.name: given.get(each.name, "").strip() for each in inputs}
    errors = missing(inputs, given, "p")
    if "file" in given and not (typed["file"] or pasted):
        errors["file"] = "is missing: choose one, or paste a graph below"
    answer = None
    busy = ""
    if typed["p"] and (pasted or typed["file"]):
        try:
            request = await _request(visit, files, typed["file"], pasted)
            request.tenant, request.principal, request.action = visit.tenant, typed["p"], typed["a"]
            omit = typed["hidden"] == _HIDDEN[1]
            request.hidden = messages.HIDDEN_NODES_OMIT if omit else messages.HIDDEN_NODES_STUB
            answer = await visit.client.ask(request)
        except BadInputError as error:
            errors = {error.field: error.message}
        except MalformedQuestion as refusal:
            errors = errors_of(inputs, refusal)
        except GraphRefusedError as refusal:
            busy = str(refusal)
    picture, no_picture = await _picture(visit, answer)
    shown = [*trees(answer)] if answer is not None else []
    return View(
        f"A dependency graph of {visit.tenant}",
        _command(visit, typed),
        _tables(answer) if answer is not None else (),
        "graph.html",
        {
            "fields": fields(inputs, visit, errors, typed),
            "button": "Draw",
            "sentence": busy or errors.get("", errors.get("graph", "")) or await visit.unknown(),
            "pasted": pasted,
            "picture": picture,
            "no_picture": no_picture,
            "used": Counter(each.edge.source for each in answer.edges) if answer is not None else {},
            "left_out": -min(0, _cut(shown, ROWS_SHOWN)),
            "trees": shown,
        },
        status=503 if busy else 400 if errors else 200,
    )


def _files(folder: Path | None) -> list[str]:
    if folder is None:
        return []
    return sorted(each.name for each in folder.iterdir() if each.suffix in _SUFFIXES and each.is_file())


async def _request(visit: Visit, files: list[str], file: str, pasted: str) -> messages.VisibleGraphRequest:
    """Raises BadInputError if it is no graph, or too large."""
    folder = visit.console.graphs
    if pasted:
        text, is_json = pasted, pasted.lstrip().startswith("{")
    elif folder is None or file not in files:
        raise BadInputError("file", "there is no such graph")
    else:
        text, is_json = (folder / file).read_text(encoding="utf-8", errors="replace"), file.endswith(".json")
    try:
        return await visit.graphs.read(text, is_json=is_json)
    except GraphTextError as error:
        raise BadInputError("graph", str(error)) from None


async def _picture(visit: Visit, answer: messages.VisibleGraphResponse | None) -> tuple[Markup, str]:
    """The picture, or why there is none."""
    if answer is None or not answer.nodes:
        return Markup(), ""
    try:
        return Markup(await visit.graphs.draw(answer)), ""  # noqa: S704 (ElementTree escapes its texts)
    except GraphRefusedError as error:
        return Markup(), str(error)


def _cut(branches: list[GraphBranch], room: int) -> int:
    """Leaves out the branches after the first `room`. Returns the room that is left; below 0, how many are left out."""
    for place, each in enumerate(branches):
        if room <= 0:
            room -= sum(map(_branches, branches[place:]))
            del branches[place:]
            break
        room = _cut(each.below, room - 1)
    return room


def _branches(branch: GraphBranch) -> int:
    return 1 + sum(map(_branches, branch.below))


def _tables(answer: messages.VisibleGraphResponse) -> list[Table]:
    names = {each.uid: each.id or each.uid for each in answer.nodes}
    nodes = [[code(each.uid), code(each.kind), code(each.namespace), code(each.id)] for each in answer.nodes]
    edges = [
        [
            code(names.get(each.edge.source, each.edge.source)),
            code(each.edge.relation),
            code(names.get(each.edge.target, each.edge.target)),
            effect("allow" if allowed(each.reach) else "deny") if each.reach else plain("an end is hidden"),
            plain(reason_name(each.reason) if each.reason else ""),
        ]
        for each in answer.edges
    ]
    return [
        Table(
            "edges",
            "Who uses what",
            ("uses", "by", "what", "reach", "reason"),
            edges,
            "No edge.",
            total=len(edges),
            folded=True,
        ),
        Table(
            "nodes",
            "Nodes",
            ("node", "kind", "namespace", "id"),
            nodes,
            "No node is visible.",
            total=len(nodes),
            folded=True,
        ),
    ]


def _command(visit: Visit, typed: Mapping[str, str]) -> list[str]:
    if visit.console.graphs is None or not typed["file"] or not typed["p"]:
        return []
    options = [
        *(("--action", typed["a"]) if typed["a"] else ()),
        *(("--omit",) if typed["hidden"] == _HIDDEN[1] else ()),
    ]
    return ["graph", visit.tenant, typed["p"], str(visit.console.graphs / typed["file"]), *options]


PAGE: Final = WebPage("graph", "/t/{tenant}/graph", "Graph", show, "Ask", act)
