from collections.abc import Iterator

from remit.core.names import WHOLE_TENANT, Namespace
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.policy import DedicatedResource, Policy, ResourceType
from remit.engine.decision_diagram import Diagram, DiagramFactory
from remit.engine.diff.change import ChangedNamespaces, DedicatedChange


def dedicated_changes(factory: DiagramFactory, old: Policy | None, new: Policy | None) -> tuple[DedicatedChange, ...]:
    """Raises TooManyDiagramsError."""
    return tuple(change for resource in ResourceType for change in _changes(factory, old, new, resource))


def _changes(
    factory: DiagramFactory, old: Policy | None, new: Policy | None, resource: ResourceType
) -> Iterator[DedicatedChange]:
    # A diagram holds numbers: settings are a mapping, so a resource cannot be a value of a diagram.
    known: list[DedicatedResource | None] = [None]
    both = factory.apply(_pair, _resolved(factory, old, resource, known), _resolved(factory, new, resource, known))
    for pair in sorted(factory.values(both)):
        before, after = pair
        region = factory.map(pair.__eq__, both)
        if before != after and not factory.is_empty(region):
            yield DedicatedChange(
                resource,
                known[before],
                known[after],
                ChangedNamespaces(factory.pieces(region), tenant_itself=region.here),
            )


def _resolved(
    factory: DiagramFactory, policy: Policy | None, resource: ResourceType, known: list[DedicatedResource | None]
) -> Diagram[int]:
    """The number of the resource that serves a namespace; 0 for none."""
    diagram = factory.constant(0)
    for level in sorted(policy.dedicated, key=_depth) if policy is not None else ():
        named = policy.dedicated[level].get(resource) if policy is not None else None
        if named is not None:
            if named not in known:
                known.append(named)
            diagram = factory.apply(_nearer, diagram, factory.over(_below(level), known.index(named), 0))
    return diagram


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
