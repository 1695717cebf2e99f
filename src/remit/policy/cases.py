"""The tests of a tenant: what a file of `tests/*.yaml` says must stay true, and whether it does."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from remit.core.decision import Decision, Reason
from remit.core.dependencies import DependencyGraph, Edge, parse_graph
from remit.core.diagnostics import Diagnostic
from remit.core.errors import MalformedQuestionError
from remit.core.names import (
    Namespace,
    Principal,
    Word,
    parse_action,
    parse_kind,
    parse_namespace,
    parse_principal,
    parse_relation,
    parse_resource,
    quote,
)
from remit.core.policy import ResourceType
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect
from remit.core.vocabulary import Vocabulary
from remit.engine.dedicated import ANY_SERVICE, dedicated_to
from remit.engine.explain import explain, summary
from remit.engine.snapshot import Snapshot
from remit.engine.verify import BY_ROWS
from remit.engine.visibility import VisibleTo
from remit.engine.witness import Witness
from remit.policy.manifests import declared_service
from remit.policy.report import did_you_mean
from remit.policy.schema import Schema
from remit.policy.yaml import Node, Sequence

ACCESS_REASONS: Final = frozenset(Reason) - {
    Reason.UNKNOWN_RELATION,
    Reason.SAME_NAMESPACE,
    Reason.INHERITED,
    Reason.NO_MATCHING_RULE,
    Reason.UNKNOWN_TENANT,
}
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
_EDGE: Final = "an edge as [SOURCE, TARGET, RELATION, EFFECT], without EFFECT where an end lives in no namespace"


@dataclass(frozen=True, slots=True)
class Case(ABC):
    """One expectation and where it stands."""

    test: str
    """The `name` of its file."""
    file: str
    line: int
    column: int

    @property
    @abstractmethod
    def asked(self) -> str:
        """What it asks, in a few words."""

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
    def asked(self) -> str:
        principal, action, kind, namespace = self.question
        return f"{principal} {action} {kind}{f' in {namespace}' if namespace else ''}"


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
    """Whether the service may touch it."""

    @property
    def asked(self) -> str:
        return f"{self.resource} of {self.namespace}"


@dataclass(frozen=True, slots=True)
class VisibleCase(Case):
    """Which nodes of a graph a principal sees. What reach says of its edges are cases of their own."""

    principal: Principal
    action: Word
    graph: DependencyGraph
    expect: frozenset[str]
    """Uids."""

    @property
    def asked(self) -> str:
        return f"what {self.principal} may {self.action} of this graph"

    @property
    def decisions(self) -> Iterator[AccessCase]:
        """What it expects of Check, for each kind and namespace of the graph."""
        for node in {(node.kind, node.namespace): node for node in self.graph.nodes}.values():
            question = Question(self.principal, self.action, node.kind, node.namespace)
            expect = Effect.ALLOW if node.uid in self.expect else Effect.DENY
            yield AccessCase(self.test, self.file, self.line, self.column, question, expect)


def decisions_of(cases: Iterable[Case]) -> Iterator[DecisionCase]:
    """What the cases expect of single decisions."""
    for case in cases:
        if isinstance(case, DecisionCase):
            yield case
        elif isinstance(case, VisibleCase):
            yield from case.decisions


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that does not hold: what was expected, what is, and why."""

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
        """The failure as lines of plain text."""
        lines = (f"{self.case.test}: {self.case.asked}", f"expected {self.expected}, got {self.actual}")
        return "\n".join([*lines, *self.why.splitlines()])


