from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from remit.core.decision import Decision, Reason
from remit.core.explanation import Clause, Explanation, NearMiss, Remedy
from remit.core.hints import instead_of
from remit.core.names import Namespace, Subject, Tenant, Word
from remit.core.patterns import exactly
from remit.core.question import Question, QuestionType
from remit.core.rows import ANY, Effect, Link, Rule
from remit.engine.inquiry import Inquiry
from remit.engine.snapshot import Snapshot

NEAR_MISSES: Final = 10

_CLAUSES: Final = tuple(Clause)

Chains = Mapping[str, tuple[Link, ...]]
"""The g rows that lead to a subject, by subject."""


def explain(snapshot: Snapshot, question: Question) -> Explanation:
    """The decision with its grounds. Raises MalformedQuestionError as `decide` does."""
    decision = snapshot.decide(question)
    held, nearly = _chains(snapshot, question)
    chain: tuple[Link, ...] = ()
    if isinstance(decision.rule, Rule):
        chain = held[decision.rule.subject]
    near_misses: tuple[NearMiss, ...] = ()
    if decision.reason in {Reason.OUT_OF_SCOPE, Reason.NOT_GRANTED, Reason.NO_BINDING}:
        near_misses = tuple(sorted(_near_misses(snapshot, question, held, nearly), key=_nearness)[:NEAR_MISSES])
    remedy = None if decision.allowed else _remedy(snapshot, question, decision)
    return Explanation(snapshot.tenant, question, decision, chain, near_misses, remedy)


@dataclass(frozen=True, slots=True)
class AccessExplainer(Inquiry[Explanation]):
    question_type: ClassVar = QuestionType.EXPLAIN
    decides: ClassVar = True
    question: Question

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return self.question.columns

    def answer(self, snapshot: Snapshot) -> Explanation:
        return explain(snapshot, self.question)

    def decision(self, answer: Explanation) -> Decision:
        return answer.decision


def unknown_tenant(tenant: Tenant, question: Question) -> Explanation:
    decision = Decision(Effect.DENY, Reason.UNKNOWN_TENANT)
    remedy = Remedy(instead=f"no row helps: {Reason.UNKNOWN_TENANT.meaning}")
    return Explanation(tenant, question, decision, remedy=remedy)


def chains(snapshot: Snapshot, question: Question) -> Chains:
    """The shortest chain to each subject that the principal holds in the namespace."""
    held: dict[str, tuple[Link, ...]] = {question.principal: ()}
    waiting: list[str] = [question.principal]
    for subject in waiting:
        for link in snapshot.graph.links_of(subject):
            if link.holds not in held and link.scope.contains(question.namespace):
                held[link.holds] = (*held[subject], link)
                waiting.append(link.holds)
    return held


def _chains(snapshot: Snapshot, question: Question) -> tuple[Chains, Chains]:
    """The shortest chains to the subjects that the principal holds in the namespace, and to the subjects that it would
    hold if exactly one g row's scope covered the namespace."""
    held = chains(snapshot, question)
    nearly: dict[str, tuple[Link, ...]] = {}
    one_short: list[str] = []
    for subject, chain in held.items():
        for link in snapshot.graph.links_of(subject):
            if link.holds not in held and link.holds not in nearly:
                nearly[link.holds] = (*chain, link)
                one_short.append(link.holds)
    for subject in one_short:
        for link in snapshot.graph.links_of(subject):
            if link.holds not in held and link.holds not in nearly and link.scope.contains(question.namespace):
                nearly[link.holds] = (*nearly[subject], link)
                one_short.append(link.holds)
    return held, nearly


def _near_misses(snapshot: Snapshot, question: Question, held: Chains, nearly: Chains) -> Iterator[NearMiss]:
    """Allow rules with exactly one failing clause."""
    place = question.namespace or "the tenant itself"
    for chains, one_fails_already in ((held, False), (nearly, True)):
        for subject, chain in chains.items():
            for rule in snapshot.graph.rules_of(subject):
                failing = _failing(rule, question)
                if rule.effect is Effect.DENY or len(failing) + one_fails_already != 1:
                    continue
                if one_fails_already:
                    link = next(link for link in chain if not link.scope.contains(question.namespace))
                    detail = f"{link.place} holds in `{link.scope}`, which does not cover {place}"
                    yield NearMiss(rule, chain, Clause.SCOPE, detail)
                    continue
                detail = {
                    Clause.NAMESPACE: f"the rule holds in `{rule.namespaces}`, which does not cover {place}",
                    Clause.ACTION: f"the rule names {'|'.join(rule.actions)}, not {question.action}",
                    Clause.KIND: f"the rule names {'|'.join(rule.kinds)}, not {question.kind}",
                }[failing[0]]
                yield NearMiss(rule, chain, failing[0], detail)


