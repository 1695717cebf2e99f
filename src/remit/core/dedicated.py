from dataclasses import dataclass

from remit.core.names import Namespace, Tenant
from remit.core.namespace_set import NamespaceSet
from remit.core.policy import DedicatedResource, ResourceType
from remit.core.rows import Effect


@dataclass(frozen=True, slots=True)
class Resolution:
    """The resource that serves a namespace, and the level that names it."""

    resource: DedicatedResource
    level: Namespace
    """The namespace that names the resource; empty for the tenant."""


@dataclass(frozen=True, slots=True)
class Dedicated:
    """The resource of one type that serves a namespace, and if a service may use it."""

    resource_type: ResourceType
    resolution: Resolution | None
    """None if no level names one."""
    service: Effect | None
    """None if the question names no service, or there is no resource."""


@dataclass(frozen=True, slots=True)
class Served:
    """The namespaces and tenants that a resource serves."""

    namespaces: tuple[NamespaceSet, ...]
    """The union of these sets."""
    whole_tenant: bool
    """True if it serves the tenant itself."""
    tenants: tuple[Tenant, ...]
    """In `_instance`: the tenants that it is open to, sorted."""
