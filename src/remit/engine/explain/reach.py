from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Final

from remit.core.decision import Decision, Reason
from remit.core.explanation import ReachExplanation, ReachNearMiss, ReachRemedy
from remit.core.hints import instead_of
from remit.core.names import Tenant
from remit.core.policy import Policy
from remit.core.question import QuestionType, ReachQuestion
from remit.core.rows import Effect, ReachRule
from remit.engine.inquiry import Inquiry
from remit.engine.snapshot import Snapshot

ROWS_TOLD: Final = 10

_BY_FIRST_ROW: Final = {
    Reason.DENIED_BY_RULE: "the first matching row denies",
    Reason.ALLOWED_BY_RULE: "the first matching row allows",
}
"""Meanings of reasons that differ between the reach plane and the access plane."""


def explain_reach(snapshot: Snapshot, question: ReachQuestion) -> ReachExplanation:
    decision = snapshot.reach.decide(question)
    too_late: tuple[ReachRule, ...] = ()
    if isinstance(decision.rule, ReachRule):
        behind = (row for row in snapshot.policy.reach if row.line > decision.rule.line and _matches(row, question))
        too_late = tuple(islice((row for row in behind if row.effect is not decision.effect), ROWS_TOLD))
    if decision.allowed:
        return ReachExplanation(snapshot.tenant, question, decision, too_late)
    near_misses: tuple[ReachNearMiss, ...] = ()
    if decision.reason in {Reason.DENIED_BY_RULE, Reason.NO_MATCHING_RULE}:
        near_misses = tuple(islice(_near_misses(snapshot.policy, question), ROWS_TOLD))
    remedy = _remedy(snapshot.policy, question, decision)
    return ReachExplanation(snapshot.tenant, question, decision, too_late, near_misses, remedy)


@dataclass(frozen=True, slots=True)
class ReachExplainer(Inquiry[ReachExplanation]):
    question_type: ClassVar = QuestionType.REACH_EXPLAIN
    decides: ClassVar = True
    question: ReachQuestion

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return self.question.columns

    def answer(self, snapshot: Snapshot) -> ReachExplanation:
        return explain_reach(snapshot, self.question)

    def decision(self, answer: ReachExplanation) -> Decision:
        return answer.decision


def unknown_tenants_reach(tenant: Tenant, question: ReachQuestion) -> ReachExplanation:
    decision = Decision(Effect.DENY, Reason.UNKNOWN_TENANT)
    remedy = ReachRemedy(instead=f"no row helps: {Reason.UNKNOWN_TENANT.meaning}")
    return ReachExplanation(tenant, question, decision, remedy=remedy)


def _matches(row: ReachRule, question: ReachQuestion) -> bool:
    return row.names(question.relation) and row.caller.contains(question.caller) and row.owner.contains(question.owner)


def _near_misses(policy: Policy, question: ReachQuestion) -> Iterator[ReachNearMiss]:
    for row in policy.reach:
        if row.effect is Effect.DENY:
            continue
        failing = []
        if not row.caller.contains(question.caller):
            failing.append(f"its caller is `{row.caller}`, which does not cover {question.caller}")
        if not row.owner.contains(question.owner):
            failing.append(f"its owner is `{row.owner}`, which does not cover {question.owner}")
        if not row.names(question.relation):
            failing.append(f"it names {'|'.join(row.relations)}, not {question.relation}")
        if len(failing) == 1:
            yield ReachNearMiss(row, failing[0])


def _remedy(policy: Policy, question: ReachQuestion, decision: Decision) -> ReachRemedy:
    if decision.reason not in {Reason.DENIED_BY_RULE, Reason.NO_MATCHING_RULE}:
        unknown = decision.reason is Reason.UNKNOWN_RELATION
        words = instead_of(question.relation, policy.vocabulary.relations) if unknown else ""
        return ReachRemedy(instead=f"no row helps: {decision.reason.meaning}{words}")
    fields = (policy.tenant, question.caller, question.owner, question.relation, Effect.ALLOW.value)
    above = decision.rule.place if decision.rule is not None else ""
    return ReachRemedy(rule=", ".join(("p", *fields)), above=above)


def reach_summary(explanation: ReachExplanation) -> str:
    caller, owner, relation = explanation.question
    decision = explanation.decision
    verb = "may" if decision.allowed else "may not"
    sentence = f"work in {caller} of {explanation.tenant} {verb} use {owner} by {relation}"
    meaning = _BY_FIRST_ROW.get(decision.reason, decision.reason.meaning)
    lines = [f"{sentence}: {decision.reason} ({meaning})"]
    if decision.rule is not None:
        lines.append(f"  row        {decision.rule.place}  {decision.rule.text}")
    lines += [f"  too late   {row.place}  {row.text}" for row in explanation.too_late]
    for miss in explanation.near_misses:
        lines.append(f"  near miss  {miss.rule.place}  {miss.rule.text}")
        lines.append(f"             {miss.detail}")
    remedy = explanation.remedy
    if remedy is not None and remedy.rule:
        where = f", above {remedy.above}" if remedy.above else ""
        lines.append(f"  would allow  {remedy.rule}{where}")
    if remedy is not None and remedy.instead:
        lines.append(f"  {remedy.instead}")
    return "\n".join(lines)
