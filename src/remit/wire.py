"""protobuf <-> core, total both ways. Imported by faces/rpc and the client only."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from remit.core.decision import Decision, Reason
from remit.core.errors import FieldViolation, MalformedQuestionError
from remit.core.explanation import Clause, Explanation, NearMiss
from remit.core.question import Question, parse_question
from remit.core.rows import Effect, Link, ReachRule, Rule
from remit.v1 import access_service_pb2 as access
from remit.v1 import decision_pb2

EFFECTS: Final = {each.value: decision_pb2.Effect.Value(f"EFFECT_{each.name}") for each in Effect}
REASONS: Final = {
    each.value: decision_pb2.Reason.Value(f"REASON_{each.name}")
    for each in Reason
    if f"REASON_{each.name}" in decision_pb2.Reason.keys()  # noqa: SIM118 (an enum wrapper is no dict)
}
CLAUSES: Final = {each: access.Clause.Value(f"CLAUSE_{each.name}") for each in Clause}

EFFECT_OF: Final = {number: Effect(text) for text, number in EFFECTS.items()}
REASON_OF: Final = {number: Reason(text) for text, number in REASONS.items()}

RESOURCE_ID_LIMIT: Final = 512

# The same names come again and again. Parsed questions are kept, never answers; long texts, which are none, are not.
_REMEMBERED_LENGTH: Final = 512
_remembered = lru_cache(32_768)(parse_question)


def question_from(message: access.Question, principal: str = "") -> tuple[Question, str]:
    """The question and the resource's id. `principal` stands in where the message names none.

    Raises MalformedQuestionError that names every field that is off.
    """
    names = (message.principal or principal, message.action, message.kind, message.namespace)
    question = _remembered(*names) if sum(map(len, names)) <= _REMEMBERED_LENGTH else parse_question(*names)
    resource_id = message.resource_id
    if resource_id and (len(resource_id) > RESOURCE_ID_LIMIT or not resource_id.isprintable()):
        expected = f"expected at most {RESOURCE_ID_LIMIT} printable characters"
        raise MalformedQuestionError(FieldViolation("resource_id", expected))
    return question, resource_id


def fill_decision(message: access.Decision, decision: Decision, decision_id: str) -> None:
    """Writes into a message that its parent has made: half the cost of making one to be copied in."""
    effect, reason, _ = decision.recorded
    message.effect = EFFECTS[effect]
    message.reason = REASONS[reason]
    message.decision_id = decision_id


def explanation_to(explanation: Explanation, decision_id: str, revision: str, summary: str) -> access.ExplainResponse:
    rule = explanation.decision.rule
    remedy = explanation.remedy
    response = access.ExplainResponse(
        revision=revision,
        rule=access.Rule(row=_row_to(rule), effect=EFFECTS[rule.effect.value]) if rule is not None else None,
        chain=map(_row_to, explanation.chain),
        near_misses=map(_near_miss_to, explanation.near_misses),
        remedy=access.Remedy(rule=remedy.rule, binding=remedy.binding, instead=remedy.instead) if remedy else None,
        summary=summary,
    )
    fill_decision(response.decision, explanation.decision, decision_id)
    return response


def violations_to(violations: Iterable[FieldViolation]) -> list[access.FieldViolation]:
    return [access.FieldViolation(field=each.field, description=each.description) for each in violations]


def _near_miss_to(miss: NearMiss) -> access.NearMiss:
    return access.NearMiss(
        rule=_row_to(miss.rule), chain=map(_row_to, miss.chain), failed=CLAUSES[miss.failed], detail=miss.detail
    )


def _row_to(row: Rule | Link | ReachRule) -> access.PolicyRow:
    return access.PolicyRow(file=row.file, line=row.line, text=row.text)
