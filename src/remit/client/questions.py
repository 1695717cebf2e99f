from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Asked(NamedTuple):
    """One question of a batch. Leave `namespace` empty for kinds of class `tenant` and `instance`."""

    principal: str
    action: str
    kind: str
    namespace: str = ""
    resource_id: str = ""


class AskedReach(NamedTuple):
    """One reach question of a batch: may work in `caller` use what `owner` owns, by `relation`?"""

    caller: str
    owner: str
    relation: str
    resource_id: str = ""


class RuntimeBinding(NamedTuple):
    """A row that is granted at run time: `member` (a user, a service or a group) is in a group, or holds a role."""

    member: str
    holds: str
    scope: str = ""
    """A namespace pattern; empty for the whole tenant."""
    expires_us: int = 0
    """From when on the row counts no more, microseconds since the Unix epoch; 0 for never."""


class PrincipalRows(NamedTuple):
    """The rows of a matrix: principals, in one namespace or in the tenant itself. With neither `principals` nor `holding`:
    those for which a rule decides anything there."""

    namespace: str = ""
    principals: Sequence[str] = ()
    holding: str = ""
    """Who is in this group, or holds this role, whatever the scope."""


class NamespaceRows(NamedTuple):
    """The rows of a matrix: namespaces, for one principal. Without `namespaces`: those that the policy names, at and below
    `below` if it is given."""

    principal: str
    namespaces: Sequence[str] = ()
    below: str = ""


class Node(NamedTuple):
    """A node of a dependency graph. `uid` identifies it; `id` is returned unchanged."""

    uid: str
    kind: str
    namespace: str = ""
    id: str = ""


class Edge(NamedTuple):
    """`source` uses `target`; both are the uid of a node."""

    source: str
    target: str
    relation: str


class Graph(NamedTuple):
    nodes: Iterable[Node]
    edges: Iterable[Edge] = ()
