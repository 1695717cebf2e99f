"""Drawings that are refused: each mistake by the place of its field."""

import pytest

from remit.core.dependency_graph import TEXT_LIMIT, VIOLATIONS_LIMIT, parse_graph
from remit.core.errors import MalformedQuestionError

SOUND = ("a", "FLOW", "acme.data", "x")


@pytest.mark.parametrize(
    ("changed", "field", "told"),
    [
        ({0: ""}, "uid", "is missing: expected 1 to 512 printable characters, the first not `?`"),
        ({0: "?1"}, "uid", "`?1` is no uid"),
        ({0: "a\n"}, "uid", "`a\\u000a` is no uid"),
        ({0: "x" * (TEXT_LIMIT + 1)}, "uid", "is no uid"),
        ({0: "a"}, "uid", "`a` is that of nodes[0] already"),
        ({1: ""}, "kind", "kind is missing"),
        ({1: "FL OW"}, "kind", "`FL OW` is not a kind"),
        ({2: "acme..data"}, "namespace", "`acme..data` is not a namespace"),
        ({2: "a" * 151}, "namespace", "is not a namespace"),
        ({3: "x" * (TEXT_LIMIT + 1)}, "id", "holds 513 characters: expected at most 512"),
    ],
)
def test_node_is_checked_against_its_grammar(changed: dict[int, str], field: str, told: str) -> None:
    node = [changed.get(place, text) for place, text in enumerate(("b", *SOUND[1:]))]
    with pytest.raises(MalformedQuestionError) as caught:
        parse_graph([SOUND, (node[0], node[1], node[2], node[3])], [])
    (violation,) = caught.value.violations
    assert f"nodes[1].{field}" == violation.field
    assert told in violation.description


@pytest.mark.parametrize(
    ("edge", "field", "told"),
    [
        (("a", "b", "KV"), "target", "no node has the uid `b`"),
        (("", "a", "KV"), "source", "no node has the uid ``"),
        (("a", "a", ""), "relation", "relation is missing"),
        (("a", "a", "K-V"), "relation", "`K-V` is not a relation"),
    ],
)
def test_edge_is_checked_against_the_nodes(edge: tuple[str, str, str], field: str, told: str) -> None:
    with pytest.raises(MalformedQuestionError) as caught:
        parse_graph([SOUND], [("a", "a", "KV"), edge])
    (violation,) = caught.value.violations
    assert f"edges[1].{field}" == violation.field
    assert told in violation.description


@pytest.mark.parametrize(
    ("nodes", "edges"),
    [([("?", "", "", "")] * 1_000, []), ([SOUND], [("b", "c", "-")] * 1_000)],
)
def test_mistakes_are_reported_up_to_a_limit(
    nodes: list[tuple[str, str, str, str]], edges: list[tuple[str, str, str]]
) -> None:
    with pytest.raises(MalformedQuestionError) as caught:
        parse_graph(nodes, edges)
    assert VIOLATIONS_LIMIT == len(caught.value.violations)


def test_parsed_graph_equals_the_request() -> None:
    """A namespace may be left out, an id too; nodes may share one; an edge may lead back, and be drawn twice."""
    nodes = [SOUND, ("b", "USER", "", ""), ("ü #1", "FLOW", "acme.data", "x" * TEXT_LIMIT)]
    graph = parse_graph(nodes, [("a", "a", "KV"), ("ü #1", "b", "KV"), ("ü #1", "b", "KV")])
    assert nodes == [tuple(node) for node in graph.nodes]
    assert ((0, 0, "KV"), (2, 1, "KV"), (2, 1, "KV")) == graph.edges
