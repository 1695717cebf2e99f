"""Requests of the AuthZEN API: from the bytes of a body to values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from remit.authzen.bodies import (
    Action,
    Evaluation,
    Evaluations,
    EvaluationsOptions,
    Page,
    Resource,
    ResourceSearch,
    SearchBody,
    Subject,
    SubjectSearch,
)
from remit.core.authzen import Entities
from remit.core.errors import MalformedQuestionError, named, violation
from remit.core.names import parse_principal
from remit.core.rows import Effect
from remit.rpc.errors import MalformedMessageError
from remit.strict_json import parse_object

MOST_LEVELS: Final = 32
PAGE_LIMIT: Final = 1_000
"""Results in a page; also of an answer to a request without a page."""

_Body = TypeVar("_Body", bound=msgspec.Struct)


class Semantic(StrEnum):
    EXECUTE_ALL = "execute_all"
    DENY_ON_FIRST_DENY = "deny_on_first_deny"
    PERMIT_ON_FIRST_PERMIT = "permit_on_first_permit"

    @property
    def stop_at(self) -> Effect | None:
        return _STOPS.get(self)


_STOPS: Final = {Semantic.DENY_ON_FIRST_DENY: Effect.DENY, Semantic.PERMIT_ON_FIRST_PERMIT: Effect.ALLOW}


class RequestOrigin(NamedTuple):
    """As the origin of a call over gRPC."""

    on_behalf_of: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request as it came, before the caller is known."""

    tenant: str
    body: bytes
    revision: str = ""
    at_least: str = ""
    trace_id: str = ""

    def __len__(self) -> int:
        return len(self.body)


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """What every parsed request has."""

    tenant: str
    revision: str
    at_least: str
    origin: RequestOrigin


@dataclass(frozen=True, slots=True)
class AskedEvaluation(AskedRequest):
    entities: Entities

    @property
    def questions(self) -> tuple[Entities]:
        """It counts as one."""
        return (self.entities,)


@dataclass(frozen=True, slots=True)
class AskedEvaluations(AskedRequest):
    questions: Sequence[Entities | MalformedQuestionError]
    semantic: Semantic


@dataclass(frozen=True, slots=True)
class PageRequest:
    asked: bool
    """The request has a page, so the answer has one too."""
    token: str
    limit: int | None
    """As sent; None if it was left out."""
    request: bytes
    """Hash of the request without its page: the same for all pages."""


@dataclass(frozen=True, slots=True)
class AskedSearch(AskedRequest, Generic[_Body]):
    entities: Entities
    page: PageRequest


def evaluation(sent: SentRequest) -> AskedEvaluation:
    """Raises MalformedMessageError, and MalformedQuestionError."""
    return _single(sent, _quickly(sent.body) or _typed(_object(sent), Evaluation))


def evaluations(batch_limit: int) -> Callable[[SentRequest], AskedEvaluation | AskedEvaluations]:
    """A function as `evaluation`. A request without items is a single evaluation."""

    def parse(sent: SentRequest) -> AskedEvaluation | AskedEvaluations:
        quick = _items_quickly(sent.body, batch_limit)
        if quick is not None:
            questions, semantic, context = quick
            return AskedEvaluations(
                sent.tenant, sent.revision, sent.at_least, _origin(sent, context), questions, semantic
            )
        members = _object(sent)
        body = _typed(members, Evaluations)
        semantic = _semantic(body.options)
        if not body.evaluations:
            return _single(sent, _typed(members, Evaluation))
        if len(body.evaluations) > batch_limit:
            count = len(body.evaluations)
            raise violation("evaluations", f"holds {count} items: expected at most {batch_limit}")
        defaults = {name: members.get(name) for name in ("subject", "action", "resource", "context")}
        context = defaults["context"]
        if context is not None and not isinstance(context, dict):
            raise MalformedMessageError("`context`: expected an object")
        items = _Items(defaults)
        questions = [items.entities(item) for item in body.evaluations]
        return AskedEvaluations(sent.tenant, sent.revision, sent.at_least, _origin(sent, context), questions, semantic)

    return parse


