from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from remit.core.authzen import Entities, UnknownResourceError, question_of
from remit.core.decision import Reason
from remit.core.dependency_graph import DependencyGraph, Edge, parse_graph
from remit.core.errors import InvalidNameError, MalformedQuestionError
from remit.core.gateway import HttpRequest, RefusedPathError, RouteTable, is_method, route_of
from remit.core.names import (
    Namespace,
    Word,
    parse_action,
    parse_kind,
    parse_namespace,
    parse_principal,
    parse_relation,
    parse_resource,
    quote,
)
from remit.core.policy import Policy, ResourceType
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect
from remit.policy.read.manifests import declared_service
from remit.policy.read.report import did_you_mean
from remit.policy.read.schema import Schema
from remit.policy.read.yaml import Node, Sequence, plain
from remit.policy.testing.cases import (
    ACCESS_REASONS,
    GATEWAY_REASONS,
    REACH_REASONS,
    AccessCase,
    AuthzenCase,
    Case,
    DedicatedCase,
    GatewayCase,
    ReachCase,
    VisibleCase,
)

_EDGE: Final = "an edge as [SOURCE, TARGET, RELATION, EFFECT], without EFFECT where an end lives in no namespace"


class CaseReader:
    """Reads the cases of one test file. Errors go to the schema's report."""

    def __init__(self, schema: Schema, policy: Policy, routes: RouteTable | None) -> None:
        """`routes` are None if their file is wrong: cases about them are not read then."""
        self._schema = schema
        self._vocabulary = policy.vocabulary
        self._mapping = policy.authzen
        self._routes = routes
        self._test = ""

    def read(self, document: Node) -> list[Case]:
        optional = ("access", "grids", "reach", "dedicated", "visible", "authzen", "gateway")
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
            *map(self._authzen, self._schema.items(fields.get("authzen"), "`authzen`")),
            *map(self._gateway, self._schema.items(fields.get("gateway"), "`gateway`")),
        ]
        return [case for case in cases if case is not None]

    def _access(self, node: Node) -> AccessCase | None:
        required = ("principal", "action", "kind", "expect")
        fields = self._schema.fields(node, "an access case", required, optional=("namespace", "reason", "always"))
        if any(key not in fields for key in required):
            return None
        reason = self._reason(fields.get("reason"), ACCESS_REASONS)
        expect = self._expect(fields["expect"], reason)
        question = self._question(fields["principal"], fields["action"], fields["kind"], fields.get("namespace"))
        if question is None or expect is None or not self._declared(fields, question, reason):
            return None
        place = (self._test, self._schema.file, node.line, node.column)
        return AccessCase(*place, question, expect, reason, always=self._always(fields))

    def _grid(self, node: Node) -> Iterator[AccessCase]:
        required = ("kind", "actions", "expect")
        fields = self._schema.fields(node, "a grid", required, optional=("namespace", "always"))
        if any(key not in fields for key in required):
            return
        always = self._always(fields)
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
                    place = (self._test, self._schema.file, cell.line, cell.column)
                    yield AccessCase(*place, question, expect, always=always)

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
        fields = self._schema.fields(node, "a visible case", required, optional=("action", "edges", "always"))
        if any(key not in fields for key in required):
            return
        action = self._schema.name(fields["action"], "`action`", parse_action) if "action" in fields else Word("VIEW")
        graph = self._graph(node, fields, action) if action is not None else None
        always = self._always(fields)
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
                yield VisibleCase(*place, who, action, graph, frozenset(filter(None, uids)), always=always)

    def _authzen(self, node: Node) -> AuthzenCase | None:
        required = ("subject", "action", "resource", "expect")
        fields = self._schema.fields(node, "an AuthZEN case", required, optional=("context", "reason", "always"))
        if any(key not in fields for key in required):
            return None
        reason = self._reason(fields.get("reason"), ACCESS_REASONS)
        expect = self._expect(fields["expect"], reason)
        subject = self._entity(fields["subject"], "subject", "type", "id")
        action = self._entity(fields["action"], "action", "name")
        resource = self._entity(fields["resource"], "resource", "type", "id")
        if subject is None or action is None or resource is None or expect is None:
            return None
        (subject_type, subject_id), _ = subject
        (name,), action_properties = action
        (resource_type, resource_id), properties = resource
        entities = Entities(subject_type, subject_id, name, action_properties, resource_type, resource_id, properties)
        try:
            question = question_of(entities, self._mapping, self._vocabulary)
        except (MalformedQuestionError, UnknownResourceError) as error:
            self._schema.refuse(node, f"the request is malformed, and nothing is decided: {error}")
            return None
        named = {"kind": fields["resource"], "action": fields["action"]}
        if not self._declared(named, question, reason):
            return None
        place = (self._test, self._schema.file, node.line, node.column)
        shown = f"{subject_type} {subject_id} {name} {resource_type} {resource_id}"
        return AuthzenCase(*place, question, expect, reason, shown, always=self._always(fields))

    def _entity(self, node: Node, what: str, *members: str) -> tuple[list[str], Mapping[str, object]] | None:
        """The texts of an entity's members, and its properties."""
        fields = self._schema.fields(node, f"`{what}`", members, optional=("properties",))
        texts = [self._schema.text(fields[each], f"`{each}`") for each in members if each in fields]
        given = [each for each in texts if each is not None]
        if len(given) < len(members):
            return None
        entries = self._schema.entries(fields.get("properties"), "`properties`")
        return given, {key.text: plain(value) for key, value in entries}

    def _gateway(self, node: Node) -> GatewayCase | None:
        required = ("request", "principal", "expect")
        fields = self._schema.fields(node, "a gateway case", required, optional=("reason", "always"))
        if self._routes is None or any(key not in fields for key in required):
            return None
        reason = self._reason(fields.get("reason"), GATEWAY_REASONS)
        expect = self._expect(fields["expect"], reason)
        request = self._schema.name(fields["request"], "`request`", _request)
        principal = self._schema.name(fields["principal"], "`principal`", parse_principal)
        if request is None or principal is None or expect is None:
            return None
        try:
            route, segments = route_of(self._routes, request)
            question = route.question(principal, segments)[0] if route is not None else None
        except (RefusedPathError, MalformedQuestionError) as error:
            self._schema.refuse(fields["request"], f"the gateway refuses the request, and decides nothing: {error}")
            return None
        text = f"{request.method} {request.path.decode()}"
        if question is None and reason is not Reason.NO_ROUTE:
            said = f"if that is what is tested, say `reason: {Reason.NO_ROUTE}`"
            self._schema.refuse(fields["request"], f"no route matches `{quote(text)}`: {said}")
            return None
        place = (self._test, self._schema.file, node.line, node.column)
        return GatewayCase(*place, text, principal, question, expect, reason, always=self._always(fields))

    def _graph(self, node: Node, fields: dict[str, Node], action: Word) -> DependencyGraph | None:
        drawn = list(self._schema.entries(fields["nodes"], "`nodes`"))
        nodes = [(uid.text, *pair, "") for uid, node in drawn if (pair := self._drawable(node, action)) is not None]
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
        """Kind and namespace of a node that Check can decide: a typo must not pass as hidden."""
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
        """The effect that reach must give for an edge, for every principal."""
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
        """The texts of a list whose length is one of `counts`."""
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

    def _always(self, fields: dict[str, Node]) -> bool:
        return self._schema.boolean(fields.get("always"), "`always`")

    def _reason(self, node: Node | None, reasons: Iterable[Reason]) -> Reason | None:
        text = self._schema.choice(node, "a reason", sorted(reasons)) if node else None
        return Reason(text) if text is not None else None

    def _declared(self, fields: dict[str, Node], question: Question, reason: Reason | None) -> bool:
        """False, with a diagnostic, for an unknown word, unless the case expects it: a typo cannot pass as a deny."""
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


def _request(text: str) -> HttpRequest:
    """A request, as `GET /api/flows/acme.data/load`. Raises InvalidNameError."""
    method, _, path = text.partition(" ")
    if not is_method(method) or not path.startswith("/") or not path.isascii():
        raise InvalidNameError(f"`{quote(text)}` is no request: expected a method and a path, as `GET /api/flows`")
    return HttpRequest(method, path.encode())