class CaseReader:
    """Reads the cases of one test file; what is wrong goes to the schema's report."""

    def __init__(self, schema: Schema, vocabulary: Vocabulary) -> None:
        self._schema = schema
        self._vocabulary = vocabulary
        self._test = ""

    def read(self, document: Node) -> list[Case]:
        optional = ("access", "grids", "reach", "dedicated", "visible")
        fields = self._schema.fields(document, "a test file", required=("name",), optional=optional)
        self._test = (self._schema.text(fields["name"], "`name`") if "name" in fields else None) or ""
        cases: list[Case | None] = [
            *map(self._access, self._schema.items(fields.get("access"), "`access`")),
            *(case for grid in self._schema.items(fields.get("grids"), "`grids`") for case in self._grid(grid)),
            *map(self._reach, self._schema.items(fields.get("reach"), "`reach`")),
            *map(self._dedicated, self._schema.items(fields.get("dedicated"), "`dedicated`")),
            *(
                case
                for graph in self._schema.items(fields.get("visible"), "`visible`")
                for case in self._visible(graph)
            ),
        ]
        return [case for case in cases if case is not None]

    def _access(self, node: Node) -> AccessCase | None:
        required = ("principal", "action", "kind", "expect")
        fields = self._schema.fields(node, "an access case", required, optional=("namespace", "reason"))
        if any(key not in fields for key in required):
            return None
        reason = self._reason(fields.get("reason"), ACCESS_REASONS)
        expect = self._expect(fields["expect"], reason)
        question = self._question(fields["principal"], fields["action"], fields["kind"], fields.get("namespace"))
        if question is None or expect is None or not self._declared(fields, question, reason):
            return None
        return AccessCase(self._test, self._schema.file, node.line, node.column, question, expect, reason)

    def _grid(self, node: Node) -> Iterator[AccessCase]:
        required = ("kind", "actions", "expect")
        fields = self._schema.fields(node, "a grid", required, optional=("namespace",))
        if any(key not in fields for key in required):
            return
        actions = list(self._schema.items(fields["actions"], "`actions`"))
        for principal, row in self._schema.entries(fields["expect"], "`expect`"):
            cells = list(self._schema.items(row, f"the effects of `{quote(principal.text)}`"))
            if len(cells) != len(actions):
                self._schema.refuse(row, f"{len(cells)} effects for {len(actions)} actions: expected one each")
                continue
            for action, cell in zip(actions, cells, strict=True):
                expect = self._expect(cell, None)
                question = self._question(principal, action, fields["kind"], fields.get("namespace"))
                if question and expect and self._declared({**fields, "action": action}, question, None):
                    yield AccessCase(self._test, self._schema.file, cell.line, cell.column, question, expect)

    def _reach(self, node: Node) -> ReachCase | None:
        required = ("caller", "owner", "relation", "expect")
        fields = self._schema.fields(node, "a reach case", required, optional=("reason",))
        if any(key not in fields for key in required):
            return None
        reason = self._reason(fields.get("reason"), REACH_REASONS)
        expect = self._expect(fields["expect"], reason)
        caller = self._schema.name(fields["caller"], "`caller`", parse_namespace)
        owner = self._schema.name(fields["owner"], "`owner`", parse_namespace)
        relation = self._schema.name(fields["relation"], "`relation`", parse_relation)
        if caller is None or owner is None or relation is None or expect is None:
            return None
        known = self._vocabulary.relations
        if relation not in known and reason is not Reason.UNKNOWN_RELATION:
            self._unknown(fields["relation"], "relation", relation, known, Reason.UNKNOWN_RELATION)
            return None
        question = ReachQuestion(caller, owner, relation)
        return ReachCase(self._test, self._schema.file, node.line, node.column, question, expect, reason)

    def _dedicated(self, node: Node) -> DedicatedCase | None:
        required = ("namespace", "resource", "from")
        optional = ("name", "read_only", "service", "expect")
        fields = self._schema.fields(node, "a dedicated case", required, optional)
        if any(key not in fields for key in required):
            return None
        if ("service" in fields) != ("expect" in fields):
            self._schema.refuse(node, "`service` and `expect` belong together: may this service touch it?")
            return None
        namespace = self._schema.name(fields["namespace"], "`namespace`", parse_namespace)
        resource = self._schema.choice(fields["resource"], "a resource", ResourceType)
        level = self._schema.name(fields["from"], "`from`", parse_namespace)
        if namespace is None or resource is None or level is None:
            return None
        return DedicatedCase(
            self._test,
            self._schema.file,
            node.line,
            node.column,
            namespace,
            ResourceType(resource),
            level,
            name=self._schema.name(fields["name"], "`name`", parse_resource) if "name" in fields else None,
            read_only=self._schema.boolean(fields["read_only"], "`read_only`") if "read_only" in fields else None,
            service=declared_service(self._schema, fields["service"], self._vocabulary.services)
            if "service" in fields
            else None,
            expect=self._expect(fields["expect"], None) if "expect" in fields else None,
        )

    def _visible(self, node: Node) -> Iterator[VisibleCase | ReachCase]:
        required = ("nodes", "expect")
        fields = self._schema.fields(node, "a visible case", required, optional=("action", "edges"))
        if any(key not in fields for key in required):
            return
        action = self._schema.name(fields["action"], "`action`", parse_action) if "action" in fields else Word("VIEW")
        graph = self._graph(node, fields, action) if action is not None else None
        if action is None or graph is None:
            return
        for edge, texts in zip(graph.edges, self._schema.items(fields.get("edges"), "`edges`"), strict=True):
            yield from self._edge(texts, graph, edge)
        for principal, seen in self._schema.entries(fields["expect"], "`expect`"):
            who = self._schema.name(principal, "a principal", parse_principal)
            uids = [
                self._schema.choice(each, "a node of this graph", [each.uid for each in graph.nodes])
                for each in self._schema.items(seen, f"what `{quote(principal.text)}` sees")
            ]
            if who is not None and None not in uids:
                place = (self._test, self._schema.file, principal.line, principal.column)
                yield VisibleCase(*place, who, action, graph, frozenset(filter(None, uids)))

    def _graph(self, node: Node, fields: dict[str, Node], action: Word) -> DependencyGraph | None:
        drawn = list(self._schema.entries(fields["nodes"], "`nodes`"))
        nodes = [(uid.text, *pair, "") for uid, told in drawn if (pair := self._drawable(told, action)) is not None]
        lines = list(self._schema.items(fields.get("edges"), "`edges`"))
        edges = [texts for each in lines if (texts := self._texts(each, _EDGE, (3, 4))) is not None]
        if len(nodes) < len(drawn) or len(edges) < len(lines):
            return None
        try:
            return parse_graph(nodes, ((source, target, relation) for source, target, relation, *_ in edges))
        except MalformedQuestionError as error:
            self._schema.refuse(node, str(error))
            return None

    def _drawable(self, node: Node, action: Word) -> tuple[str, str] | None:
        """Kind and namespace of a node that can be asked about: a typo must not pass as hidden."""
        texts = self._texts(node, "a node as [KIND, NAMESPACE], or [KIND] where it lives in no namespace", (1, 2))
        if texts is None:
            return None
        name, namespace = texts[0], "".join(texts[1:])
        kinds = self._vocabulary.kinds
        kind = kinds.get(Word(name))
        if kind is None:
            self._schema.refuse(node, f"unknown kind `{quote(name)}`{did_you_mean(name, kinds)}")
        elif action not in kind.actions:
            self._schema.refuse(node, f"unknown action of `{name}` `{action}`{did_you_mean(action, kind.actions)}")
        elif kind.namespaced != bool(namespace):
            rule = "so name a namespace" if kind.namespaced else "so name no namespace"
            self._schema.refuse(node, f"kind `{name}` is of class `{kind.kind_class}`, {rule}")
        else:
            return name, namespace
        return None

    def _edge(self, node: Node, graph: DependencyGraph, edge: Edge) -> Iterator[ReachCase]:
        """What reach must say of an edge, whoever sees it."""
        start, end, relation = edge
        caller, owner = graph.nodes[start].namespace, graph.nodes[end].namespace
        effects = (self._texts(node, _EDGE, (3, 4)) or [])[3:]
        known = self._vocabulary.relations
        if relation not in known:
            self._schema.refuse(node, f"unknown relation `{relation}`{did_you_mean(relation, known)}")
        elif bool(effects) != bool(caller and owner):
            self._schema.refuse(node, f"expected {_EDGE}")
        elif effects and effects[0] not in list(Effect):
            self._schema.refuse(node, f"`{quote(effects[0])}` is not an effect: expected `allow` or `deny`")
        elif effects:
            question = ReachQuestion(caller, owner, relation)
            yield ReachCase(self._test, self._schema.file, node.line, node.column, question, Effect(effects[0]))

    def _texts(self, node: Node, what: str, counts: tuple[int, int]) -> list[str] | None:
        """The texts of a list that is one of `counts` long."""
        if not isinstance(node, Sequence) or len(node.items) not in counts:
            self._schema.refuse(node, f"expected {what}")
            return None
        texts = [self._schema.text(each, what) for each in node.items]
        return None if None in texts else [text for text in texts if text is not None]

    def _question(self, principal: Node, action: Node, kind: Node, namespace: Node | None) -> Question | None:
        parsed = (
            self._schema.name(principal, "`principal`", parse_principal),
            self._schema.name(action, "`action`", parse_action),
            self._schema.name(kind, "`kind`", parse_kind),
            self._schema.name(namespace, "`namespace`", parse_namespace) if namespace else Namespace(""),
        )
        who, what, which, where = parsed
        if who is None or what is None or which is None or where is None:
            return None
        return Question(who, what, which, where)

    def _expect(self, node: Node, reason: Reason | None) -> Effect | None:
        text = self._schema.choice(node, "an effect", list(Effect))
        allows = reason in {Reason.ALLOWED_BY_RULE, Reason.SAME_NAMESPACE, Reason.INHERITED}
        if text is not None and reason is not None and (text == Effect.ALLOW) != allows:
            self._schema.refuse(node, f"`{text}` never has the reason {reason}")
            return None
        return Effect(text) if text is not None else None

    def _reason(self, node: Node | None, reasons: Iterable[Reason]) -> Reason | None:
        text = self._schema.choice(node, "a reason", sorted(reasons)) if node else None
        return Reason(text) if text is not None else None

    def _declared(self, fields: dict[str, Node], question: Question, reason: Reason | None) -> bool:
        """A word outside the vocabulary is an error unless the case expects it, so that a typo cannot pass as a deny."""
        kinds = self._vocabulary.kinds
        kind = kinds.get(question.kind)
        if kind is None:
            if reason is not Reason.UNKNOWN_KIND:
                self._unknown(fields["kind"], "kind", question.kind, kinds, Reason.UNKNOWN_KIND)
            return reason is Reason.UNKNOWN_KIND
        if question.action not in kind.actions:
            if reason is not Reason.UNKNOWN_ACTION:
                self._unknown(
                    fields["action"], f"action of `{kind.name}`", question.action, kind.actions, Reason.UNKNOWN_ACTION
                )
            return reason is Reason.UNKNOWN_ACTION
        if kind.namespaced != bool(question.namespace):
            where = fields.get("namespace", fields["kind"])
            rule = "so name a namespace" if kind.namespaced else "so name no namespace"
            self._schema.refuse(where, f"kind `{kind.name}` is of class `{kind.kind_class}`, {rule}")
            return False
        return True

    def _unknown(self, node: Node, what: str, name: str, known: Iterable[str], reason: Reason) -> None:
        hint = did_you_mean(name, known)
        self._schema.refuse(
            node, f"unknown {what} `{quote(name)}`: if that is what is tested, say `reason: {reason}`{hint}"
        )


