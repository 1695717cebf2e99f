from collections.abc import Iterator

from remit.core.names import WHOLE_TENANT, Namespace
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.policy import DedicatedResource, Policy, ResourceType
from remit.engine.decision_diagram import Diagram, DiagramFactory
from remit.engine.diff.change import ChangedNamespaces, DedicatedChange


def dedicated_changes(atlas: DiagramFactory, old: Policy | None, new: Policy | None) -> tuple[DedicatedChange, ...]:
    """Raises TooManyDiagramsError."""
    return tuple(change for resource in ResourceType for change in _changes(atlas, old, new, resource))


def _changes(
    atlas: DiagramFactory, old: Policy | None, new: Policy | None, resource: ResourceType
) -> Iterator[DedicatedChange]:
    # A diagram holds numbers: settings are a mapping, so a resource cannot be a value of a diagram.
    known: list[DedicatedResource | None] = [None]
    both = atlas.combine(_pair, _resolved(atlas, old, resource, known), _resolved(atlas, new, resource, known))
    for pair in sorted(atlas.values(both)):
        before, after = pair
        region = atlas.map(pair.__eq__, both)
        if before != after and not atlas.is_empty(region):
            yield DedicatedChange(
                resource,
                known[before],
                known[after],
                ChangedNamespaces(atlas.pieces(region), tenant_itself=region.here),
            )


def _resolved(
    atlas: DiagramFactory, policy: Policy | None, resource: ResourceType, known: list[DedicatedResource | None]
) -> Diagram[int]:
    """The number of the resource that serves a namespace; 0 for none."""
    chart = atlas.constant(0)
    for level in sorted(policy.dedicated, key=_depth) if policy is not None else ():
        named = policy.dedicated[level].get(resource) if policy is not None else None
        if named is not None:
            if named not in known:
                known.append(named)
            chart = atlas.combine(_nearer, chart, atlas.over(_below(level), known.index(named), 0))
    return chart


def _pair(before: int, after: int) -> tuple[int, int]:
    return before, after


def _nearer(outer: int, inner: int) -> int:
    return inner or outer


def _depth(level: Namespace) -> int:
    return len(level.split(".")) if level else 0


def _below(level: Namespace) -> NamespacePattern:
    if level == WHOLE_TENANT:
        return EVERYWHERE
    return NamespacePattern(f"{level}.**", tuple(level.split(".")), subtree=True)
