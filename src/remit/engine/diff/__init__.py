"""What changes between two policies: compares patterns, and so covers all principals, permissions, relations and
namespaces, of which there are infinitely many."""

from collections.abc import Container, Iterator

from remit.core.names import Tenant
from remit.core.rows import Link, ReachRule, Rule
from remit.engine.decision_diagram import DiagramFactory
from remit.engine.diff.access import Touched, access_changes
from remit.engine.diff.access_regions import AccessRegions
from remit.engine.diff.change import (
    AccessChange,
    ChangedNamespaces,
    DedicatedChange,
    Direction,
    Pairs,
    ReachChange,
    RuntimeChange,
    TenantDiff,
)
from remit.engine.diff.dedicated import dedicated_changes
from remit.engine.diff.reach import reach_changes
from remit.engine.diff.runtime import runtime_changes
from remit.engine.snapshot import Snapshot

__all__ = [
    "AccessChange",
    "ChangedNamespaces",
    "DedicatedChange",
    "Direction",
    "Pairs",
    "ReachChange",
    "RuntimeChange",
    "TenantDiff",
    "access_diff",
    "changed_rows",
    "diff",
]


def diff(tenant: Tenant, old: Snapshot | None, new: Snapshot | None) -> TenantDiff:
    """Every decision of a tenant that changes from `old` to `new`; None means that the tenant does not exist.

    Raises TooManyDiagramsError, with the principal and permission or the relation, if the patterns split the namespaces
    into too many parts.
    """
    factory = DiagramFactory()
    before, after = (snapshot.policy if snapshot is not None else None for snapshot in (old, new))
    regions = AccessRegions(factory, old), AccessRegions(factory, new)
    touched = Touched(factory, *regions)
    added, removed = changed_rows(old, new)
    return TenantDiff(
        tenant,
        access_changes(factory, *regions, touched),
        reach_changes(factory, before, after),
        dedicated_changes(factory, before, after),
        runtime_changes(factory, *regions, touched),
        len(added),
        len(removed),
    )


def access_diff(old: Snapshot, new: Snapshot) -> tuple[AccessChange, ...]:
    """The same for decisions about access alone."""
    factory = DiagramFactory()
    regions = AccessRegions(factory, old), AccessRegions(factory, new)
    return access_changes(factory, *regions, Touched(factory, *regions))


def changed_rows(
    old: Snapshot | None, new: Snapshot | None
) -> tuple[tuple[Rule | Link | ReachRule, ...], tuple[Rule | Link | ReachRule, ...]]:
    """The rows that only `new` has, and those that only `old` has, by file and line. Equal rows count once, and a row that
    moved is no change."""
    before, after = ({row.fields: row for row in _rows(each)} for each in (old, new))
    return _sorted(after, before), _sorted(before, after)


def _sorted(
    rows: dict[tuple[str, ...], Rule | Link | ReachRule], others: Container[tuple[str, ...]]
) -> tuple[Rule | Link | ReachRule, ...]:
    only = (row for fields, row in rows.items() if fields not in others)
    return tuple(sorted(only, key=lambda row: (row.file, row.line, row.text)))


def _rows(snapshot: Snapshot | None) -> Iterator[Rule | Link | ReachRule]:
    if snapshot is not None:
        policy = snapshot.policy
        for rows in (policy.rules, policy.links, policy.reach):
            yield from rows
