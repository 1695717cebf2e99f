from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from remit.core.decision import Decision, Reason
from remit.core.dependency_graph import DependencyGraph
from remit.core.diagnostics import Diagnostic
from remit.core.names import (
    Namespace,
    Principal,
    Word,
)
from remit.core.policy import ResourceType
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.differential.compare import BY_ROWS
from remit.engine.explain.access import explain, summary
from remit.engine.queries.dedicated import ANY_SERVICE, dedicated_to
from remit.engine.queries.visibility import VisibleTo
from remit.engine.snapshot import Snapshot

ACCESS_REASONS: Final = frozenset(Reason) - {
    Reason.UNKNOWN_RELATION,
    Reason.SAME_NAMESPACE,
    Reason.INHERITED,
    Reason.NO_MATCHING_RULE,
    Reason.UNKNOWN_TENANT,
    Reason.NO_ROUTE,
}
GATEWAY_REASONS: Final = ACCESS_REASONS | {Reason.NO_ROUTE}
REACH_REASONS: Final = frozenset(
    {
        Reason.UNKNOWN_RELATION,
        Reason.SAME_NAMESPACE,
        Reason.DENIED_BY_RULE,
        Reason.ALLOWED_BY_RULE,
        Reason.INHERITED,
        Reason.NO_MATCHING_RULE,
    }
)


@dataclass(frozen=True, slots=True)
class Case(ABC):
    """One expectation, with its position."""

    test: str
    file: str
    line: int
    column: int
    always: bool = field(default=False, kw_only=True)
    """It must hold whatever rows are granted at run time."""

    @property
    @abstractmethod
    def asked(self) -> str:
        """The question of the case, in a few words."""

    @property
    def about(self) -> Principal | None:
        """The principal that the case is about; None if it is about none."""
        return None

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class DecisionCase(Case):
    """A case about a question that either plane decides."""

    question: Question | ReachQuestion
    expect: Effect
    reason: Reason | None = None

    def expects(self, decision: Decision) -> bool:
        return decision.effect is self.expect and self.reason in {None, decision.reason}


@dataclass(frozen=True, slots=True)
class AccessCase(DecisionCase):
    question: Question

    @property
    def about(self) -> Principal:
        return self.question.principal

    @property
    def asked(self) -> str:
        principal, action, kind, namespace = self.question
        return f"{principal} {action} {kind}{f' in {namespace}' if namespace else ''}"


@dataclass(frozen=True, slots=True)
class AuthzenCase(AccessCase):
    """An AuthZEN request, with the question that it is."""

    request: str = ""

    @property
    def asked(self) -> str:
        principal, action, kind, namespace = self.question
        place = f" in {namespace}" if namespace else ""
        return f"{self.request}, which is {principal} {action} {kind}{place}"


@dataclass(frozen=True, slots=True)
class GatewayCase(Case):
    """A request of a gateway, with the question of its route."""

    request: str
    """Its method and path."""
    principal: Principal
    question: Question | None
    """None if no route matches the request: then `reason` is NO_ROUTE."""
    expect: Effect
    reason: Reason | None = None

    @property
    def about(self) -> Principal:
        return self.principal

    @property
    def asked(self) -> str:
        return f"{self.request} by {self.principal}"

    @property
    def decision(self) -> AccessCase | None:
        """The case as an expectation of Check; None if no route leads to a question, or none should."""
        if self.question is None or self.reason is Reason.NO_ROUTE:
            return None
        return AccessCase(self.test, self.file, self.line, self.column, self.question, self.expect, self.reason)


@dataclass(frozen=True, slots=True)
class ReachCase(DecisionCase):
    question: ReachQuestion

    @property
    def asked(self) -> str:
        caller, owner, relation = self.question
        return f"{caller} uses {owner} by {relation}"


@dataclass(frozen=True, slots=True)
class DedicatedCase(Case):
    namespace: Namespace
    resource: ResourceType
    level: str
    """A namespace, `tenant` or `none`."""
    name: str | None = None
    read_only: bool | None = None
    service: Word | None = None
    expect: Effect | None = None
    """The expected answer to: may the service use the resource?"""

    @property
    def asked(self) -> str:
        return f"{self.resource} of {self.namespace}"


@dataclass(frozen=True, slots=True)
class VisibleCase(Case):
    """The nodes of a graph that a principal sees. Expectations of reach for its edges are separate cases."""

    principal: Principal
    action: Word
    graph: DependencyGraph
    expect: frozenset[str]
    """Uids."""

    @property
    def about(self) -> Principal:
        return self.principal

    @property
    def asked(self) -> str:
        return f"what {self.principal} may {self.action} of this graph"

    @property
    def decisions(self) -> Iterator[AccessCase]:
        """The case as expectations of Check, one per kind and namespace of the graph."""
        for node in {(node.kind, node.namespace): node for node in self.graph.nodes}.values():
            question = Question(self.principal, self.action, node.kind, node.namespace)
            expect = Effect.ALLOW if node.uid in self.expect else Effect.DENY
            yield AccessCase(self.test, self.file, self.line, self.column, question, expect)


