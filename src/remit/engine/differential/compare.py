from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from remit.core.decision import Decision, Reason
from remit.core.errors import MalformedQuestionError
from remit.core.policy import Policy
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Link, ReachRule, Rule
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.snapshot import Snapshot

BY_ROWS: Final = frozenset(
    {
        Reason.DENIED_BY_RULE,
        Reason.ALLOWED_BY_RULE,
        Reason.OUT_OF_SCOPE,
        Reason.NOT_GRANTED,
        Reason.NO_BINDING,
        Reason.NO_MATCHING_RULE,
    }
)
"""Reasons that come from rows, which Casbin decides too."""

_RENEWED_AFTER: Final = 5_000
"""Comparisons per CasbinOracle: Casbin keeps a role graph for every namespace that it was asked about."""

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Difference:
    """A question that the two engines answer differently, with the smallest policy that shows it."""

    policy: Policy
    question: Question | ReachQuestion
    decision: Decision
    """The engine's decision; Casbin's effect is the opposite."""

    @property
    def text(self) -> str:
        """The policy's rows in file format, then the question and both answers."""
        rows: list[Rule | Link | ReachRule] = [*self.policy.rules, *self.policy.links, *self.policy.reach]
        if isinstance(self.question, Question):
            principal, action, kind, namespace = self.question
            asked = f"{principal} {action} {kind} in {namespace or 'the tenant itself'}"
        else:
            caller, owner, relation = self.question
            asked = f"{caller} uses {owner} by {relation}"
        lines = [f"# {row.place}\n{row.text}" for row in rows]
        lines.append(f"# tenant {self.policy.tenant}: {asked}")
        lines.append(f"# remit says {self.decision.effect} ({self.decision.reason})")
        lines.append(f"# casbin says {'deny' if self.decision.allowed else 'allow'}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Verification:
    asked: int
    compared: int
    """Questions that rows decide. Casbin knows no names, classes or access lists, so others are not compared."""
    difference: Difference | None = None


def verify(snapshot: Snapshot, questions: Iterable[Question | ReachQuestion]) -> Verification:
    """Compares the engine with Casbin over the questions, up to the first difference.

    To show progress, pass a generator that counts. Malformed questions count as asked.
    """
    asked = compared = 0
    witness = CasbinOracle(snapshot.policy)
    for question in questions:
        asked += 1
        decision = _decide(snapshot, question)
        if decision is None:
            continue
        compared += 1
        if compared % _RENEWED_AFTER == 0:
            witness = CasbinOracle(snapshot.policy)
        if _allows(witness, question) != decision.allowed:
            return Verification(asked, compared, _minimal(Difference(snapshot.policy, question, decision)))
    return Verification(asked, compared)


def _decide(snapshot: Snapshot, question: Question | ReachQuestion) -> Decision | None:
    """The engine's decision; None if no row decides, so Casbin has no answer."""
    try:
        decision = snapshot.answer(question)
    except MalformedQuestionError:
        return None
    return decision if decision.reason in BY_ROWS else None


def _allows(witness: CasbinOracle, question: Question | ReachQuestion) -> bool:
    return witness.allows(question) if isinstance(question, Question) else witness.reaches(question)


def _minimal(found: Difference) -> Difference:
    """The difference without the rows that it does not need. Returns `found` unchanged if a new snapshot does not
    reproduce it, as may happen if only a long-lived snapshot is wrong."""

    def difference(policy: Policy) -> Difference | None:
        decision = _decide(Snapshot(policy), found.question)
        if decision is None or _allows(CasbinOracle(policy), found.question) == decision.allowed:
            return None
        return Difference(policy, found.question, decision)

    policy = found.policy
    if difference(policy) is None:
        return found
    open_to_all = replace(policy, access=None)
    if difference(open_to_all) is not None:
        policy = open_to_all
    about_access = isinstance(found.question, Question)
    policy = replace(policy, reach=()) if about_access else replace(policy, rules=(), links=())
    rules = _needed(policy.rules, lambda rows: difference(replace(policy, rules=tuple(rows))) is not None)
    policy = replace(policy, rules=tuple(rules))
    links = _needed(policy.links, lambda rows: difference(replace(policy, links=tuple(rows))) is not None)
    policy = replace(policy, links=tuple(links))
    reach = _needed(policy.reach, lambda rows: difference(replace(policy, reach=tuple(rows))) is not None)
    return difference(replace(policy, reach=tuple(reach))) or found


def _needed(rows: Sequence[_Row], differs: Callable[[Sequence[_Row]], bool]) -> Sequence[_Row]:
    """Rows of which every one is needed, found by leaving out ever smaller slices."""
    size = len(rows)
    while size:
        start = 0
        while start < len(rows):
            fewer = [*rows[:start], *rows[start + size :]]
            if differs(fewer):
                rows = fewer
            else:
                start += size
        size //= 2
    return rows
