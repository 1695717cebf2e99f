"""Converts between protobuf and core values, in both directions, for the ways in and for clients."""

from collections.abc import Iterable
from typing import Final

from remit.core.decision import Decision, Reason
from remit.core.dependency_graph import DependencyGraph, VisibleGraph, parse_graph
from remit.core.errors import FieldViolation, named
from remit.core.explanation import Clause, Explanation, NearMiss, ReachExplanation
from remit.core.names import parse_resource_id
from remit.core.namespace_set import NamespaceSet
from remit.core.patterns import NamespacePattern
from remit.core.policy import ResourceType
from remit.core.question import Question, ReachQuestion, parse_question, parse_reach_question
from remit.core.rows import Effect, Link, ReachRule, Rule
from remit.v1 import access_service_pb2 as access
from remit.v1 import decision_pb2
from remit.v1 import reach_service_pb2 as reach
from remit.v1 import resource_service_pb2 as resources
from remit.v1 import visibility_service_pb2 as visibility

EFFECTS: Final = {each.value: decision_pb2.Effect.Value(f"EFFECT_{each.name}") for each in Effect}
REASONS: Final = {each.value: decision_pb2.Reason.Value(f"REASON_{each.name}") for each in Reason}
CLAUSES: Final = {each: access.Clause.Value(f"CLAUSE_{each.name}") for each in Clause}
RESOURCE_TYPES: Final = {each: resources.ResourceType.Value(f"RESOURCE_TYPE_{each.name}") for each in ResourceType}

EFFECT_OF: Final = {number: Effect(text) for text, number in EFFECTS.items()}
REASON_OF: Final = {number: Reason(text) for text, number in REASONS.items()}
RESOURCE_TYPE_OF: Final = {number: each for each, number in RESOURCE_TYPES.items()}

# Names repeat often, so cache parsed questions. Never cache answers, or long texts, which are not valid questions.
_REMEMBERED: Final = 32_768
_REMEMBERED_LENGTH: Final = 512
_remembered: dict[tuple[str, str, str, str], Question] = {}


def question_from(message: access.Question, principal: str = "") -> tuple[Question, str]:
    """The question and the resource's id. Uses `principal` if the message names none.

    Raises MalformedQuestionError with every field that is wrong.
    """
    names = (message.principal or principal, message.action, message.kind, message.namespace)
    return _remembered.get(names) or parsed(*names), resource_id_from(message.resource_id)


def parsed(principal: str, action: str, kind: str, namespace: str) -> Question:
    """The question of these names. Raises MalformedQuestionError as `question_from` does."""
    names = (principal, action, kind, namespace)
    remembered = _remembered.get(names)
    if remembered is not None:
        return remembered
    question = parse_question(*names)
    if sum(map(len, names)) <= _REMEMBERED_LENGTH:
        if len(_remembered) >= _REMEMBERED:
            _remembered.clear()
        _remembered[names] = question
    return question


def reach_question_from(message: reach.ReachQuestion, caller: str = "") -> tuple[ReachQuestion, str]:
    """Like `question_from`. Uses `caller` if the message names none."""
    question = parse_reach_question(message.caller or caller, message.owner, message.relation)
    return question, resource_id_from(message.resource_id)


def resource_id_from(text: str) -> str:
    """Raises MalformedQuestionError if the text is too long or not printable."""
    return named("resource_id", parse_resource_id, text) if text else text


def fill_decision(message: decision_pb2.Decision, decision: Decision, decision_id: str) -> None:
    """Fills a message inside its parent: half the cost of making one and copying it in."""
    effect, reason, _ = decision.recorded
    message.effect = EFFECTS[effect]
    message.reason = REASONS[reason]
    message.decision_id = decision_id


def explanation_to(
    explanation: Explanation, decision_id: str, revision: str, summary: str, position: str = ""
) -> access.ExplainResponse:
    remedy = explanation.remedy
    response = access.ExplainResponse(
        revision=revision,
        rule=rule_to(explanation.decision.rule),
        chain=map(row_to, explanation.chain),
        near_misses=map(_near_miss_to, explanation.near_misses),
        remedy=access.Remedy(rule=remedy.rule, binding=remedy.binding, instead=remedy.instead) if remedy else None,
        summary=summary,
        position=position,
    )
    fill_decision(response.decision, explanation.decision, decision_id)
    return response


