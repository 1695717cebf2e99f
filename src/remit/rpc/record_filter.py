"""Decodes audit filters from messages."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from remit.audit.ids import parse_id
from remit.audit.query.filter import DecisionFilter
from remit.audit.query.recorded_names import parse_recorded_caller, parse_recorded_node, parse_recorded_principal
from remit.core.decision import Reason
from remit.core.errors import named, violation
from remit.core.names import is_revision, optional_namespace, quote
from remit.core.question import QuestionType
from remit.core.rows import Effect
from remit.v1 import audit_service_pb2 as messages

IDS: Final = 1_000
"""Ids in a filter."""
_is_prefix = re.compile(r"[0-9a-f]{8,64}").fullmatch
LAST_TIME_US: Final = 253_402_300_799_999_999
"""The end of the year 9999."""


def filter_from(message: messages.RecordFilter, tenant: str) -> DecisionFilter:
    """Raises MalformedQuestionError that names the wrong field. `tenant` is the tenant that the caller may read."""
    if len(message.ids) > IDS:
        raise violation("filter.ids", f"holds {len(message.ids)} ids: expected at most {IDS}")
    return DecisionFilter(
        ids=tuple(id_from(f"filter.ids[{number}]", each) for number, each in enumerate(message.ids)),
        tenant=tenant or None,
        namespace=named("filter.namespace", optional_namespace, message.namespace) or None,
        principal=name_from("filter.principal", parse_recorded_principal, message.principal),
        effect=_word("filter.effect", Effect, message.effect),
        reason=_word("filter.reason", Reason, message.reason),
        question=_word("filter.question", QuestionType, message.question),
        caller=name_from("filter.caller", parse_recorded_caller, message.caller),
        node=name_from("filter.node", parse_recorded_node, message.node),
        revision=revision_from("filter.revision", message.revision) or None,
        since_us=time_from("filter.since_us", message.since_us),
        until_us=time_from("filter.until_us", message.until_us),
    )


def id_from(field: str, text: str) -> bytes:
    try:
        return parse_id(text)
    except ValueError as error:
        raise violation(field, str(error)) from None


def time_from(field: str, time_us: int) -> int | None:
    """None if `time_us` is 0."""
    if not 0 <= time_us <= LAST_TIME_US:
        raise violation(field, f"is {time_us}: expected microseconds since the Unix epoch, up to the year 9999")
    return time_us or None


def revision_from(field: str, text: str) -> str:
    """The revision; empty if `text` is empty."""
    if text and not is_revision(text):
        raise violation(field, "expected 64 lower-case hexadecimal digits")
    return text


def require_digits(field: str, text: str) -> None:
    """Raises MalformedQuestionError for what begins no revision."""
    if not _is_prefix(text):
        raise violation(field, "expected 8 to 64 lower-case hexadecimal digits")


def name_from(field: str, parse: Callable[[str], str], text: str) -> str | None:
    """None if `text` is empty."""
    return named(field, parse, text) if text else None


def _word(field: str, words: Iterable[str], text: str) -> str | None:
    known = [str(each) for each in words]
    if text and text not in known:
        raise violation(field, f"is `{quote(text)}`: expected one of {', '.join(known)}")
    return text or None
