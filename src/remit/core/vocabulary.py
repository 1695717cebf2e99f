from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from remit.core.names import INSTANCE, Tenant, Word
from remit.core.str_enum import StrEnum


class KindClass(StrEnum):
    """Where the things of a kind live, which determines the bindings that count (policy-language section 4)."""

    NAMESPACE = "namespace"
    """In a namespace: a question must carry one."""
    TENANT = "tenant"
    """In the tenant: a question must carry no namespace, and only whole-tenant scopes count."""
    INSTANCE = "instance"
    """In the instance: asked in `_instance` only, otherwise like `tenant`."""


@dataclass(frozen=True, slots=True)
class Kind:
    name: Word
    kind_class: KindClass
    actions: frozenset[Word]

    @property
    def namespaced(self) -> bool:
        return self.kind_class is KindClass.NAMESPACE

    def lives_in(self, tenant: Tenant) -> bool:
        """True if the kind is on this tenant's side of the instance wall."""
        return (self.kind_class is KindClass.INSTANCE) == (tenant == INSTANCE)


@dataclass(frozen=True, slots=True)
class Relation:
    """A way in which work of one namespace uses what another owns."""

    name: Word
    inherited: bool = False
    """True if descendants may use what an ancestor owns unless a row denies it."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One check of a compound operation."""

    kind: Word
    action: Word
    at_parent: bool = False
    """Ask at the parent of the operation's namespace. If that is the tenant, ask about the kind `at_top`."""

    @property
    def at_top(self) -> Word:
        """The kind that stands for this one in the tenant itself."""
        return Word(f"TENANT_{self.kind}")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that policies may use. Closed: another word is an error in a file and a reason in an answer."""

    kinds: Mapping[Word, Kind] = field(default_factory=dict)
    relations: Mapping[Word, Relation] = field(default_factory=dict)
    operations: Mapping[Word, tuple[Operand, ...]] = field(default_factory=dict)
    services: tuple[Word, ...] = ()
    """The services to which dedicated resources may be denied."""

    def kinds_of(self, tenant: Tenant) -> dict[Word, Kind]:
        """The kinds on this tenant's side of the instance wall, by name."""
        return {name: kind for name, kind in self.kinds.items() if kind.lives_in(tenant)}


EMPTY_VOCABULARY: Final = Vocabulary()
