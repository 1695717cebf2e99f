from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from markupsafe import Markup

from remit.client import MalformedQuestion
from remit.console.cells import Table, code, effect, plain
from remit.console.forms import Input, errors_of, fields, missing
from remit.console.pages.ask.rows import allowed, reason_name
from remit.console.view import View, WebPage
from remit.console.visit import BadInputError, Visit
from remit.drawing.graph_dot import read_dot
from remit.drawing.graph_json import read_json
from remit.drawing.graph_svg import EDGES_LIMIT, NODES_LIMIT, draw
from remit.drawing.graph_tree import trees
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
    if typed["p"] and (pasted or typed["file"]):
        try:
            request = _request(visit.console.graphs, files, typed["file"], pasted)
            request.tenant, request.principal, request.action = visit.tenant, typed["p"], typed["a"]
            omit = typed["hidden"] == _HIDDEN[1]
            request.hidden = messages.HIDDEN_NODES_OMIT if omit else messages.HIDDEN_NODES_STUB
            answer = await visit.client.ask(request)
        except BadInputError as error:
            errors = {error.field: error.message}
        except MalformedQuestion as refusal:
            errors = errors_of(inputs, refusal)
    return View(
        f"A dependency graph of {visit.tenant}",
        _command(visit, typed),
        _tables(answer) if answer is not None else (),
        "graph.html",
        {
            "fields": fields(inputs, visit, errors, typed),
            "button": "Draw",
            "sentence": errors.get("", errors.get("graph", "")) or await visit.unknown(),
            "pasted": pasted,
            "picture": _picture(answer) if answer is not None else "",
            "trees": list(trees(answer)) if answer is not None else (),
        },
        status=400 if errors else 200,
    )


def _files(folder: Path | None) -> list[str]:
    if folder is None:
        return []
    return sorted(each.name for each in folder.iterdir() if each.suffix in _SUFFIXES and each.is_file())


def _request(folder: Path | None, files: list[str], file: str, pasted: str) -> messages.VisibleGraphRequest:
    """Raises BadInputError if it is no graph."""
    if pasted:
        name, text = ("graph.json" if pasted.lstrip().startswith("{") else "graph.dot"), pasted
    elif folder is None or file not in files:
        raise BadInputError("file", "there is no such graph")
    else:
        name, text = file, (folder / file).read_text(encoding="utf-8", errors="replace")
    try:
        return read_json(text) if name.endswith(".json") else read_dot(text)
    except (ValueError, RecursionError) as error:
        raise BadInputError("graph", str(error)) from None


def _picture(answer: messages.VisibleGraphResponse) -> Markup:
    if not answer.nodes or len(answer.nodes) > NODES_LIMIT or len(answer.edges) > EDGES_LIMIT:
        return Markup()
    return Markup(ET.tostring(draw(answer), encoding="unicode"))  # noqa: S704 (ElementTree escapes its texts)


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