def run_case(case: Case, snapshot: Snapshot, witness: Witness | None) -> Iterator[Failure]:
    """What does not hold of a case, by the engine or by Casbin, whose answers must agree; nothing where all does."""
    match case:
        case AccessCase():
            yield from _run_access(case, snapshot, witness)
        case ReachCase():
            yield from _run_reach(case, snapshot, witness)
        case DedicatedCase():
            yield from _run_dedicated(case, snapshot)
        case VisibleCase():
            yield from _run_visible(case, snapshot, witness)


def _run_access(case: AccessCase, snapshot: Snapshot, witness: Witness | None) -> Iterator[Failure]:
    question = case.question
    decision = snapshot.decide(question)
    if not case.expects(decision):
        why = summary(explain(snapshot, question))
        yield Failure(case, _told(case.expect, case.reason), _told(decision.effect, decision.reason), why)
    if witness is not None and decision.reason in BY_ROWS and witness.allows(question) != decision.allowed:
        yield _disagreement(case, decision)


def _run_reach(case: ReachCase, snapshot: Snapshot, witness: Witness | None) -> Iterator[Failure]:
    question = case.question
    decision = snapshot.reach.decide(question)
    if not case.expects(decision):
        why = f"{decision.rule.place}: `{decision.rule.text}`" if decision.rule else decision.reason.meaning
        yield Failure(case, _told(case.expect, case.reason), _told(decision.effect, decision.reason), why)
    if witness is not None and decision.reason in BY_ROWS and witness.reaches(question) != decision.allowed:
        yield _disagreement(case, decision)