def reach_explanation_to(
    explanation: ReachExplanation, decision_id: str, revision: str, summary: str, position: str = ""
) -> reach.ExplainReachResponse:
    remedy = explanation.remedy
    response = reach.ExplainReachResponse(
        revision=revision,
        rule=rule_to(explanation.decision.rule),
        too_late=[_rule_to(row) for row in explanation.too_late],
        near_misses=[
            reach.ReachNearMiss(rule=row_to(miss.rule), detail=miss.detail) for miss in explanation.near_misses
        ],
        remedy=reach.ReachRemedy(rule=remedy.rule, above=remedy.above, instead=remedy.instead) if remedy else None,
        summary=summary,
        position=position,
    )
    fill_decision(response.decision, explanation.decision, decision_id)
    return response


def operation_to(
    parts: Iterable[tuple[Question, Decision, str]], revision: str, position: str = ""
) -> access.CheckOperationResponse:
    """`parts` are questions, their decisions and the decisions' ids."""
    response = access.CheckOperationResponse(revision=revision, position=position)
    for (_, action, kind, namespace), decision, decision_id in parts:
        part = response.parts.add(kind=kind, action=action, namespace=namespace)
        fill_decision(part.decision, decision, decision_id)
    allow = EFFECTS[Effect.ALLOW.value]
    # An empty list is no proof that all parts allow.
    allowed = bool(response.parts) and all(part.decision.effect == allow for part in response.parts)
    response.effect = allow if allowed else EFFECTS[Effect.DENY.value]
    return response


def graph_from(message: visibility.VisibleGraphRequest) -> DependencyGraph:
    """Raises MalformedQuestionError that names the wrong field, as `nodes[3].uid`."""
    return parse_graph(
        ((each.uid, each.kind, each.namespace, each.id) for each in message.nodes),
        ((each.source, each.target, each.relation) for each in message.edges),
    )


def fill_graph(message: visibility.VisibleGraphResponse, graph: VisibleGraph) -> None:
    """Adds nodes and edges to an answer one by one: large graphs are not copied."""
    add = message.nodes.add
    for uid, kind, namespace, thing in graph.nodes:
        add(uid=uid, kind=kind, namespace=namespace, id=thing)
    add_edge = message.edges.add
    for source, target, relation, reach_decision in graph.edges:
        visible = add_edge()
        edge = visible.edge
        edge.source = source
        edge.target = target
        edge.relation = relation
        if reach_decision is not None:
            effect, reason, _ = reach_decision.recorded
            visible.reach = EFFECTS[effect]
            visible.reason = REASONS[reason]


def violations_to(violations: Iterable[FieldViolation]) -> list[decision_pb2.FieldViolation]:
    return [decision_pb2.FieldViolation(field=each.field, description=each.description) for each in violations]


def set_to(namespaces: NamespaceSet) -> decision_pb2.NamespaceSet:
    return decision_pb2.NamespaceSet(
        only=[each.text for each in namespaces.only], excluded=[each.text for each in namespaces.excluded]
    )


def set_from(message: decision_pb2.NamespaceSet) -> NamespaceSet:
    """Raises InvalidNameError if a text is not a pattern."""
    return NamespaceSet(
        tuple(map(NamespacePattern.parse, message.only)), tuple(map(NamespacePattern.parse, message.excluded))
    )


def rule_to(rule: Rule | ReachRule | None) -> decision_pb2.Rule | None:
    return None if rule is None else _rule_to(rule)


def row_to(row: Rule | Link | ReachRule) -> decision_pb2.PolicyRow:
    return decision_pb2.PolicyRow(file=row.file, line=row.line, text=row.text)


def _rule_to(rule: Rule | ReachRule) -> decision_pb2.Rule:
    return decision_pb2.Rule(row=row_to(rule), effect=EFFECTS[rule.effect.value])


def _near_miss_to(miss: NearMiss) -> access.NearMiss:
    return access.NearMiss(
        rule=row_to(miss.rule), chain=map(row_to, miss.chain), failed=CLAUSES[miss.failed], detail=miss.detail
    )
