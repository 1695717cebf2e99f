from dataclasses import dataclass, field
from typing import NamedTuple

from remit.core.decision import Reason
from remit.core.namespace_set import NamespaceSet
from remit.core.rows import Effect


@dataclass(frozen=True, slots=True)
class Answer:
    """An allow or a deny, with its reason."""

    effect: Effect
    reason: Reason
    decision_id: str
    """UUIDv7 of the audit record."""
    revision: str
    """The revision of the tenant's policy that decided; '' for an unknown tenant."""
    position: str = field(default="", kw_only=True)
    """The position of that policy in the tenant's history, for `at_least`; '' from a node without a policy store."""

    @property
    def allowed(self) -> bool:
        return self.effect is Effect.ALLOW

    def __bool__(self) -> bool:
        """True for an allow only, so `if client.check(...)` does not treat every answer as a yes."""
        return self.allowed


class RefusedOwner(NamedTuple):
    """An owner whose resources the caller may not use."""

    owner: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class ReachAllAnswer(Answer):
    """May every owner be used? The reason is that of the first owner that refuses, else of the first owner."""

    refused: tuple[RefusedOwner, ...]
    """In the order asked."""


class Part(NamedTuple):
    kind: str
    action: str
    namespace: str
    """The namespace of the check; '' for the tenant itself."""
    answer: Answer


@dataclass(frozen=True, slots=True)
class OperationAnswer(Answer):
    """May every part happen? Reason and decision id are those of the first denied part, else of the first part."""

    parts: tuple[Part, ...]
    """In the vocabulary's order. For an unknown tenant: one part without kind and action."""

    @property
    def refused(self) -> tuple[Part, ...]:
        return tuple(each for each in self.parts if not each.answer.allowed)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a principal may do an action on a kind, to filter a query by."""

    namespaces: NamespaceSet
    """A row may be seen if its namespace is in this set; the empty set selects no row."""
    decision_id: str
    """UUIDv7 of the audit record."""
    revision: str
    """The revision of the tenant's policy that answered; '' for an unknown tenant."""
    reason: Reason | None = None
    """Why the set is empty, if remit decided before it looked at any row."""
    position: str = field(default="", kw_only=True)
    """As in Answer."""
