from dataclasses import dataclass
from enum import StrEnum

from remit.core.decision import Decision
from remit.core.names import Tenant
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Link, ReachRule, Rule


class Clause(StrEnum):
    """A part of a rule that a question must meet, as in the matcher of access.conf."""

    SCOPE = "scope"
    """A g row of the chain holds elsewhere only."""
    NAMESPACE = "namespace"
    """The rule's own namespaces do not cover the one asked about."""
    ACTION = "action"
    KIND = "kind"


@dataclass(frozen=True, slots=True)
class NearMiss:
    """An allow rule of the principal's own chains that one clause kept from matching."""

    rule: Rule
    chain: tuple[Link, ...]
    failed: Clause
    detail: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would turn a deny into an allow: rows, or, where no row helps, words."""

    rule: str = ""
    """The narrowest p row for the principal."""
    binding: str = ""
    """The narrowest g row to an existing role."""
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    tenant: Tenant
    question: Question
    decision: Decision
    chain: tuple[Link, ...] = ()
    """The g rows from the principal to the deciding rule's subject; empty where the rule names the principal."""
    near_misses: tuple[NearMiss, ...] = ()
    remedy: Remedy | None = None


@dataclass(frozen=True, slots=True)
class ReachNearMiss:
    """An allow row that one field kept from matching."""

    rule: ReachRule
    detail: str


@dataclass(frozen=True, slots=True)
class ReachRemedy:
    """What would turn a refused reach into an allow: a row and where it must stand, or, where no row helps, words."""

    rule: str = ""
    above: str = ""
    """The place of the row that it must stand above; empty where anywhere will do."""
    instead: str = ""


@dataclass(frozen=True, slots=True)
class ReachExplanation:
    tenant: Tenant
    question: ReachQuestion
    decision: Decision
    too_late: tuple[ReachRule, ...] = ()
    """Rows of the other effect that match as well, behind the one that decided."""
    near_misses: tuple[ReachNearMiss, ...] = ()
    remedy: ReachRemedy | None = None