# The quick way. msgspec decodes into types in one step and refuses all that `parse_object` refuses, except members that
# occur twice, of which it keeps the last one. Without a backslash, two quotes are one text. A dropped member drops its
# name: then the request has more texts than its value, and the long way finds out why. What msgspec refuses, and what has
# unknown members, goes the long way too.

_IN_EVALUATION: Final = 3
"""The names of the entities of a request."""
_IN_ENTITY: Final = 4
"""The texts of a subject or a resource: two names and two values. An action has half as many."""


class _Item(msgspec.Struct):
    subject: Subject | None = None
    action: Action | None = None
    resource: Resource | None = None
    context: dict[str, Any] | None = None


class _QuickEvaluations(msgspec.Struct):
    evaluations: list[_Item]
    subject: Subject | None = None
    action: Action | None = None
    resource: Resource | None = None
    context: dict[str, Any] | None = None
    options: dict[str, Any] | None = None


_decode_evaluation: Final = msgspec.json.Decoder(Evaluation).decode
_decode_evaluations: Final = msgspec.json.Decoder(_QuickEvaluations).decode


def _quickly(body: bytes) -> Evaluation | None:
    if b"\\" in body:
        return None
    try:
        typed = _decode_evaluation(body)
        texts = _IN_EVALUATION + _texts_in(typed)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return typed if texts * 2 == body.count(b'"') else None


def _items_quickly(
    body: bytes, batch_limit: int
) -> tuple[list[Entities | MalformedQuestionError], Semantic, Mapping[str, Any] | None] | None:
    if b"\\" in body:
        return None
    try:
        typed = _decode_evaluations(body)
        # The name `evaluations`, and what stands beside it.
        texts = 1 + _names(typed) + _texts_in(typed)
        if typed.options is not None:
            texts += 1 + _texts(typed.options, MOST_LEVELS - 2)
        questions: list[Entities | MalformedQuestionError] = []
        for item in typed.evaluations:
            texts += _names(item) + _texts_in(item)
            subject, action = item.subject or typed.subject, item.action or typed.action
            resource = item.resource or typed.resource
            if subject is None or action is None or resource is None:
                return None
            questions.append(_of(subject, action, resource))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if not questions or len(questions) > batch_limit or texts * 2 != body.count(b'"'):
        return None
    options = _typed(typed.options, EvaluationsOptions) if typed.options is not None else None
    return questions, _semantic(options), typed.context


def _names(part: _Item | _QuickEvaluations) -> int:
    return (part.subject is not None) + (part.action is not None) + (part.resource is not None)


def _texts_in(part: Evaluation | _Item | _QuickEvaluations) -> int:
    """The number of texts of the entities and the context, without the names of the entities. Raises RecursionError."""
    found = 0
    subject, action, resource, context = part.subject, part.action, part.resource, part.context
    if subject is not None:
        found += _IN_ENTITY if subject.properties is None else _IN_ENTITY + 1 + _texts(subject.properties)
    if action is not None:
        found += 2 if action.properties is None else 3 + _texts(action.properties)
    if resource is not None:
        found += _IN_ENTITY if resource.properties is None else _IN_ENTITY + 1 + _texts(resource.properties)
    if context is not None:
        found += 1 + _texts(context)
    return found


def _texts(value: Any, levels: int = MOST_LEVELS - 4) -> int:
    """The number of texts in a value, names included. Raises RecursionError for more levels."""
    if isinstance(value, str):
        return 1
    if not isinstance(value, dict | list):
        return 0
    if not levels:
        raise RecursionError
    if isinstance(value, dict):
        return len(value) + sum(_texts(each, levels - 1) for each in value.values())
    return sum(_texts(each, levels - 1) for each in value)


