"""A visible graph as trees: a node stands above the nodes that it uses."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from remit.drawing.graph_edges import forbidden, reason_of
from remit.v1 import visibility_service_pb2 as messages

DEPTH_LIMIT: Final = 20
"""Steps in one tree; a deeper branch becomes its own tree, because no terminal is wider."""


@dataclass(frozen=True, slots=True)
class GraphBranch:
    node: messages.GraphNode
    edge: messages.VisibleEdge | None = None
    """How the node above uses it; None for the root of a tree."""
    elsewhere: str = ""
    """`as above` or `as below`, where another branch shows what the node uses."""
    below: list["GraphBranch"] = field(default_factory=list)

    @property
    def forbidden(self) -> str:
        """The reason why reach forbids the use; empty where it does not."""
        return reason_of(self.edge) if self.edge is not None and forbidden(self.edge) else ""


def trees(answer: messages.VisibleGraphResponse) -> Iterator[GraphBranch]:
    """One tree for each node that nothing uses, and for each branch that is too deep. A node is shown once."""
    nodes = {node.uid: node for node in answer.nodes}
    uses: defaultdict[str, list[messages.VisibleEdge]] = defaultdict(list)
    for each in answer.edges:
        uses[each.edge.source].append(each)
    used = {each.edge.target for each in answer.edges if each.edge.target != each.edge.source}
    shown: set[str] = set()
    # Cycles that no other node leads to come last.
    for start in [*(uid for uid in nodes if uid not in used), *nodes]:
        roots = [start]
        for root in roots:
            if root not in shown:
                yield _tree(root, nodes, uses, shown, roots)


def _tree(
    root: str,
    nodes: Mapping[str, messages.GraphNode],
    uses: Mapping[str, Sequence[messages.VisibleEdge]],
    shown: set[str],
    roots: list[str],
) -> GraphBranch:
    tree = GraphBranch(nodes[root])
    shown.add(root)
    waiting = [(tree, iter(uses[root]))]
    while waiting:
        branch, edges = waiting[-1]
        edge = next(edges, None)
        if edge is None:
            waiting.pop()
            continue
        target = edge.edge.target
        goes_on = bool(uses[target])
        elsewhere = ""
        if goes_on and target in shown:
            elsewhere = "as above"
        elif goes_on and len(waiting) == DEPTH_LIMIT:
            elsewhere = "as below"
            roots.append(target)
        below = GraphBranch(nodes[target], edge, elsewhere)
        branch.below.append(below)
        if not elsewhere and target not in shown:
            shown.add(target)
            waiting.append((below, iter(uses[target])))
    return tree
