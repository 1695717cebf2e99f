"""A visible graph as text trees: a node stands above the nodes that it uses."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.text import Text
from rich.tree import Tree

from remit.cli.common.output import styled
from remit.core.names import quote
from remit.drawing.graph_edges import forbidden, reason_of
from remit.v1 import visibility_service_pb2 as messages

DEPTH_LIMIT: Final = 20
"""Steps in one tree; a deeper branch becomes its own tree, because no terminal is wider."""


def trees(answer: messages.VisibleGraphResponse) -> Iterator[Tree]:
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
) -> Tree:
    tree = Tree(_label(nodes[root]))
    shown.add(root)
    # No recursion: a path may have as many steps as there are nodes.
    waiting = [(tree, iter(uses[root]))]
    while waiting:
        branch, edges = waiting[-1]
        edge = next(edges, None)
        if edge is None:
            waiting.pop()
            continue
        target = edge.edge.target
        label = styled((f"{edge.edge.relation} ", "cyan")) + _label(nodes[target])
        if forbidden(edge):
            label.append(f"  FORBIDDEN {reason_of(edge)}", "bold red")
        goes_on = bool(uses[target])
        if goes_on and target in shown:
            label.append("  as above", "dim")
        elif goes_on and len(waiting) == DEPTH_LIMIT:
            label.append("  as below", "dim")
            roots.append(target)
        elif target not in shown:
            shown.add(target)
            waiting.append((branch.add(label), iter(uses[target])))
            continue
        branch.add(label)
    return tree


def _label(node: messages.GraphNode) -> Text:
    if not node.kind:
        return styled((f"{node.uid} hidden", "dim"))
    return styled((quote(node.id or node.uid), "bold"), (f"  {node.kind} {node.namespace}".rstrip(), "not bold"))
