from dataclasses import dataclass
from typing import NamedTuple

from remit.core.decision import Reason
from remit.core.namespace_set import NamespaceSet
from remit.core.rows import Effect


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    effect: Effect
    reason: Reason
    decision_id: str
    """UUIDv7 of the audit record."""
    revision: str
    """The revision of the tenant's policy that decided; empty for an unknown tenant."""

    @property
    def allowed(self) -> bool:
        return self.effect is Effect.ALLOW

    def __bool__(self) -> bool:
        """So that `if client.check(...)` does not take the answer itself, whatever it says, for a yes."""
        return self.allowed


class RefusedOwner(NamedTuple):
    """A namespace that does not let its own be used."""

    owner: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class ReachAllAnswer(Answer):
    """May every owner be used? The reason is that of the first that refuses, else that of the first."""

    refused: tuple[RefusedOwner, ...]
    """In the order asked."""


class Part(NamedTuple):
    """One check of a compound operation."""

    kind: str
    action: str
    namespace: str
    """Where it was asked; empty for the tenant itself."""
    answer: Answer


@dataclass(frozen=True, slots=True)
class OperationAnswer(Answer):
    """May every part happen? Reason and decision id are those of the first that is refused, else those of the first."""

    parts: tuple[Part, ...]
    """In the vocabulary's order. Of an unknown tenant, one without kind and action."""

    @property
    def refused(self) -> tuple[Part, ...]:
        return tuple(each for each in self.parts if not each.answer.allowed)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a principal may do an action on a kind, to filter a query by."""

    namespaces: NamespaceSet
    """A row may be seen if its namespace is in this set; the empty set is no row."""
    decision_id: str
    """UUIDv7 of the audit record."""
    revision: str
    """The revision of the tenant's policy that answered; empty for an unknown tenant."""
    reason: Reason | None = None
    """Why the set is empty, where that was decided before any row."""
