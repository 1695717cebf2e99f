"""The JSON of requests, as types. Unknown members are ignored; null stands for an optional member that is absent."""

from typing import Any

import msgspec


class Subject(msgspec.Struct):
    type: str
    id: str
    properties: dict[str, Any] | None = None


class Action(msgspec.Struct):
    name: str
    properties: dict[str, Any] | None = None


class Resource(msgspec.Struct):
    type: str
    id: str
    properties: dict[str, Any] | None = None


class EntityType(msgspec.Struct):
    """What a search looks for."""

    type: str
    properties: dict[str, Any] | None = None


class Page(msgspec.Struct):
    token: str | None = None
    limit: int | None = None
    properties: dict[str, Any] | None = None


class Evaluation(msgspec.Struct):
    subject: Subject
    action: Action
    resource: Resource
    context: dict[str, Any] | None = None


class EvaluationsOptions(msgspec.Struct):
    evaluations_semantic: str | None = None


class Evaluations(msgspec.Struct):
    """The members of an item default to the members beside `evaluations`, each as a whole."""

    evaluations: list[Any] | None = None
    options: EvaluationsOptions | None = None
    subject: Any = None
    action: Any = None
    resource: Any = None
    context: Any = None


class SubjectSearch(msgspec.Struct):
    subject: EntityType
    action: Action
    resource: Resource
    context: dict[str, Any] | None = None
    page: Page | None = None


class ResourceSearch(msgspec.Struct):
    subject: Subject
    action: Action
    resource: EntityType
    context: dict[str, Any] | None = None
    page: Page | None = None


class ActionSearch(msgspec.Struct):
    subject: Subject
    resource: Resource
    context: dict[str, Any] | None = None
    page: Page | None = None


SearchBody = SubjectSearch | ResourceSearch | ActionSearch
