"""What changes between two policies: compares patterns, and so covers all principals, permissions, relations and
namespaces, of which there are infinitely many."""

from collections.abc import Iterator

from remit.core.names import Tenant
from remit.engine.decision_diagram import DiagramFactory
from remit.engine.diff.access import access_changes
from remit.engine.diff.change import (
    AccessChange,
    ChangedNamespaces,
    DedicatedChange,
    Direction,
    Pairs,
    ReachChange,
    TenantDiff,
)
from remit.engine.diff.dedicated import dedicated_changes
from remit.engine.diff.reach import reach_changes
from remit.engine.snapshot import Snapshot

__all__ = [
    "AccessChange",
    "ChangedNamespaces",
    "DedicatedChange",
    "Direction",
    "Pairs",
    "ReachChange",
    "TenantDiff",
    "diff",
]


def diff(tenant: Tenant, old: Snapshot | None, new: Snapshot | None) -> TenantDiff:
    """Every decision of a tenant that changes from `old` to `new`; None means that the tenant does not exist.

    Raises TooManyDiagramsError, with the principal and permission or the relation, if the patterns split the namespaces
    into too many parts.
    """
    factory = DiagramFactory()
    before, after = (snapshot.policy if snapshot is not None else None for snapshot in (old, new))
    rows_before, rows_after = set(_rows(old)), set(_rows(new))
    return TenantDiff(
        tenant,
        access_changes(factory, old, new),
        reach_changes(factory, before, after),
        dedicated_changes(factory, before, after),
        len(rows_after - rows_before),
        len(rows_before - rows_after),
    )


def _rows(snapshot: Snapshot | None) -> Iterator[tuple[str, ...]]:
    if snapshot is not None:
        policy = snapshot.policy
        for rows in (policy.rules, policy.links, policy.reach):
            yield from (row.fields for row in rows)
