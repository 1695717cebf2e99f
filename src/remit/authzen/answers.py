"""Bodies of the answers of the AuthZEN API. Nothing in a body varies between two answers to the same request."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from remit.audit.ids import format_id
from remit.authzen.questions import FoundPage
from remit.core.errors import MalformedQuestionError
from remit.service.decision_point import Decided

_MOST_IDS: Final = 100
"""Decision ids that fit in a header."""
_NO_RECORD: Final = "-"


class AuthzenAnswer(NamedTuple):
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Problem(msgspec.Struct):
    """Why there is no answer. It is never a deny."""

    status: int
    message: str


class AnswerContext(msgspec.Struct, omit_defaults=True):
    reason: str | msgspec.UnsetType = msgspec.UNSET
    """The reason of the decision."""
    error: Problem | msgspec.UnsetType = msgspec.UNSET
    """Why an item has no decision."""


class AuthzenDecision(msgspec.Struct):
    decision: bool
    context: AnswerContext


class EvaluationsAnswer(msgspec.Struct):
    evaluations: list[AuthzenDecision]


class AnswerPage(msgspec.Struct, omit_defaults=True):
    next_token: str
    count: int
    total: int | msgspec.UnsetType = msgspec.UNSET


class FoundEntity(msgspec.Struct):
    type: str
    id: str


class FoundAction(msgspec.Struct):
    name: str


class SubjectOrResourceSearchAnswer(msgspec.Struct, omit_defaults=True):
    results: list[FoundEntity]
    page: AnswerPage | msgspec.UnsetType = msgspec.UNSET


class ActionSearchAnswer(msgspec.Struct, omit_defaults=True):
    results: list[FoundAction]
    page: AnswerPage | msgspec.UnsetType = msgspec.UNSET


_encode: Final = msgspec.json.encode


@cache
def decision_body(effect: str, reason: str) -> bytes:
    """The body of one decision: there are as many as there are reasons."""
    return _encode(AuthzenDecision(effect == "allow", AnswerContext(reason=reason)))


def evaluations_body(results: Iterable[Decided | MalformedQuestionError]) -> bytes:
    items = []
    for result in results:
        if isinstance(result, MalformedQuestionError):
            problem = Problem(400, str(result))
            items.append(_encode(AuthzenDecision(decision=False, context=AnswerContext(error=problem))))
        else:
            effect, reason, _ = result[0].recorded
            items.append(decision_body(effect, reason))
    return b'{"evaluations":[' + b",".join(items) + b"]}"


def search_body(found: FoundPage, result_of: Callable[[str], Any], next_token: str | None) -> bytes:
    """`next_token` is None for an answer without a page."""
    results = _encode([result_of(key) for key in found.keys])
    if next_token is None:
        return b'{"results":' + results + b"}"
    total = msgspec.UNSET if found.total is None else found.total
    # The page stands first, as the specification recommends.
    page = _encode(AnswerPage(next_token, len(found.keys), total))
    return b'{"page":' + page + b',"results":' + results + b"}"


def headers_of(revision: str, position: str, decision_ids: Sequence[bytes | None]) -> list[tuple[bytes, bytes]]:
    """The headers of what varies: revision and position, if there are any, and the ids of the records; none for more
    than fit.

    An id is None for an item that was malformed, and is not recorded.
    """
    headers = [(b"remit-revision", revision.encode())] if revision else []
    if position:
        headers.append((b"remit-position", position.encode()))
    if len(decision_ids) <= _MOST_IDS:
        shown = (_NO_RECORD if each is None else format_id(each) for each in decision_ids)
        headers.append((b"remit-decision-id", ", ".join(shown).encode()))
    return headers
