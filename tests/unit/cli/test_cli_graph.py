"""`remit graph`: what it reads, and what it draws."""

import json
import random
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from remit.cli.main import app
from remit.drawing.graph_dot import read_dot, write_dot
from remit.drawing.graph_svg import EDGES_LIMIT, NODES_LIMIT, write_svg
from remit.drawing.graph_tree import DEPTH_LIMIT
from remit.v1 import visibility_service_pb2 as messages
from remit.v1.decision_pb2 import Effect, Reason

ROOT = Path(__file__).parents[3]
GRAPHS = ROOT / "docs" / "graphs"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["graph", *words, "--policies", str(ROOT / "policies")], terminal_width=200)


def drawn(tmp_path: Path, text: str, *words: str, name: str = "g.dot") -> Result:
    (tmp_path / name).write_text(text)
    return run("acme", "user:alice", str(tmp_path / name), *words)


def test_a_tree_marks_what_reach_forbids_and_what_was_shown_above() -> None:
    done = run("acme", "user:carol", str(GRAPHS / "close.json"))

    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "forecast  FLOW acme.data.reporting",
        "├── TRIGGER month-end-close  FLOW acme.finance.ledger",
        "│   ├── TRIGGER load-sales  FLOW acme.data.etl.sales",
        "│   └── SUBFLOW payslips  FLOW acme.finance.payroll",
        "│       └── SUBFLOW send-mail  FLOW shared.lib",
        "└── SUBFLOW payslips  FLOW acme.finance.payroll  FORBIDDEN DENIED_BY_RULE  as above",
        "5 nodes visible, 5 edges, 1 forbidden",
    ]


@pytest.mark.parametrize("as_format", ["tree", "dot", "svg", "json"])
def test_no_format_names_a_hidden_node(as_format: str) -> None:
    for flags in ([], ["--omit"]):
        done = run("acme", "user:bob", str(GRAPHS / "close.dot"), "--format", as_format, *flags)

        assert done.exit_code == 0
        assert "month-end-close" in done.stdout
        assert [each for each in ("sales", "forecast", "acme.data") if each in done.stdout] == []
        assert ("?1" in done.stdout) == (flags == [])


def test_json_and_dot_hold_the_same_graph() -> None:
    told = [run("acme", "user:alice", str(GRAPHS / name), "--format", "json") for name in ("close.json", "close.dot")]
    one, other = (json.loads(done.stdout) for done in told)

    assert sorted(map(str, one["nodes"])) == sorted(map(str, other["nodes"]))
    assert sorted(map(str, one["edges"])) == sorted(map(str, other["edges"]))


def test_graph_json_returns_the_nodes_of_the_request(tmp_path: Path) -> None:
    done = run("acme", "user:alice", str(GRAPHS / "close.json"), "--format", "json")
    told = json.loads(done.stdout)

    assert json.loads((GRAPHS / "close.json").read_text())["nodes"] == told["nodes"]
    assert ("", "") == (told["decision_id"], told["reason"])


@pytest.mark.parametrize(
    "uid", ["a", "node", "a b", 'quo"te', "back\\slash", "end\\", "a:port", "{x}", "ü", "x->y", "<b>", "\\N", '\\"']
)
def test_dot_is_read_as_it_was_written(uid: str) -> None:
    answer = messages.VisibleGraphResponse()
    answer.nodes.add(uid=uid, kind="FLOW", namespace="acme.data", id=uid)
    answer.nodes.add(uid="other", kind="DASHBOARD")
    answer.edges.add(edge=messages.GraphEdge(source=uid, target="other", relation="KV"))

    request = read_dot(write_dot(answer))

    assert list(answer.nodes) == list(request.nodes)
    assert [each.edge for each in answer.edges] == list(request.edges)


