"""Dependency graphs in DOT, Graphviz's language."""

import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, Final

import pydot

from remit.core.names import quote
from remit.drawing.graph_edges import forbidden, reason_of
from remit.v1 import visibility_service_pb2 as messages

_DEFAULTS: Final = {"graph", "node", "edge"}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL).match


def read_dot(text: str) -> messages.VisibleGraphRequest:
    """Reads nodes with `kind`, `namespace` and `id` (or `label`), and edges with `relation` (or `label`). An earlier
    `node [...]` or `edge [...]` statement sets defaults, as in Graphviz.

    Raises ValueError if the text is not a directed graph.
    """
    errors = StringIO()
    # pydot prints its errors and returns None.
    with redirect_stdout(errors):
        graphs = pydot.graph_from_dot_data(text)
    if not graphs:
        raise ValueError(errors.getvalue().strip().rpartition("\n")[2])
    if len(graphs) > 1 or graphs[0].get_type() != "digraph":
        raise ValueError("expected one `digraph`")
    nodes: dict[str, dict[str, str]] = {}
    edges: list[tuple[str, str, str]] = []
    _walk(graphs[0], {}, {}, nodes, edges)
    request = messages.VisibleGraphRequest()
    for uid, attributes in nodes.items():
        name = attributes.get("id", attributes.get("label", ""))
        request.nodes.add(uid=uid, kind=attributes.get("kind", ""), namespace=attributes.get("namespace", ""), id=name)
    for source, target, relation in edges:
        request.edges.add(source=source, target=target, relation=relation)
    return request


def write_dot(answer: messages.VisibleGraphResponse) -> str:
    """The graph as the principal sees it. Edges that reach forbids are red; stubs are grey and nameless."""
    graph = pydot.Dot("visible", graph_type="digraph")
    for node in answer.nodes:
        if node.kind:
            label = "\n".join(filter(None, (node.id or node.uid, f"{node.kind} {node.namespace}".strip())))
            attributes = {"kind": node.kind, "namespace": node.namespace, "id": node.id, "label": label, "shape": "box"}
        else:
            attributes = {"label": node.uid, "shape": "box", "style": "dashed", "color": "gray"}
        graph.add_node(pydot.Node(_quoted(node.uid), **_attributes(attributes)))
    for each in answer.edges:
        edge = each.edge
        attributes = {"relation": edge.relation, "label": edge.relation}
        if forbidden(each):
            attributes |= {"label": f"{edge.relation}: {reason_of(each)}", "color": "red", "fontcolor": "red"}
        graph.add_edge(pydot.Edge(_quoted(edge.source), _quoted(edge.target), **_attributes(attributes)))
    return str(graph.to_string())


def _walk(
    graph: pydot.Graph,
    node_defaults: Mapping[str, str],
    edge_defaults: Mapping[str, str],
    nodes: dict[str, dict[str, str]],
    edges: list[tuple[str, str, str]],
) -> None:
    """Reads the statements of a graph in order. A subgraph starts with the defaults that hold at its place."""
    for statement in _statements(graph):
        if isinstance(statement, pydot.Subgraph):
            _walk(statement, node_defaults, edge_defaults, nodes, edges)
        elif isinstance(statement, pydot.Edge):
            attributes = {**edge_defaults, **_attributes_of(statement)}
            ends = [_name(end) for end in (statement.get_source(), statement.get_destination())]
            for uid in ends:
                nodes.setdefault(uid, dict(node_defaults))
            edges.append((ends[0], ends[1], attributes.get("relation", attributes.get("label", ""))))
        elif statement.get_name() == "node":
            node_defaults = {**node_defaults, **_attributes_of(statement)}
        elif statement.get_name() == "edge":
            edge_defaults = {**edge_defaults, **_attributes_of(statement)}
        elif statement.get_name() not in _DEFAULTS:
            nodes.setdefault(_name(statement.get_name()), dict(node_defaults)).update(_attributes_of(statement))


def _statements(graph: pydot.Graph) -> Iterator[Any]:
    found: list[Any] = [*graph.get_nodes(), *graph.get_edges(), *graph.get_subgraphs()]
    yield from sorted(found, key=lambda each: each.get_sequence() or 0)


def _attributes_of(statement: Any) -> dict[str, str]:
    return {str(key): _text(str(value)) for key, value in statement.get_attributes().items()}


def _name(text: Any) -> str:
    """The name of a node, without a port."""
    if not isinstance(text, str):
        raise ValueError("an edge to or from a `{...}` is not read: write an edge for each node of it")  # noqa: TRY004
    quoted = _QUOTED(text)
    return _text(quoted[0]) if quoted else text.partition(":")[0]


def _text(text: str) -> str:
    quoted = _QUOTED(text)
    return re.sub(r'\\(["\\])', r"\1", quoted[1]) if quoted and quoted.end() == len(text) else text


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _attributes(attributes: Mapping[str, str]) -> dict[str, Any]:
    return {
        key: _quoted("\n".join(quote(line, len(line)) for line in text.split("\n"))) for key, text in attributes.items()
    }
