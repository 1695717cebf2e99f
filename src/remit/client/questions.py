from collections.abc import Iterable
from typing import NamedTuple


class Asked(NamedTuple):
    """One question of a batch. `namespace` stays empty for kinds of class `tenant` and `instance`."""

    principal: str
    action: str
    kind: str
    namespace: str = ""
    resource_id: str = ""


class AskedReach(NamedTuple):
    """One question of a batch about reach: may work in `caller` use what `owner` owns, by `relation`?"""

    caller: str
    owner: str
    relation: str
    resource_id: str = ""


class Node(NamedTuple):
    """A node of a dependency graph: `uid` tells it from the others, `id` is handed back as it came."""

    uid: str
    kind: str
    namespace: str = ""
    id: str = ""


class Edge(NamedTuple):
    """`source` uses `target`, both the uid of a node."""

    source: str
    target: str
    relation: str


class Graph(NamedTuple):
    """A dependency graph of one tenant."""

    nodes: Iterable[Node]
    edges: Iterable[Edge] = ()
