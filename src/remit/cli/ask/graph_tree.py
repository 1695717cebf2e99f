"""The trees of a visible graph, as the terminal shows them."""

from rich.text import Text
from rich.tree import Tree

from remit.cli.common.output import styled
from remit.core.names import quote
from remit.drawing.graph_tree import GraphBranch
from remit.v1 import visibility_service_pb2 as messages


def rich_tree(root: GraphBranch) -> Tree:
    tree = Tree(_label(root.node))
    _add(tree, root)
    return tree


def _add(tree: Tree, branch: GraphBranch) -> None:
    for each in branch.below:
        relation = each.edge.edge.relation if each.edge is not None else ""
        label = styled((f"{relation} ", "cyan")) + _label(each.node)
        if each.forbidden:
            label.append(f"  FORBIDDEN {each.forbidden}", "bold red")
        if each.elsewhere:
            label.append(f"  {each.elsewhere}", "dim")
        _add(tree.add(label), each)


def _label(node: messages.GraphNode) -> Text:
    if not node.kind:
        return styled((f"{node.uid} hidden", "dim"))
    return styled((quote(node.id or node.uid), "bold"), (f"  {node.kind} {node.namespace}".rstrip(), "not bold"))
