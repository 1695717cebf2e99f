from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from remit.audit.chain.chain import LIFECYCLE, READS
from remit.audit.query.filter import in_time
from remit.audit.schema.tables import chains, lifecycle

BINDINGS_APPLIED: Final = "BINDINGS_APPLIED"
"""Its detail names in `needs` the archived revisions on which its own builds."""
TAKES_OVER: Final = ("POLICY_LOADED", "POLICY_RESTORED", "POLICY_PINNED", BINDINGS_APPLIED)
REMOVED: Final = "POLICY_REMOVED"
_ENDS: Final = ("SERVER_STARTED", "SERVER_STOPPED")
"""After these records a node serves nothing until another record says so."""


class ServedRevision(NamedTuple):
    node: str
    revision: str
    """Empty if the tenant was removed."""
    since_us: int
    """When the revision began to serve, microseconds since the Unix epoch."""


def serving(connection: Connection, tenant: str, at_us: int, node: str | None = None) -> list[ServedRevision]:
    """What each node, or the one node, served at that time, the newest first.

    A killed node counts as still serving.
    """
    columns = lifecycle.c
    waited = {node} if node is not None else set(_nodes(connection, tenant))
    statement = (
        select(columns.id, columns.node, columns.type, columns.revision, columns.time_us)
        .where(columns.tenant == tenant, columns.type.in_((*TAKES_OVER, REMOVED)), *in_time(lifecycle, None, at_us + 1))
        .order_by(columns.id.desc())
    )
    found = []
    for id_, its, type_, revision, time_us in connection.execute(statement):
        if its not in waited:
            continue
        waited.remove(its)
        if not _ended(connection, its, id_, at_us):
            found.append(ServedRevision(its, "" if type_ == REMOVED else revision, time_us))
        if not waited:
            break
    return found


def _nodes(connection: Connection, tenant: str) -> Sequence[str]:
    of_tenant = select(chains.c.node).where(chains.c.of_table == LIFECYCLE, chains.c.tenant == tenant)
    return [node for node in connection.execute(of_tenant).scalars() if not node.endswith(READS)]


def _ended(connection: Connection, node: str, after: bytes, at_us: int) -> bool:
    columns = lifecycle.c
    statement = select(columns.id).where(
        columns.tenant == "",
        columns.type.in_(_ENDS),
        columns.node == node,
        columns.id > after,
        *in_time(lifecycle, None, at_us + 1),
    )
    return connection.execute(statement.limit(1)).first() is not None
