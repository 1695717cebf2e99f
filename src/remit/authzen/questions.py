"""From parsed requests to the questions that they are, in the words of the policy that answers."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from remit import wire
from remit.authzen.page_token import PlaceInSearch
from remit.authzen.requests import PAGE_LIMIT, AskedEvaluations
from remit.core.authzen import (
    NO_MAPPING,
    AuthzenMapping,
    Entities,
    UnknownResourceError,
    question_of,
)
from remit.core.decision import Decision, Reason
from remit.core.errors import MalformedQuestionError, named, violation
from remit.core.names import Namespace, Principal, Word, optional_namespace, parse_action, parse_kind, parse_principal
from remit.core.question import QuestionType
from remit.core.vocabulary import EMPTY_VOCABULARY, Vocabulary
from remit.engine.inquiry import Inquiry
from remit.engine.queries.search import PrincipalsFor
from remit.engine.snapshot import Snapshot
from remit.service.decision_point import AskedQuestion


class _Language(NamedTuple):
    mapping: AuthzenMapping
    vocabulary: Vocabulary


def _language(snapshot: Snapshot | None) -> _Language:
    if snapshot is None:
        return _Language(NO_MAPPING, EMPTY_VOCABULARY)
    return _Language(snapshot.policy.authzen, snapshot.policy.vocabulary)


def evaluated(entities: Entities, snapshot: Snapshot | None) -> AskedQuestion:
    """The question of one evaluation. Raises MalformedQuestionError, with the members of the request."""
    try:
        return question_of(entities, *_language(snapshot), wire.parsed), entities.resource_id
    except UnknownResourceError as error:
        raise violation("resource.id", str(error)) from None


def each_evaluated(
    request: AskedEvaluations, snapshot: Snapshot | None
) -> Sequence[AskedQuestion | MalformedQuestionError]:
    """The question of each item, or why it has none."""
    items: list[AskedQuestion | MalformedQuestionError] = []
    for entities in request.questions:
        if isinstance(entities, MalformedQuestionError):
            items.append(entities)
            continue
        try:
            items.append(evaluated(entities, snapshot))
        except MalformedQuestionError as error:
            items.append(error)
    return items


class FoundPage(NamedTuple):
    """A part of the sorted results of a search."""

    keys: Sequence[str]
    more: bool
    """There are results behind the last key."""
    total: int | None = None
    """Of all pages, if it is known."""


NOTHING = FoundPage((), more=False, total=0)


def _page(keys: Sequence[str], place: PlaceInSearch) -> FoundPage:
    start = 0 if place.after is None else bisect_right(keys, place.after)
    end = start + _size(place)
    return FoundPage(keys[start:end], more=end < len(keys), total=len(keys))


def _size(place: PlaceInSearch) -> int:
    return PAGE_LIMIT if place.limit is None else min(place.limit, PAGE_LIMIT)


class _Search(Inquiry[FoundPage]):
    """The common part of the searches."""

    def detail(self, answer: FoundPage) -> Mapping[str, object]:
        return {"results": len(answer.keys)}


@dataclass(frozen=True, slots=True)
class FindsNothing(Inquiry[FoundPage]):
    """A search for a type or a resource that the policy does not know."""

    question_type: QuestionType  # type: ignore[misc]
    columns: tuple[str, str, str, str]

    def answer(self, snapshot: Snapshot) -> FoundPage:
        del snapshot
        return NOTHING


@dataclass(frozen=True, slots=True)
class SubjectsAllowed(_Search):
    """Which principals of a type may do this?"""

    question_type: ClassVar = QuestionType.PRINCIPALS
    principals: PrincipalsFor
    principal_type: str
    place: PlaceInSearch

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return self.principals.columns

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        return self.principals.refusal(snapshot)

    def answer(self, snapshot: Snapshot) -> FoundPage:
        prefix = f"{self.principal_type}:"
        found = self.principals.answer(snapshot).principals
        return _page([each.removeprefix(prefix) for each in found if each.startswith(prefix)], self.place)


@dataclass(frozen=True, slots=True)
class ActionsAllowed(_Search):
    """Which actions may a principal do on one resource? Their names in the words of the request."""

    question_type: ClassVar = QuestionType.ACTIONS
    principal: Principal
    kind: Word
    namespace: Namespace
    mapping: AuthzenMapping
    resource_type: str
    place: PlaceInSearch

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (self.principal, "", self.kind, self.namespace)

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        return _refusal(snapshot, self.principal, self.kind, None, self.namespace)

    def answer(self, snapshot: Snapshot) -> FoundPage:
        allowed = [action for kind, action in snapshot.permitted(self.principal, self.namespace) if kind == self.kind]
        return _page(self.mapping.action_names(self.resource_type, allowed), self.place)


@dataclass(frozen=True, slots=True)
class ResourcesAllowed(_Search):
    """On which resources of the catalogue may a principal do an action?"""

    question_type: ClassVar = QuestionType.NAMESPACES
    principal: Principal
    action: Word
    kind: Word
    entities: Entities
    place: PlaceInSearch

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (self.principal, self.action, self.kind, "")

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        reason = _refusal(snapshot, self.principal, self.kind, self.action, None)
        if reason is None and self.kind not in snapshot.policy.authzen.catalogue:
            raise violation("resource.type", f"`catalogue.csv` has no {self.kind}, so remit cannot list them")
        return reason

    def answer(self, snapshot: Snapshot) -> FoundPage:
        decided: dict[str, bool] = {}
        found: list[str] = []
        size = _size(self.place)
        for resource_id in snapshot.policy.authzen.catalogue[self.kind].after(self.place.after):
            if self._allowed(snapshot, resource_id, decided):
                if len(found) == size:
                    return FoundPage(found, more=True)
                found.append(resource_id)
        return FoundPage(found, more=False)

    def _allowed(self, snapshot: Snapshot, resource_id: str, decided: dict[str, bool]) -> bool:
        """`decided` has the answers so far, by namespace."""
        mapping, vocabulary = _language(snapshot)
        try:
            namespace = mapping.namespace(self.entities._replace(resource_id=resource_id), vocabulary)
            if namespace not in decided:
                question = wire.parsed(self.principal, self.action, self.kind, namespace)
                decided[namespace] = snapshot.decide(question).allowed
        except (MalformedQuestionError, UnknownResourceError):
            # An evaluation of this resource would be an error, so it allows nothing.
            return False
        return decided[namespace]


def subject_search(entities: Entities, place: PlaceInSearch, snapshot: Snapshot | None) -> Inquiry[FoundPage]:
    """Raises MalformedQuestionError, with the members of the request. So do the other two."""
    language = _language(snapshot)
    mapping = language.mapping
    principal_type = mapping.principal_type(entities.subject_type)
    action = named("action.name", parse_action, mapping.action(entities))
    kind = _kind(entities, mapping)
    namespace = _namespace(entities, language, action)
    if not principal_type or namespace is None:
        return FindsNothing(QuestionType.PRINCIPALS, ("", action, kind, namespace or ""))
    return SubjectsAllowed(PrincipalsFor(action, kind, namespace), principal_type, place)


def action_search(entities: Entities, place: PlaceInSearch, snapshot: Snapshot | None) -> Inquiry[FoundPage]:
    language = _language(snapshot)
    mapping = language.mapping
    kind = _kind(entities, mapping)
    namespace = _namespace(entities, language)
    principal = _principal(entities, mapping)
    if principal is None or namespace is None:
        return FindsNothing(QuestionType.ACTIONS, (principal or "", "", kind, namespace or ""))
    return ActionsAllowed(principal, kind, namespace, mapping, entities.resource_type, place)


def resource_search(entities: Entities, place: PlaceInSearch, snapshot: Snapshot | None) -> Inquiry[FoundPage]:
    mapping = _language(snapshot).mapping
    action = named("action.name", parse_action, mapping.action(entities))
    kind = _kind(entities, mapping)
    principal = _principal(entities, mapping)
    if principal is None:
        return FindsNothing(QuestionType.NAMESPACES, ("", action, kind, ""))
    return ResourcesAllowed(principal, action, kind, entities, place)


def _principal(entities: Entities, mapping: AuthzenMapping) -> Principal | None:
    """None for a subject of a type that no principal has."""
    if not mapping.principal_type(entities.subject_type):
        return None
    return named("subject", parse_principal, mapping.principal(entities))


def _kind(entities: Entities, mapping: AuthzenMapping) -> Word:
    return named("resource.type", parse_kind, mapping.type_of(entities.resource_type).kind)


def _namespace(entities: Entities, language: _Language, action: Word | None = None) -> Namespace | None:
    """None for a resource that the catalogue does not have."""
    mapping, vocabulary = language
    try:
        return named("resource", optional_namespace, mapping.namespace(entities, vocabulary, action))
    except UnknownResourceError:
        return None


def _refusal(
    snapshot: Snapshot, principal: Principal, name: Word, action: Word | None, namespace: Namespace | None
) -> Reason | None:
    """Why the policy knows no such thing; None if it does. Raises MalformedQuestionError for a superfluous namespace."""
    kind = snapshot.policy.vocabulary.kinds.get(name)
    if kind is None:
        return Reason.UNKNOWN_KIND
    if action is not None and action not in kind.actions:
        return Reason.UNKNOWN_ACTION
    if not kind.lives_in(snapshot.tenant):
        return Reason.WRONG_CLASS
    if namespace is not None and kind.actions:
        door = snapshot.door(kind.name, min(kind.actions), namespace)
        if isinstance(door, Decision):
            return door.reason
    return None if snapshot.admits(principal) else Reason.NO_ACCESS
