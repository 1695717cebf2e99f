from typing import NamedTuple

from remit.core.names import WHOLE_TENANT, Namespace
from remit.core.policy import DedicatedResource, Policy, ResourceType


class Resolution(NamedTuple):
    """What serves a namespace, and the level that says so."""

    resource: DedicatedResource
    level: Namespace
    """The namespace that names the resource; the empty one is the tenant."""


def resolve(policy: Policy, namespace: Namespace, resource: ResourceType) -> Resolution | None:
    """The nearest namespace, going up from `namespace`, that names a resource of this type; else the tenant; else none.
    Each type resolves by itself."""
    level = namespace
    while True:
        named = policy.dedicated.get(level, {}).get(resource)
        if named is not None:
            return Resolution(named, level)
        if level == WHOLE_TENANT:
            return None
        level = Namespace(level.rpartition(".")[0])
