"""Decodes the API's responses. Raises DecisionUnavailable if a response cannot be read completely."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from remit import wire
from remit.client.answers import Answer, OperationAnswer, Part, Plan, ReachAllAnswer, RefusedOwner
from remit.client.errors import AccessDenied, DecisionUnavailable, MalformedQuestion
from remit.core.decision import Reason
from remit.core.errors import FieldViolation, InvalidNameError
from remit.core.position import parse_position
from remit.core.rows import Effect
from remit.v1 import decision_pb2
from remit.v1.access_service_pb2 import BatchCheckResponse, CheckOperationResponse, CheckResponse
from remit.v1.reach_service_pb2 import BatchCheckReachResponse, CheckReachAllResponse, CheckReachResponse
from remit.v1.search_service_pb2 import PlanFilterResponse

_Response = TypeVar("_Response", bound=Message)
_Answered = TypeVar("_Answered", bound=Answer)

_OURS: Final = decision_pb2.DESCRIPTOR.package


def allowed(answer: _Answered) -> _Answered:
    """The answer, if it is an allow. Raises AccessDenied if it is a deny."""
    if not answer.allowed:
        raise AccessDenied(answer)
    return answer


def answer_of(response: CheckResponse | CheckReachResponse | CheckReachAllResponse) -> Answer:
    return _answer(response.decision, response.revision, response.position)


def operation_answer_of(response: CheckOperationResponse) -> OperationAnswer:
    effect = wire.EFFECT_OF.get(response.effect)
    if effect is None:
        raise newer()
    parts = tuple(
        Part(each.kind, each.action, each.namespace, _answer(each.decision, response.revision, response.position))
        for each in response.parts
    )
    refused = [each for each in parts if not each.answer.allowed]
    if not parts or (effect is Effect.ALLOW) == bool(refused):
        raise DecisionUnavailable("INTERNAL", "the server's answer and its parts contradict one another")
    first = (refused or parts)[0].answer
    return OperationAnswer(
        effect, first.reason, first.decision_id, response.revision, parts, position=response.position
    )


def reach_all_answer_of(response: CheckReachAllResponse) -> ReachAllAnswer:
    answer = answer_of(response)
    refused = tuple(RefusedOwner(each.owner, _reason(each.reason)) for each in response.refused)
    if answer.allowed and refused:
        raise DecisionUnavailable("INTERNAL", "the server's answer and the owners that refuse contradict one another")
    return ReachAllAnswer(
        answer.effect, answer.reason, answer.decision_id, answer.revision, refused, position=answer.position
    )


def plan_of(response: PlanFilterResponse) -> Plan:
    receipt = recorded(response).receipt
    try:
        namespaces = wire.set_from(response.namespaces)
    except InvalidNameError as error:
        raise DecisionUnavailable("INTERNAL", str(error)) from error
    reason = _reason(receipt.reason) if receipt.reason else None
    return Plan(namespaces, receipt.decision_id, receipt.revision, reason, position=receipt.position)


def _answer(decision: decision_pb2.Decision, revision: str, position: str) -> Answer:
    effect = wire.EFFECT_OF.get(decision.effect)
    reason = wire.REASON_OF.get(decision.reason)
    if effect is None or reason is None:
        raise newer()
    return Answer(effect, reason, decision.decision_id, revision, position=position)


def _reason(number: decision_pb2.Reason.ValueType) -> Reason:
    reason = wire.REASON_OF.get(number)
    if reason is None:
        raise newer()
    return reason


def results_of(
    response: BatchCheckResponse | BatchCheckReachResponse, asked: int
) -> list[Answer | DecisionUnavailable]:
    """One result for each question."""
    found = [_result_of(each, response.revision, response.position) for each in response.results]
    if len(found) != asked:
        raise DecisionUnavailable("INTERNAL", f"{len(found)} results for {asked} questions")
    return found


def as_is(response: _Response) -> _Response:
    """The response, not decoded."""
    return response


def recorded(response: _Response) -> _Response:
    """The response, if it names its audit record and holds only enum values that this client knows."""
    record = getattr(response, "receipt" if "receipt" in response.DESCRIPTOR.fields_by_name else "decision")
    if not record.decision_id:
        raise DecisionUnavailable("INTERNAL", "the server's answer names no record")
    return known(response)


def known(response: _Response) -> _Response:
    """The response, if it holds only enum values that this client knows."""
    if not _known(response):
        raise newer()
    return response


def reaches(position: str, at_least: str) -> bool:
    """True if an answer at this position is one that `at_least` asks for."""
    try:
        answered, wanted = parse_position(position), parse_position(at_least)
    except InvalidNameError:
        return False
    return answered == wanted or (answered.tenant == wanted.tenant and answered.seq > wanted.seq)


def at_least_as_asked(request: Message, response: Any) -> None:
    """Raises DecisionUnavailable if the answer is of an older position than required: a server of an older version than
    this client reads no `at_least`."""
    wanted = getattr(request, "at_least", "")
    if not wanted:
        return
    receipt = response.receipt if "receipt" in response.DESCRIPTOR.fields_by_name else response
    if not reaches(receipt.position, wanted):
        found = f"position `{receipt.position}`" if receipt.position else "no position"
        raise DecisionUnavailable("FAILED_PRECONDITION", f"the answer has {found}, and not `{wanted}` or a later one")


def newer() -> DecisionUnavailable:
    return DecisionUnavailable("INTERNAL", "the server's answer is of a newer API than this client")


def _result_of(result: decision_pb2.BatchResult, revision: str, position: str) -> Answer | DecisionUnavailable:
    if result.WhichOneof("result") == "decision":
        return _answer(result.decision, revision, position)
    violations = [FieldViolation(each.field, each.description) for each in result.error.field_violations]
    message = "; ".join(f"{each.field}: {each.description}" for each in violations)
    return MalformedQuestion(message, violations)


def _known(message: Message) -> bool:
    """True if this client knows every enum value, at any depth."""
    words, below = _enumerated(message.DESCRIPTOR)
    return all(number in numbers for name, numbers in words for number in _values(message, name)) and all(
        _known(each) for name in below for each in _values(message, name)
    )


def _values(message: Message, name: str) -> Iterable[Any]:
    value = getattr(message, name)
    return (value,) if isinstance(value, (int, Message)) else value


@lru_cache
def _enumerated(descriptor: Descriptor) -> tuple[tuple[tuple[str, frozenset[int]], ...], tuple[str, ...]]:
    """The enum fields with their known numbers, and the message fields that contain such fields."""
    fields = descriptor.fields
    words = tuple((each.name, frozenset(each.enum_type.values_by_number)) for each in fields if each.enum_type)
    below = tuple(each.name for each in fields if _is_ours(each) and any(_enumerated(each.message_type)))
    return words, below


def _is_ours(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.file.package == _OURS