def _failing(rule: Rule, question: Question) -> list[Clause]:
    failing = []
    if not rule.namespaces.contains(question.namespace):
        failing.append(Clause.NAMESPACE)
    if rule.actions != ANY and question.action not in rule.actions:
        failing.append(Clause.ACTION)
    if rule.kinds != ANY and question.kind not in rule.kinds:
        failing.append(Clause.KIND)
    return failing


def _nearness(miss: NearMiss) -> tuple[int, str, int]:
    return (_CLAUSES.index(miss.failed), miss.rule.file, miss.rule.line)


def _remedy(snapshot: Snapshot, question: Question, decision: Decision) -> Remedy:
    match decision.reason:
        case Reason.DENIED_BY_RULE if decision.rule is not None:
            return Remedy(instead=f"no row helps against a deny: narrow or remove {decision.rule.place}")
        case Reason.NO_ACCESS:
            listed = f"`access` of {snapshot.tenant}/tenant.yaml, or make it a member of a group listed there"
            return Remedy(instead=f"no row helps without the access list: add `{question.principal}` to {listed}")
        case Reason.OUT_OF_SCOPE | Reason.NOT_GRANTED | Reason.NO_BINDING:
            return Remedy(rule=_narrowest_rule(snapshot, question), binding=_narrowest_binding(snapshot, question))
        case reason:
            return Remedy(
                instead=f"no row helps: {reason.meaning}{words_instead(snapshot, question.action, question.kind, reason)}"
            )


def words_instead(snapshot: Snapshot, action: Word, kind: Word, reason: Reason) -> str:
    """A hint at the word that the caller may have meant, if a word is not in the vocabulary. `kind` may be empty: any."""
    kinds = snapshot.policy.vocabulary.kinds
    match reason:
        case Reason.UNKNOWN_KIND if action in kinds:
            return f"; `{action}` is a kind: did you swap action and kind?"
        case Reason.UNKNOWN_KIND:
            return instead_of(kind, list(snapshot.policy.vocabulary.kinds_of(snapshot.tenant)))
        case Reason.UNKNOWN_ACTION:
            among = [kinds[kind]] if kind else kinds.values()
            return instead_of(action, {name for each in among for name in each.actions})
    return ""


def _narrowest_rule(snapshot: Snapshot, question: Question) -> str:
    where = exactly(question.namespace)
    fields = (question.principal, snapshot.tenant, where.text, question.kind, question.action, Effect.ALLOW.value)
    return ", ".join(("p", *fields))


def _narrowest_binding(snapshot: Snapshot, question: Question) -> str:
    """A g row, for this namespace alone, to the role that permits the fewest things there; '' if no role would
    allow."""
    graph = snapshot.graph
    fitting = [role for role in graph.roles() if snapshot.would_allow(role, question) and graph.may_be_bound(role)]
    if not fitting:
        return ""
    role = min(fitting, key=lambda role: (_breadth(snapshot, role, question.namespace), role))
    scope = f"{snapshot.tenant}/{question.namespace}" if question.namespace else snapshot.tenant
    return f"g, {question.principal}, {role}, {scope}"


def _breadth(snapshot: Snapshot, role: Subject, namespace: Namespace) -> int:
    """The (kind, action) pairs that a role allows in a namespace. A pair that two rows allow counts twice."""
    kinds = snapshot.policy.vocabulary.kinds_of(snapshot.tenant).values()
    return sum(
        len(kind.actions if rule.actions == ANY else kind.actions & {*rule.actions})
        for subject in snapshot.held(role, namespace)
        for rule in snapshot.graph.rules_of(subject)
        if rule.effect is Effect.ALLOW and rule.namespaces.contains(namespace)
        for kind in kinds
        if rule.kinds == ANY or kind.name in rule.kinds
    )


def summary(explanation: Explanation) -> str:
    principal, action, kind, namespace = explanation.question
    decision = explanation.decision
    place = f"{namespace} of {explanation.tenant}" if namespace else f"{explanation.tenant}"
    verb = "may" if decision.allowed else "may not"
    lines = [f"{principal} {verb} {action} {kind} in {place}: {decision.reason} ({decision.reason.meaning})"]
    if decision.rule is not None:
        lines.append(f"  rule       {decision.rule.place}  {decision.rule.text}")
        lines += [f"  held by    {link.place}  {link.text}" for link in explanation.chain]
    for miss in explanation.near_misses:
        lines.append(f"  near miss  {miss.rule.place}  {miss.rule.text}")
        lines.append(f"             {miss.detail}")
        lines += [f"    held by  {link.place}  {link.text}" for link in miss.chain]
    if explanation.remedy is not None:
        remedy = explanation.remedy
        lines += [f"  would allow  {row}" for row in (remedy.rule, remedy.binding) if row]
        if remedy.instead:
            lines.append(f"  {remedy.instead}")
    return "\n".join(lines)