def test_attributes_come_from_defaults_before_a_statement(tmp_path: Path) -> None:
    """As in Graphviz: also in subgraphs, and not beyond them."""
    text = """strict digraph "x" {
        node [kind=FLOW, namespace="acme.a"]; edge [relation=KV]
        one -> two:s -> three [relation=SUBFLOW]
        subgraph cluster_b { node [namespace="acme.b"]; four; four -> one }
        five [kind=APP, label="the \\"fifth\\""]
    }"""
    request = read_dot(text)

    assert {
        "one": ("FLOW", "acme.a", ""),
        "two": ("FLOW", "acme.a", ""),
        "three": ("FLOW", "acme.a", ""),
        "four": ("FLOW", "acme.b", ""),
        "five": ("APP", "acme.a", 'the "fifth"'),
    } == {node.uid: (node.kind, node.namespace, node.id) for node in request.nodes}
    assert {("one", "two", "SUBFLOW"), ("two", "three", "SUBFLOW"), ("four", "one", "KV")} == {
        (edge.source, edge.target, edge.relation) for edge in request.edges
    }


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("g.txt", "", "expected a name that ends in .json, .dot, .gv"),
        ("g.dot", "", "(line:1, col:1)"),
        ("g.dot", "digraph { a -> }", "(line:1, col:"),
        ("g.dot", "graph { a -- b }", "expected one `digraph`"),
        ("g.dot", "digraph { a -> {b c} }", "write an edge for each node of it"),
        ("g.dot", "digraph { a }", "nodes[0].kind: kind is missing"),
        ("g.json", "{", "Expecting property name"),
        ("g.json", "[]", "expected an object with `nodes` and `edges`"),
        ("g.json", '{"nodes": [], "tenant": "x"}', "expected an object with `nodes` and `edges` and nothing else"),
        ("g.json", '{"nodes": [{"uid": 1}]}', "uid"),
        ("g.json", '{"nodes": [{"name": "a"}]}', 'no field named "name"'),
        ("g.json", '{"nodes": [{"uid": "?1", "kind": "FLOW"}]}', "nodes[0].uid: `?1` is no uid"),
        ("g.json", '{"nodes": [{"uid": "\\ud800", "kind": "FLOW"}]}', "g.json"),
        ("g.json", '{"nodes": [{"uid": "a", "kind": "FLOW"}]}', "nodes[0].namespace: is missing"),
    ],
)
def test_malformed_graph_file_is_wrong_usage(tmp_path: Path, name: str, text: str, told: str) -> None:
    done = drawn(tmp_path, text, name=name)

    assert (done.exit_code, told in done.stderr) == (2, True), done.output


def test_graph_fails_for_another_tenant_or_a_server_that_is_away() -> None:
    file = str(GRAPHS / "close.json")

    assert run("initech", "user:bob", file).exit_code == 1
    assert run("acme", "bob", file).exit_code == 2
    assert run("acme", "user:bob", file, "--target", "127.0.0.1:1", "--timeout", "0.5").exit_code == 3
    assert run("acme", "user:bob", file + "x").exit_code == 2


def test_cycles_and_long_chains_are_drawn(tmp_path: Path) -> None:
    cycle = 'digraph { node [kind=FLOW namespace="acme"]; edge [relation=KV]; a -> b -> a; c -> c; d }'
    chain = f"{cycle[:-1]} ; {' -> '.join(f'n{number}' for number in range(400))} }}"

    assert drawn(tmp_path, cycle).stdout.splitlines() == [
        "c  FLOW acme",
        "└── KV c  FLOW acme  as above",
        "d  FLOW acme",
        "a  FLOW acme",
        "└── KV b  FLOW acme",
        "    └── KV a  FLOW acme  as above",
        "4 nodes visible, 3 edges, 0 forbidden",
    ]
    assert "404 nodes visible" in drawn(tmp_path, chain).stdout


def test_deep_graph_continues_in_a_separate_tree(tmp_path: Path) -> None:
    """Right after the tree that it continues, in any order of nodes; each node is shown once."""
    names = [f"n{number}" for number in range(2 * DEPTH_LIMIT + 5)]
    nodes = "; ".join(reversed(names))
    chain = f"digraph {{ node [kind=FLOW namespace=acme]; edge [relation=KV]; {nodes}; {' -> '.join(names)} }}"
    *lines, _ = drawn(tmp_path, chain).stdout.splitlines()
    told = [line.partition("n")[2].split()[0] for line in lines]
    assert [*range(DEPTH_LIMIT + 1), *range(DEPTH_LIMIT, 2 * DEPTH_LIMIT + 1), *range(2 * DEPTH_LIMIT, len(names))] == [
        int(number) for number in told
    ]
    assert [DEPTH_LIMIT, 2 * DEPTH_LIMIT + 1] == [at for at, line in enumerate(lines) if line.endswith("  as below")]


