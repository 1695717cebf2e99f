from random import Random

from support.trees import snapshot_of

from remit.core.dependency_graph import parse_graph
from remit.core.names import Principal, Word
from remit.engine.queries.visibility import GROUPS_RECORDED, VisibleTo
from remit.engine.snapshot import Snapshot

FILES = {
    "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\nrelations: {KV: {}}\n",
    "acme/bindings.csv": b"p, user:a, acme, open, FLOW, VIEW, allow\n",
}


def test_a_record_names_the_largest_hidden_groups_and_counts_the_others() -> None:
    """However many namespaces a graph has, its record stays small: docs/how-to/dependency-graphs.md says how small."""
    assert 100 == GROUPS_RECORDED
    more = 7
    nodes = [(f"n{number}", "FLOW", f"hidden.n{number}", "") for number in range(GROUPS_RECORDED + more)]
    nodes += [("one", "FLOW", "hidden.large", ""), ("two", "FLOW", "hidden.large", ""), ("seen", "FLOW", "open", "")]
    inquiry = VisibleTo(Principal("user:a"), Word("VIEW"), parse_graph(nodes, []), Random(1))
    detail = inquiry.detail(inquiry.answer(snapshot_of(FILES, "acme")))
    groups = detail["hidden_groups"]
    assert isinstance(groups, list)
    assert GROUPS_RECORDED == len(groups)
    assert {"kind": "FLOW", "namespace": "hidden.large", "reason": "OUT_OF_SCOPE", "nodes": 2} == groups[0]
    assert {"groups": more + 1, "nodes": more + 1} == detail["other_hidden_groups"]
    assert GROUPS_RECORDED + more + 2 == detail["hidden"]


def test_each_kind_and_namespace_is_decided_once_and_each_pair_once() -> None:
    """Whatever the number of nodes and edges between them."""
    snapshot = snapshot_of(FILES, "acme")
    asked: list[object] = []
    counting = _Counting(snapshot, asked)
    nodes = [(f"n{number}", "FLOW", "open" if number % 2 else "shut", "") for number in range(100)]
    edges = [(f"n{number}", f"n{number + 2}", "KV") for number in range(98)]
    VisibleTo(Principal("user:a"), Word("VIEW"), parse_graph(nodes, edges), Random(1)).answer(counting)
    assert 3 == len(asked)


def test_edges_of_a_stub_come_in_random_order() -> None:
    """Of two answers each has another, and neither is that of the request; what is between visible nodes keeps it."""
    snapshot = snapshot_of(FILES, "acme")
    nodes = [("in", "FLOW", "open", ""), ("out", "FLOW", "shut", "")]
    relations = [f"R{number}" for number in range(30)]
    edges = [edge for each in relations for edge in (("in", "out", each), ("in", "in", each))]
    asked = parse_graph(nodes, edges)
    orders = []
    for seed in (1, 2):
        answer = VisibleTo(Principal("user:a"), Word("VIEW"), asked, Random(seed)).answer(snapshot)
        assert relations == [relation for _, end, relation, _ in answer.graph.edges[:30] if end == "in"]
        orders.append([relation for _, end, relation, _ in answer.graph.edges[30:] if end == "?1"])
    assert [sorted(relations)] * 2 == [sorted(each) for each in orders]
    assert 3 == len({tuple(each) for each in (relations, *orders)})


class _Counting(Snapshot):
    def __init__(self, snapshot: Snapshot, asked: list[object]) -> None:
        super().__init__(snapshot.policy)
        decide, reach = self.decide, self.reach.decide
        self.decide = lambda question: asked.append(question) or decide(question)  # type: ignore[func-returns-value, method-assign]
        self.reach.decide = lambda question: asked.append(question) or reach(question)  # type: ignore[func-returns-value, method-assign]