class _Items:
    """Reads the items of a request. A default that is left as it is becomes typed once."""

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self._defaults = defaults
        self._typed: dict[str, Any] = {}

    def entities(self, item: Any) -> Entities | MalformedQuestionError:
        """The entities, or why the item has no decision."""
        try:
            if not isinstance(item, dict):
                raise violation("evaluations", "expected an object")
            subject: Subject = self._entity(item, "subject", Subject)
            action: Action = self._entity(item, "action", Action)
            resource: Resource = self._entity(item, "resource", Resource)
            if not isinstance(item.get("context"), dict | None):
                raise violation("context", "expected an object")
        except MalformedQuestionError as error:
            return error
        return _of(subject, action, resource)

    def _entity(self, item: Mapping[str, Any], name: str, shape: Any) -> Any:
        given = item.get(name)
        if given is not None:
            return _member(given, name, shape)
        typed = self._typed.get(name)
        if typed is None:
            default = self._defaults[name]
            if default is None:
                raise violation(name, "is missing")
            typed = self._typed[name] = _member(default, name, shape)
        return typed


def search(body_type: type[SearchBody]) -> Callable[[SentRequest], AskedSearch[Any]]:
    """A function that parses the requests of one search, as `evaluation` does."""

    def parse(sent: SentRequest) -> AskedSearch[Any]:
        members = _object(sent)
        body = _typed(members, body_type)
        if isinstance(body, SubjectSearch):
            entities = _of(Subject(body.subject.type, ""), body.action, body.resource)
        elif isinstance(body, ResourceSearch):
            resource = Resource(body.resource.type, "", body.resource.properties)
            entities = _of(body.subject, body.action, resource)
        else:
            entities = _of(body.subject, Action(""), body.resource)
        page = _page(body.page, members)
        return AskedSearch(sent.tenant, sent.revision, sent.at_least, _origin(sent, body.context), entities, page)

    return parse


def _page(page: Page | None, members: dict[str, Any]) -> PageRequest:
    limit = None if page is None else page.limit
    if limit is not None and limit < 0:
        raise violation("page.limit", f"is {limit}: expected a count")
    rest = {name: value for name, value in members.items() if name != "page"}
    request = sha256(msgspec.json.encode(rest, order="deterministic")).digest()
    return PageRequest(page is not None, (page.token or "") if page is not None else "", limit, request)


def _semantic(options: EvaluationsOptions | None) -> Semantic:
    text = None if options is None else options.evaluations_semantic
    try:
        return Semantic(text or Semantic.EXECUTE_ALL)
    except ValueError:
        expected = "`, `".join(Semantic)
        raise violation("options.evaluations_semantic", f"expected one of `{expected}`") from None


def _origin(sent: SentRequest, context: Mapping[str, Any] | None) -> RequestOrigin:
    """`context.remit.on_behalf_of` is recorded, and changes no decision."""
    own = (context or {}).get("remit")
    on_behalf_of = own.get("on_behalf_of") if isinstance(own, dict) else None
    if on_behalf_of is None:
        return RequestOrigin(trace_id=sent.trace_id)
    if not isinstance(on_behalf_of, str):
        raise violation("context.remit.on_behalf_of", "expected a text")
    return RequestOrigin(named("context.remit.on_behalf_of", parse_principal, on_behalf_of), sent.trace_id)


def _object(sent: SentRequest) -> dict[str, Any]:
    try:
        return parse_object(sent.body, MOST_LEVELS)
    except ValueError as error:
        raise MalformedMessageError(f"the body is no JSON object: {error}") from None


def _typed(members: Any, shape: type[_Body]) -> _Body:
    try:
        return msgspec.convert(members, shape)
    except msgspec.ValidationError as error:
        raise MalformedMessageError(str(error)) from None


def _member(value: Any, name: str, shape: type[_Body]) -> _Body:
    """An entity of an item. Raises MalformedQuestionError."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise violation(name, str(error)) from None


def _single(sent: SentRequest, body: Evaluation) -> AskedEvaluation:
    entities = _of(body.subject, body.action, body.resource)
    return AskedEvaluation(sent.tenant, sent.revision, sent.at_least, _origin(sent, body.context), entities)


def _of(subject: Subject, action: Action, resource: Resource) -> Entities:
    return Entities(
        subject.type,
        subject.id,
        action.name,
        action.properties or {},
        resource.type,
        resource.id,
        resource.properties or {},
    )