@pytest.mark.parametrize(("nodes", "edges", "code"), [(2, EDGES_LIMIT + 1, 2), (NODES_LIMIT + 1, 0, 2), (2, 9, 0)])
def test_a_picture_that_would_take_too_long_is_refused(tmp_path: Path, nodes: int, edges: int, code: int) -> None:
    graph = {
        "nodes": [{"uid": f"n{number}", "kind": "FLOW", "namespace": "acme"} for number in range(nodes)],
        "edges": [{"source": "n0", "target": "n1", "relation": "KV"}] * edges,
    }
    done = drawn(tmp_path, json.dumps(graph), "--format", "svg", name="g.json")
    assert (code, code == 2) == (done.exit_code, "at most 500 and 1000 are drawn" in done.stderr)


def test_forbidden_edge_has_an_arrow_of_its_colour() -> None:
    answer = messages.VisibleGraphResponse()
    for uid in ("a", "b", "c"):
        answer.nodes.add(uid=uid, kind="FLOW", namespace="a", id=uid)
    for target, reach, reason in (
        ("b", Effect.EFFECT_ALLOW, Reason.REASON_ALLOWED_BY_RULE),
        ("c", Effect.EFFECT_DENY, Reason.REASON_NO_MATCHING_RULE),
    ):
        edge = messages.GraphEdge(source="a", target=target, relation="KV")
        answer.edges.add(edge=edge, reach=reach, reason=reason)
    picture = ET.fromstring(write_svg(answer))
    svg = "{http://www.w3.org/2000/svg}"
    markers = {marker.attrib["id"]: marker[0].attrib["class"] for marker in picture.iter(f"{svg}marker")}
    ends = {
        group.attrib["class"]: path.attrib["marker-end"] for group in picture for path in group.findall(f"{svg}path")
    }
    assert {"edge": "url(#arrow)", "edge forbidden": "url(#forbidden)"} == ends
    assert ("tip", "tip forbidden") == (markers["arrow"], markers["forbidden"])


def test_picture_shows_every_node_and_edge_without_overlap() -> None:
    """Random graphs with loops, cycles and lonely nodes: no two boxes overlap, and all is inside the picture."""
    dice = random.Random(7)
    for size in (0, 1, 2, 5, 30):
        answer = messages.VisibleGraphResponse()
        for number in range(size):
            answer.nodes.add(uid=f"n{number}", kind="FLOW", namespace="a", id="<&>")
        for _ in range(size * 2):
            ends = {"source": f"n{dice.randrange(size)}", "target": f"n{dice.randrange(size)}"}
            answer.edges.add(edge=messages.GraphEdge(relation="KV", **ends))
        picture = ET.fromstring(write_svg(answer))
        svg = "{http://www.w3.org/2000/svg}"
        _, _, width, height = (float(each) for each in picture.attrib["viewBox"].split())
        assert picture.findtext(f"{svg}title") == f"Dependency graph: {size} nodes, {2 * size} edges"
        assert (f"{width:.0f}", f"{height:.0f}") == (picture.attrib["width"], picture.attrib["height"])
        background, *rects = picture.iter(f"{svg}rect")
        assert ("100%", "100%") == (background.attrib["width"], background.attrib["height"])
        boxes = [tuple(float(box.attrib[key]) for key in ("x", "y", "width", "height")) for box in rects]
        assert size == len(boxes)
        for place, (x, y, w, h) in enumerate(boxes):
            assert 0 <= x <= x + w <= width
            assert 0 <= y <= y + h <= height
            for x2, y2, w2, h2 in boxes[:place]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
        pairs = {(each.edge.source, each.edge.target) for each in answer.edges}
        assert len(pairs) == len(picture.findall(f"{svg}g/{svg}path"))
