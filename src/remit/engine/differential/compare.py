"""Both engines over the same questions, and the first difference cut down to what makes it."""

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
"""Reasons behind the doors, where Casbin has a say."""

_RENEWED_AFTER: Final = 5_000
"""Comparisons that one Casbin serves: it keeps a role graph for each namespace it was ever asked about."""

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Difference:
    """A question to which the two engines answer differently, over a policy with no row too many."""

    policy: Policy
    question: Question | ReachQuestion
    decision: Decision
    """The engine's; Casbin's effect is the other one."""

    @property
    def text(self) -> str:
        """The policy's rows as they could stand in a file, then the question and both answers."""
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
    """Questions that passed the doors: of names, class and access list Casbin knows nothing."""
    difference: Difference | None = None


def verify(snapshot: Snapshot, questions: Iterable[Question | ReachQuestion]) -> Verification:
    """Compares the engine with Casbin over each question, until the first difference.

    For progress, hand in a generator that counts. Malformed questions count as asked.
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
    """None where Casbin has no say."""
    try:
        decision = snapshot.answer(question)
    except MalformedQuestionError:
        return None
    return decision if decision.reason in BY_ROWS else None


def _allows(witness: CasbinOracle, question: Question | ReachQuestion) -> bool:
    return witness.allows(question) if isinstance(question, Question) else witness.reaches(question)


def _minimal(found: Difference) -> Difference:
    """The difference without each row that it does not need; as it was found where it does not come again, as one
    that a long-lived snapshot made would not."""

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
    """Rows of which none can be left out, found by leaving out ever smaller slices."""
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
