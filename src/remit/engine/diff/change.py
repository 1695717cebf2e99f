from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from remit.core.names import Namespace, Principal, Subject, Tenant, Word
from remit.core.policy import DedicatedResource, ResourceType
from remit.core.question import Question, ReachQuestion
from remit.engine.decision_diagram import Piece
from remit.engine.reach import is_ancestor


class Direction(StrEnum):
    GAIN = "gain"
    """From deny to allow."""
    LOSS = "loss"
    """From allow to deny."""


@dataclass(frozen=True, slots=True)
class ChangedNamespaces:
    """A set of namespaces; the tenant itself may be part of it."""

    namespaces: tuple[Piece, ...] = ()
    """Pieces may overlap."""
    tenant_itself: bool = False

    def contains(self, namespace: Namespace) -> bool:
        return self.tenant_itself if not namespace else _contain(self.namespaces, namespace)


@dataclass(frozen=True, slots=True)
class AccessChange:
    """All of `principals` gain, or lose, all of `permissions` everywhere in `where`."""

    direction: Direction
    principals: tuple[Principal, ...]
    through: Subject | None
    """The narrowest group or role through which all principals get the change; None if there is none."""
    holders: int
    """Number of principals that hold `through` somewhere, before or after."""
    permissions: tuple[tuple[Word, Word], ...]
    where: ChangedNamespaces

    def contains(self, question: Question) -> bool:
        principal, action, kind, namespace = question
        return principal in self.principals and (kind, action) in self.permissions and self.where.contains(namespace)


class Pairs(StrEnum):
    """Which pairs of a caller and an owner a change of reach is about. A namespace may always use what it owns, so in
    all but ITSELF caller and owner differ."""

    OTHERS = "others"
    ABOVE = "above"
    """The owner is an ancestor of the caller, so inheritance applies."""
    NOT_ABOVE = "not above"
    """The owner is not an ancestor of the caller."""
    ITSELF = "itself"
    """The owner is the caller: a relation, or the tenant, was added or removed."""


@dataclass(frozen=True, slots=True)
class ReachChange:
    """Work in `callers` gains, or loses, the use of what `owners` own, for the pairs that `pairs` names."""

    direction: Direction
    relations: tuple[Word, ...]
    callers: tuple[Piece, ...]
    owners: tuple[Piece, ...]
    pairs: Pairs

    def contains(self, question: ReachQuestion) -> bool:
        caller, owner, relation = question
        return (
            relation in self.relations
            and _contain(self.callers, caller)
            and _contain(self.owners, owner)
            and self._pairs(caller, owner)
        )

    def _pairs(self, caller: Namespace, owner: Namespace) -> bool:
        if self.pairs is Pairs.ITSELF or caller == owner:
            return self.pairs is Pairs.ITSELF and caller == owner
        return self.pairs is Pairs.OTHERS or is_ancestor(owner, caller) == (self.pairs is Pairs.ABOVE)


@dataclass(frozen=True, slots=True)
class DedicatedChange:
    """Another dedicated resource, or the same with other settings, serves all of `where`. No decision depends on it."""

    resource: ResourceType
    before: DedicatedResource | None
    after: DedicatedResource | None
    where: ChangedNamespaces


@dataclass(frozen=True, slots=True)
class RuntimeChange:
    """More, or less, may be granted at run time. No decision depends on it until somebody grants."""

    direction: Direction
    key: str
    """Of `runtime` in tenant.yaml; or `rights`, `denies`, `access` or `people`: what a grant that both versions open does."""
    values: tuple[str, ...]
    """The names or patterns that came, or went. Of `max_ttl` the new one; '' if a row need not expire. Of the keys that
    tenant.yaml does not have: groups and roles; of `people` principals."""
    permissions: tuple[tuple[Word, Word], ...] = ()
    """Of `rights`: what each of the groups and roles gives whoever is granted it, and did not give. Of `denies`: what each
    of them denied, and denies no more. Of `people`: what one grant may give each of them now, and could not. Of a loss the
    other way round. Of other keys none."""
    where: ChangedNamespaces = ChangedNamespaces()


@dataclass(frozen=True, slots=True)
class TenantDiff:
    """Every decision of one tenant with a different effect in two policies, and what else a reviewer must know. A different
    reason alone is no change."""

    tenant: Tenant
    access: tuple[AccessChange, ...] = ()
    reach: tuple[ReachChange, ...] = ()
    dedicated: tuple[DedicatedChange, ...] = ()
    runtime: tuple[RuntimeChange, ...] = ()
    rows_added: int = 0
    rows_removed: int = 0

    @property
    def names(self) -> int:
        """How many principals, groups, roles and patterns the changes name."""
        sets = [part for reached in self.reach for part in (reached.callers, reached.owners)]
        sets += [change.where.namespaces for change in self.access]
        sets += [change.where.namespaces for change in self.dedicated]
        sets += [change.where.namespaces for change in self.runtime]
        patterns = sum(1 + len(piece.excepted) for pieces in sets for piece in pieces)
        granted = sum(len(change.values) for change in self.runtime)
        return patterns + granted + sum(len(change.principals) for change in self.access)

    @property
    def directions(self) -> set[Direction]:
        changes: tuple[AccessChange | ReachChange | RuntimeChange, ...] = (*self.access, *self.reach, *self.runtime)
        return {change.direction for change in changes}


def _contain(pieces: Iterable[Piece], namespace: Namespace) -> bool:
    return any(piece.contains(namespace) for piece in pieces)