def decisions_of(cases: Iterable[Case]) -> Iterator[DecisionCase]:
    """The expectations of single decisions in the cases."""
    for case in cases:
        if isinstance(case, DecisionCase):
            yield case
        elif isinstance(case, VisibleCase):
            yield from case.decisions
        elif isinstance(case, GatewayCase) and case.decision is not None:
            yield case.decision


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that does not hold: the expected answer, the actual answer, and why."""

    case: Case
    expected: str
    actual: str
    why: str

    @property
    def diagnostic(self) -> Diagnostic:
        message = f"{self.case.asked}: expected {self.expected}, got {self.actual}"
        return Diagnostic(self.case.file, self.case.line, self.case.column, f"{message}. {self.why}")

    @property
    def text(self) -> str:
        lines = (f"{self.case.test}: {self.case.asked}", f"expected {self.expected}, got {self.actual}")
        return "\n".join([*lines, *self.why.splitlines()])


def run_case(case: Case, snapshot: Snapshot, witness: CasbinOracle | None) -> Iterator[Failure]:
    """The failures of a case, by the engine or by Casbin, whose answers must agree; none if the case holds."""
    match case:
        case AccessCase():
            yield from _run_access(case, snapshot, witness)
        case ReachCase():
            yield from _run_reach(case, snapshot, witness)
        case DedicatedCase():
            yield from _run_dedicated(case, snapshot)
        case VisibleCase():
            yield from _run_visible(case, snapshot, witness)
        case GatewayCase():
            yield from _run_gateway(case, snapshot, witness)


def always_failures(
    snapshot: Snapshot, cases: Iterable[Case], principals: Collection[Principal] | None = None
) -> tuple[Failure, ...]:
    """The failures of the cases marked `always`; only of those about `principals`, if they are given."""
    return tuple(
        failure
        for case in cases
        if case.always and (principals is None or case.about in principals)
        for failure in run_case(case, snapshot, None)
    )


def _run_access(case: AccessCase, snapshot: Snapshot, witness: CasbinOracle | None) -> Iterator[Failure]:
    question = case.question
    decision = snapshot.decide(question)
    if not case.expects(decision):
        why = summary(explain(snapshot, question))
        yield Failure(case, _answer_text(case.expect, case.reason), _answer_text(decision.effect, decision.reason), why)
    if witness is not None and decision.reason in BY_ROWS and witness.allows(question) != decision.allowed:
        yield _disagreement(case, decision)


def _run_gateway(case: GatewayCase, snapshot: Snapshot, witness: CasbinOracle | None) -> Iterator[Failure]:
    if case.decision is not None:
        for failure in _run_access(case.decision, snapshot, witness):
            yield replace(failure, case=case)
    elif case.question is not None:
        expected = _answer_text(case.expect, case.reason)
        _, action, kind, namespace = case.question
        asked = f"{action} {kind}{f' in {namespace}' if namespace else ''}"
        yield Failure(case, expected, f"a route that asks for {asked}", "A route matches the request.")


def _run_reach(case: ReachCase, snapshot: Snapshot, witness: CasbinOracle | None) -> Iterator[Failure]:
    question = case.question
    decision = snapshot.reach.decide(question)
    if not case.expects(decision):
        why = f"{decision.rule.place}: `{decision.rule.text}`" if decision.rule else decision.reason.meaning
        yield Failure(case, _answer_text(case.expect, case.reason), _answer_text(decision.effect, decision.reason), why)
    if witness is not None and decision.reason in BY_ROWS and witness.reaches(question) != decision.allowed:
        yield _disagreement(case, decision)


def _run_dedicated(case: DedicatedCase, snapshot: Snapshot) -> Iterator[Failure]:
    answer = dedicated_to(snapshot.policy, case.namespace, case.resource, case.service or ANY_SERVICE)
    found = answer.resolution
    level = "none" if found is None else found.level or "tenant"
    pairs = [(f"from {case.level}", f"from {level}")]
    if case.name is not None:
        pairs.append((f"`{case.name}`", f"`{found.resource.name}`" if found else "nothing"))
    if case.read_only is not None:
        pairs.append((_written(case.read_only), _written(found is not None and found.resource.read_only)))
    if case.service is not None:
        pairs.append((f"{case.expect} to {case.service}", f"{answer.service or 'nothing'} to {case.service}"))
    for expected, actual in pairs:
        if expected != actual:
            why = f"`{found.resource.name}` serves it" if found else "no level names one"
            yield Failure(case, expected, actual, why)


def _written(read_only: bool) -> str:
    return "read only" if read_only else "written to"


def _run_visible(case: VisibleCase, snapshot: Snapshot, witness: CasbinOracle | None) -> Iterator[Failure]:
    graph = case.graph
    seen = VisibleTo(case.principal, case.action, graph, stubs=None).answer(snapshot).graph
    visible = {node.uid for node in seen.nodes}
    wrong = next((node for node in graph.nodes if (node.uid in visible) != (node.uid in case.expect)), None)
    if wrong is not None:
        question = Question(case.principal, case.action, wrong.kind, wrong.namespace)
        shown = ("visible", "hidden") if wrong.uid in case.expect else ("hidden", "visible")
        why = summary(explain(snapshot, question))
        yield Failure(case, f"`{wrong.uid}` to be {shown[0]}", shown[1], why)
    if witness is None:
        return
    for each in case.decisions:
        decision = snapshot.decide(each.question)
        if decision.reason in BY_ROWS and witness.allows(each.question) != decision.allowed:
            yield _disagreement(case, decision)


def _answer_text(effect: Effect, reason: Reason | None) -> str:
    return f"{effect} {reason}" if reason else str(effect)


def _disagreement(case: Case, decision: Decision) -> Failure:
    other = Effect.DENY if decision.allowed else Effect.ALLOW
    why = "remit and Casbin disagree over the same rows: a defect in remit, please report it with these files"
    return Failure(case, f"Casbin's {other} and remit's answer to agree", str(decision.effect), why)
