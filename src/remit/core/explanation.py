from dataclasses import dataclass

from remit.core.decision import Decision
from remit.core.names import Tenant
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Link, ReachRule, Rule
from remit.core.str_enum import StrEnum


class Clause(StrEnum):
    """A part of a rule that a question must match, as in the matcher of access.conf."""

    SCOPE = "scope"
    """A g row of the chain holds only in other namespaces."""
    NAMESPACE = "namespace"
    """The rule's own namespaces do not cover the requested one."""
    ACTION = "action"
    KIND = "kind"


@dataclass(frozen=True, slots=True)
class NearMiss:
    """An allow rule on the principal's chains that only one clause kept from matching."""

    rule: Rule
    chain: tuple[Link, ...]
    failed: Clause
    detail: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would turn a deny into an allow: rows, or a text if no row helps."""

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
    """The g rows from the principal to the deciding rule's subject; empty if the rule names the principal."""
    near_misses: tuple[NearMiss, ...] = ()
    remedy: Remedy | None = None


@dataclass(frozen=True, slots=True)
class ReachNearMiss:
    """An allow row that only one field kept from matching."""

    rule: ReachRule
    detail: str


@dataclass(frozen=True, slots=True)
class ReachRemedy:
    """What would turn a deny of reach into an allow: a row and its position, or a text if no row helps."""

    rule: str = ""
    above: str = ""
    """The row above which the new row must stand; empty if any position works."""
    instead: str = ""


@dataclass(frozen=True, slots=True)
class ReachExplanation:
    tenant: Tenant
    question: ReachQuestion
    decision: Decision
    too_late: tuple[ReachRule, ...] = ()
    """Rows with the other effect that match too, after the deciding row."""
    near_misses: tuple[ReachNearMiss, ...] = ()
    remedy: ReachRemedy | None = None
