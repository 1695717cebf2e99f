from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from remit.core.names import Tenant
from remit.migrate.finding import FindingId, MigrationFinding

NO_FUNCTION: Final = "none"
"""The value for a role definition without a registered matching function."""


class DomainReading(StrEnum):
    TENANTS = "tenants"
    """Each domain is its own tenant, separate from the others, as most programs intend."""
    NAMESPACES = "namespaces"
    """Each domain is a namespace of one tenant. Its roles and groups are shared, and rows may cover several domains."""


class ObjectReading(StrEnum):
    KINDS = "kinds"
    """Each object is its own kind."""
    NAMESPACES = "namespaces"
    """Each object is a namespace, and all have one kind. Patterns over objects become patterns over namespaces."""


@dataclass(frozen=True, slots=True)
class CasbinOptions:
    """Facts that a model and its rows do not contain."""

    tenant: Tenant | None = None
    """The tenant to write, if the policy names none."""
    domains: DomainReading = DomainReading.TENANTS
    objects: ObjectReading | None = None
    """None means namespaces if the matcher compares objects with patterns, else kinds."""
    kind: str = "OBJECT"
    """The one kind if objects are namespaces."""
    match: Mapping[str, str] = field(default_factory=dict)
    """By role definition: the function that the program registers for its names, or `none`."""
    match_domains: Mapping[str, str] = field(default_factory=dict)
    """By role definition: the function that the program registers for its domains, or `none`."""
    persons: tuple[str, ...] = ()
    """Names of roles that also ask questions themselves."""
    objects_more: tuple[str, ...] = ()
    actions_more: tuple[str, ...] = ()
    accepted: frozenset[FindingId] = frozenset()
    cases: int = 5_000
    """The maximum number of questions kept as tests, for each tenant."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The findings of an import, and the files to write: none if something was refused."""

    files: Mapping[str, bytes]
    findings: tuple[MigrationFinding, ...]
    rows: int
    cases: int
    """Questions whose answers the test files hold."""

    @property
    def refused(self) -> bool:
        return not self.files
