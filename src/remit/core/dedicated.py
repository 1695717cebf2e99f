from dataclasses import dataclass

from remit.core.names import Namespace, Tenant
from remit.core.namespace_set import NamespaceSet
from remit.core.policy import DedicatedResource, ResourceType
from remit.core.rows import Effect


@dataclass(frozen=True, slots=True)
class Resolution:
    """What serves a namespace, and the level that says so."""

    resource: DedicatedResource
    level: Namespace
    """The namespace that names the resource; the empty one is the tenant."""


@dataclass(frozen=True, slots=True)
class Dedicated:
    """What of one type serves a namespace, and whether a service may touch it."""

    resource_type: ResourceType
    resolution: Resolution | None
    """None where no level names one."""
    service: Effect | None
    """None where no service was named, or there is nothing to touch."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a resource serves."""

    namespaces: tuple[NamespaceSet, ...]
    """Sets to be united."""
    whole_tenant: bool
    """Whether it serves the tenant itself."""
    tenants: tuple[Tenant, ...]
    """In `_instance` those that it is open to, sorted."""
