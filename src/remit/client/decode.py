"""Decodes the API's responses. Raises DecisionUnavailable if a response cannot be read completely."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from remit import wire
from remit.client.answers import Answer
from remit.client.errors import DecisionUnavailable, MalformedQuestion
from remit.core.decision import Reason
from remit.core.errors import FieldViolation
from remit.v1 import decision_pb2

_Response = TypeVar("_Response", bound=Message)

_OURS: Final = decision_pb2.DESCRIPTOR.package


def answer_of(decision: decision_pb2.Decision, revision: str) -> Answer:
    effect = wire.EFFECT_OF.get(decision.effect)
    reason = wire.REASON_OF.get(decision.reason)
    if effect is None or reason is None:
        raise newer()
    return Answer(effect, reason, decision.decision_id, revision)


def reason_of(number: decision_pb2.Reason.ValueType) -> Reason:
    reason = wire.REASON_OF.get(number)
    if reason is None:
        raise newer()
    return reason


def results_of(
    results: Iterable[decision_pb2.BatchResult], revision: str, asked: int
) -> list[Answer | DecisionUnavailable]:
    """One result for each question."""
    found = [_result_of(each, revision) for each in results]
    if len(found) != asked:
        raise DecisionUnavailable("INTERNAL", f"{len(found)} results for {asked} questions")
    return found


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


def newer() -> DecisionUnavailable:
    return DecisionUnavailable("INTERNAL", "the server's answer is of a newer API than this client")


def _result_of(result: decision_pb2.BatchResult, revision: str) -> Answer | DecisionUnavailable:
    if result.WhichOneof("result") == "decision":
        return answer_of(result.decision, revision)
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
