from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from remit.core.authzen import NO_MAPPING, AuthzenMapping
from remit.core.gateway import Route
from remit.core.names import INSTANCE, Namespace, Subject, Tenant, Word
from remit.core.rows import Link, ReachRule, Rule
from remit.core.runtime import Runtime
from remit.core.str_enum import StrEnum
from remit.core.vocabulary import Vocabulary


class ResourceType(StrEnum):
    """The types of dedicated resources that a tenant or a namespace may have."""

    STORAGE = "storage"
    SECRETS = "secrets"
    WORKER_GROUP = "worker_group"


@dataclass(frozen=True, slots=True)
class DedicatedResource:
    """An entry of resources.yaml that is open to the policy's tenant."""

    name: str
    type: str = ""
    """The type, in the words of the software that uses the resource, for example `s3`."""
    read_only: bool = False
    denied_services: frozenset[Word] = frozenset()
    """Services (`WEBSERVER`, `WORKER`, ...) that may not use it."""
    fallback: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    """Free-form settings: texts, lists and mappings of them."""


@dataclass(frozen=True, slots=True)
class Policy:
    """All that one tenant's files and the root files say about this tenant."""

    tenant: Tenant
    revision: str
    """SHA-256 over the files, 64 hexadecimal digits (policy-language section 6)."""
    vocabulary: Vocabulary
    rules: tuple[Rule, ...] = ()
    """Includes managed roles' rows, except in `_instance`."""
    links: Sequence[Link] = ()
    """A tuple, or another sequence that nobody changes."""
    reach: tuple[ReachRule, ...] = ()
    """In file order: the first matching row decides."""
    access: frozenset[Subject] | None = None
    """The access list; None admits everyone."""
    dedicated: Mapping[Namespace, Mapping[ResourceType, DedicatedResource]] = field(default_factory=dict)
    """The resources that a namespace names itself, by namespace; the empty namespace is the tenant."""
    opened: Mapping[ResourceType, Mapping[str, frozenset[Tenant]]] = field(default_factory=dict)
    """In `_instance`: the tenants that each resource is open to; empty elsewhere."""
    authzen: AuthzenMapping = NO_MAPPING
    """What the names in AuthZEN requests stand for."""
    routes: tuple[Route, ...] = ()
    """The routes of the tenant's gateway, in file order. Their order never matters."""
    runtime: Runtime | None = None
    """Which rows may be granted at run time; None: none."""

    @property
    def rows(self) -> int:
        return len(self.rules) + len(self.links) + len(self.reach)

    @property
    def is_instance(self) -> bool:
        return self.tenant == INSTANCE