def _run_dedicated(case: DedicatedCase, snapshot: Snapshot) -> Iterator[Failure]:
    answer = dedicated_to(snapshot.policy, case.namespace, case.resource, case.service or ANY_SERVICE)
    found = answer.resolution
    level = "none" if found is None else found.level or "tenant"
    told = [(f"from {case.level}", f"from {level}")]
    if case.name is not None:
        told.append((f"`{case.name}`", f"`{found.resource.name}`" if found else "nothing"))
    if case.read_only is not None:
        told.append((_written(case.read_only), _written(found is not None and found.resource.read_only)))
    if case.service is not None:
        told.append((f"{case.expect} to {case.service}", f"{answer.service or 'nothing'} to {case.service}"))
    for expected, actual in told:
        if expected != actual:
            why = f"`{found.resource.name}` serves it" if found else "no level names one"
            yield Failure(case, expected, actual, why)


def _written(read_only: bool) -> str:
    return "read only" if read_only else "written to"


def _run_visible(case: VisibleCase, snapshot: Snapshot, witness: Witness | None) -> Iterator[Failure]:
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


def _told(effect: Effect, reason: Reason | None) -> str:
    return f"{effect} {reason}" if reason else str(effect)


def _disagreement(case: Case, decision: Decision) -> Failure:
    other = Effect.DENY if decision.allowed else Effect.ALLOW
    why = "remit and Casbin disagree over the same rows: a defect in remit, please report it with these files"
    return Failure(case, f"Casbin's {other} and remit's answer to agree", str(decision.effect), why)
