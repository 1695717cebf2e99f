from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from remit.core.names import INSTANCE, Tenant, Word


class KindClass(StrEnum):
    """Where the things of a kind live, and so which bindings count (policy-language section 4)."""

    NAMESPACE = "namespace"
    """In a namespace: a question must carry one."""
    TENANT = "tenant"
    """In the tenant: a question must carry no namespace, and only whole-tenant scopes count."""
    INSTANCE = "instance"
    """In the instance: asked in `_instance` only, as `tenant` otherwise."""


@dataclass(frozen=True, slots=True)
class Kind:
    name: Word
    kind_class: KindClass
    actions: frozenset[Word]

    @property
    def namespaced(self) -> bool:
        return self.kind_class is KindClass.NAMESPACE

    def lives_in(self, tenant: Tenant) -> bool:
        """Whether the kind is on this tenant's side of the instance wall."""
        return (self.kind_class is KindClass.INSTANCE) == (tenant == INSTANCE)


@dataclass(frozen=True, slots=True)
class Relation:
    """A way in which work of one namespace uses what another owns."""

    name: Word
    inherited: bool = False
    """Whether what an ancestor owns is open to its descendants where no row says otherwise."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One check of a compound operation."""

    kind: Word
    action: Word
    at_parent: bool = False
    """Asked about the parent of the operation's namespace; of a top-level one, as `at_top` about the tenant."""

    @property
    def at_top(self) -> Word:
        """The kind that things of this kind are where they lie in the tenant itself."""
        return Word(f"TENANT_{self.kind}")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What policies may speak of. Closed: a word outside it is an error in a file and a reason in an answer."""

    kinds: Mapping[Word, Kind] = field(default_factory=dict)
    relations: Mapping[Word, Relation] = field(default_factory=dict)
    operations: Mapping[Word, tuple[Operand, ...]] = field(default_factory=dict)
    services: tuple[Word, ...] = ()
    """The services that dedicated resources may be denied to."""


EMPTY_VOCABULARY: Final = Vocabulary()
