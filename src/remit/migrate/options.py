from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from remit.core.names import Tenant
from remit.migrate.finding import FindingId, MigrationFinding

NO_FUNCTION: Final = "none"
"""Said of a role definition for which the program registers no matching function."""


class DomainReading(StrEnum):
    TENANTS = "tenants"
    """Each domain is a tenant of its own: a wall, as most programs mean it."""
    NAMESPACES = "namespaces"
    """Each domain is a namespace of one tenant: its roles and groups are shared, and rows may cover several domains."""


class ObjectReading(StrEnum):
    KINDS = "kinds"
    """Each object is a kind of its own."""
    NAMESPACES = "namespaces"
    """Each object is a namespace, all of one kind; patterns over objects are patterns over namespaces."""


@dataclass(frozen=True, slots=True)
class CasbinOptions:
    """What a model and its rows do not say about themselves."""

    tenant: Tenant | None = None
    """The tenant to write, where the policy names none itself."""
    domains: DomainReading = DomainReading.TENANTS
    objects: ObjectReading | None = None
    """None for namespaces where the matcher holds objects against patterns, else kinds."""
    kind: str = "OBJECT"
    """The one kind, where objects are namespaces."""
    match: Mapping[str, str] = field(default_factory=dict)
    """By role definition: the function that the program registers for its names, or `none`."""
    match_domains: Mapping[str, str] = field(default_factory=dict)
    """By role definition: the function that the program registers for its domains, or `none`."""
    persons: tuple[str, ...] = ()
    """Names that others hold, and that ask questions themselves."""
    objects_more: tuple[str, ...] = ()
    actions_more: tuple[str, ...] = ()
    accepted: frozenset[FindingId] = frozenset()
    cases: int = 5_000
    """Questions kept as tests, at most, for each tenant."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import found, and the files it would write: none where something was refused."""

    files: Mapping[str, bytes]
    findings: tuple[MigrationFinding, ...]
    rows: int
    """Rows that were read."""
    cases: int
    """Questions whose answers the test files hold."""

    @property
    def refused(self) -> bool:
        return not self.files
