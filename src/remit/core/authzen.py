"""The mapping of OpenID AuthZEN: from the entities of a request to the names of a question (policy-language section 4)."""

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from remit.core.errors import (
    FieldViolation,
    InvalidNameError,
    MalformedQuestionError,
    RemitError,
    named,
    violation,
)
from remit.core.names import SEGMENT, Namespace, Word, is_namespace, parse_resource_id, quote
from remit.core.question import Question, parse_question
from remit.core.vocabulary import Vocabulary

PRINCIPAL_TYPES: Final = ("user", "service")
NAMESPACE_KIND: Final = Word("NAMESPACE")
"""The kind whose resources are the namespaces themselves."""
TEMPLATE_LIMIT: Final = 256
EXTERNAL_LIMIT: Final = 128

TEMPLATE_GRAMMAR: Final = (
    "segments joined by `.`, each plain text, `{resource.id}` or `{resource.properties.NAME}`; one may be "
    f"`{{+...}}`, a whole namespace; at most {TEMPLATE_LIMIT} characters"
)
EXTERNAL_GRAMMAR: Final = f"1 to {EXTERNAL_LIMIT} printable characters"

_PLAIN_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_ODD_START: Final = "0__"
"""Begins a segment whose text does not begin with a letter or a digit. `__` stands nowhere else."""
_PARTS = re.compile(r"\{[^{}]*\}|[^{}.]+|[.{}]").findall
_LITERAL = re.compile(SEGMENT).fullmatch
_PROPERTY: Final = "resource.properties."
_FIELDS: Final = {
    "principal": "subject",
    "action": "action.name",
    "kind": "resource.type",
    "namespace": "resource",
}


class UnknownResourceError(RemitError):
    """Nothing says which namespace the resource is in: the request does not, and the catalogue does not have it."""


def segment_of(text: str) -> str:
    """The segment of a namespace that stands for a text. Two texts never have the same segment.

    a-z, 0-9 and `-` stand for themselves; any other byte of the text in UTF-8 is `_` and two hexadecimal digits.
    """
    escaped = "".join(chr(byte) if byte in _PLAIN_BYTES else f"_{byte:02x}" for byte in text.encode())
    return escaped if escaped and escaped[0] not in "-_" else f"{_ODD_START}{escaped}"


class Entities(NamedTuple):
    """What an AuthZEN request says: texts, and properties as JSON has them. '' for what it leaves open."""

    subject_type: str = ""
    subject_id: str = ""
    action_name: str = ""
    action_properties: Mapping[str, Any] = {}
    resource_type: str = ""
    resource_id: str = ""
    resource_properties: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A place in a template for the id of the resource, or for one of its properties."""

    name: str
    """The property; '' for the id."""
    whole: bool
    """The value is a namespace, and stands as it is. Otherwise it becomes one segment."""

    @property
    def path(self) -> str:
        return f"{_PROPERTY}{self.name}" if self.name else "resource.id"

    def value(self, entities: Entities) -> str | None:
        """The text for the place; None if the request has none. Raises MalformedQuestionError."""
        text = property_text(self.path, entities.resource_properties.get(self.name)) if self.name else ""
        text = text if self.name else entities.resource_id
        if text is None or not self.whole:
            return None if text is None else segment_of(text)
        if not is_namespace(text):
            raise violation(self.path, f"`{quote(text)}` is not a namespace")
        return text


@dataclass(frozen=True, slots=True)
class NamespaceTemplate:
    """How a request says the namespace of its resource. Two different lists of values never give one namespace."""

    segments: tuple[str | Placeholder, ...]

    @classmethod
    def parse(cls, text: str) -> "NamespaceTemplate":
        """Raises InvalidNameError."""
        parts = _PARTS(text)
        segments = tuple(_segment(text, part) for part in parts[::2])
        whole = sum(isinstance(each, Placeholder) and each.whole for each in segments)
        if len(text) > TEMPLATE_LIMIT or len(parts) % 2 == 0 or set(parts[1::2]) - {"."} or whole > 1:
            raise InvalidNameError(f"`{quote(text)}` is no template: expected {TEMPLATE_GRAMMAR}")
        return cls(segments)

    def fill(self, entities: Entities) -> tuple[str, str]:
        """The namespace, and ''; or '' and the path of what the request lacks. Raises MalformedQuestionError."""
        filled = []
        for each in self.segments:
            text = each if isinstance(each, str) else each.value(entities)
            if text is None:
                assert isinstance(each, Placeholder)
                return "", each.path
            filled.append(text)
        return ".".join(filled), ""

    @property
    def claims(self) -> bool:
        """True if a property decides: then whoever asks says where the resource is."""
        return any(isinstance(each, Placeholder) and each.name for each in self.segments)


def _segment(template: str, part: str) -> str | Placeholder:
    if not part.startswith("{"):
        if not _LITERAL(part):
            raise InvalidNameError(f"`{quote(template)}` is no template: expected {TEMPLATE_GRAMMAR}")
        return part
    path = part[1:-1]
    whole = path.startswith("+")
    path = path.removeprefix("+")
    if path == "resource.id":
        return Placeholder("", whole)
    if path.startswith(_PROPERTY) and len(path) > len(_PROPERTY):
        return Placeholder(path.removeprefix(_PROPERTY), whole)
    hint = "; what a request says of its subject counts for nothing" if path.startswith("subject") else ""
    raise InvalidNameError(
        f"`{quote(part)}` in a template: expected `{{resource.id}}` or `{{resource.properties.NAME}}`{hint}"
    )


_NAMED: Final = NamespaceTemplate.parse("{+resource.properties.namespace}")
_ITSELF: Final = NamespaceTemplate.parse("{+resource.id}")


@dataclass(frozen=True, slots=True)
class ActionByProperty:
    """A property of the action says which action it is."""

    name: str
    words: Mapping[str, Word]
    """By the property's text."""


ActionAlias = Word | ActionByProperty


@dataclass(frozen=True, slots=True)
class TypeMapping:
    """What a type of resources stands for."""

    kind: str
    namespace: NamespaceTemplate | None = None
    """None: the default."""
    from_catalogue: bool = False
    """Only the catalogue says the namespace, whatever the request says."""
    actions: Mapping[str, ActionAlias] = field(default_factory=dict)


class Catalogue:
    """The resources of one kind: where each is."""

    def __init__(self, namespaces: Mapping[str, Namespace]) -> None:
        self.namespaces = namespaces
        self.ids: Sequence[str] = sorted(namespaces)

    def after(self, last: str | None) -> Iterator[str]:
        """The ids behind `last`, sorted; all of them if it is None."""
        for index in range(0 if last is None else bisect_right(self.ids, last), len(self.ids)):
            yield self.ids[index]


@dataclass(frozen=True, slots=True)
class AuthzenMapping:
    """authzen.yaml and catalogue.csv of a tenant."""

    subjects: Mapping[str, str] = field(default_factory=dict)
    """`user` or `service`, by the type of a subject."""
    actions: Mapping[str, ActionAlias] = field(default_factory=dict)
    types: Mapping[str, TypeMapping] = field(default_factory=dict)
    catalogue: Mapping[Word, Catalogue] = field(default_factory=dict)

    def principal(self, entities: Entities) -> str:
        """Raises MalformedQuestionError for a type that no principal has."""
        mapped = self.principal_type(entities.subject_type)
        if not mapped:
            types = "`, `".join((*PRINCIPAL_TYPES, *self.subjects))
            raise violation(
                "subject.type", f"`{quote(entities.subject_type)}` is no principal: expected one of `{types}`"
            )
        return f"{mapped}:{entities.subject_id}"

    def principal_type(self, subject_type: str) -> str:
        """`user` or `service`; '' if subjects of this type are no principals."""
        mapped = self.subjects.get(subject_type, subject_type)
        return mapped if mapped in PRINCIPAL_TYPES else ""

    def type_of(self, resource_type: str) -> TypeMapping:
        return self.types.get(resource_type) or TypeMapping(resource_type)

    def action(self, entities: Entities) -> str:
        """Raises MalformedQuestionError."""
        alias = self._alias(entities.resource_type, entities.action_name)
        if isinstance(alias, str):
            return alias
        path = f"action.properties.{alias.name}"
        text = property_text(path, entities.action_properties.get(alias.name))
        word = None if text is None else alias.words.get(text)
        if word is None:
            found = "is missing" if text is None else f"is `{quote(text)}`"
            raise violation(path, f"{found}: expected one of `{'`, `'.join(alias.words)}`")
        return word

    def action_names(self, resource_type: str, words: Collection[Word]) -> list[str]:
        """The names by which a request may mean one of these actions, sorted."""
        own = self.type_of(resource_type).actions
        names = {*own, *self.actions, *words}
        return sorted(name for name in names if self._words(resource_type, name) & set(words))

    def namespace(self, entities: Entities, vocabulary: Vocabulary, action: str | None = None) -> str:
        """The namespace of the resource; '' if it has none, or needs none because its kind has no such `action`.

        Raises UnknownResourceError, and MalformedQuestionError if a property is none of a namespace.
        """
        mapped = self.types.get(entities.resource_type)
        kind_name = entities.resource_type if mapped is None else mapped.kind
        if mapped is None and kind_name != NAMESPACE_KIND:
            # The usual case, without the steps of a template.
            said = entities.resource_properties.get("namespace")
            if isinstance(said, str) and is_namespace(said):
                return said
        missing = ""
        if mapped is None or not mapped.from_catalogue:
            template = mapped.namespace if mapped is not None else None
            text, missing = (template or _default(kind_name)).fill(entities)
            if not missing:
                return text
        kind = vocabulary.kinds.get(Word(kind_name))
        if kind is None or not kind.namespaced:
            return ""
        catalogue = self.catalogue.get(kind.name)
        found = None if catalogue is None else catalogue.namespaces.get(entities.resource_id)
        if found is None:
            if action is not None and action not in kind.actions:
                # As in `Snapshot.decide`, an unknown action is the first reason.
                return ""
            if catalogue is None:
                raise violation(missing or "resource.id", f"is missing: kind `{kind.name}` lives in namespaces")
            lacking = f"`{missing}` is missing, and " if missing else ""
            raise UnknownResourceError(f"{lacking}the catalogue has no {kind.name} `{quote(entities.resource_id)}`")
        return found

    def _alias(self, resource_type: str, name: str) -> str | ActionByProperty:
        mapped = self.types.get(resource_type)
        own = None if mapped is None else mapped.actions.get(name)
        return own or self.actions.get(name) or name

    def _words(self, resource_type: str, name: str) -> set[str]:
        alias = self._alias(resource_type, name)
        return {alias} if isinstance(alias, str) else set(alias.words.values())


NO_MAPPING: Final = AuthzenMapping()


def _default(kind: str) -> NamespaceTemplate:
    return _ITSELF if kind == NAMESPACE_KIND else _NAMED


def property_text(path: str, value: Any) -> str | None:
    """A property as text: a text itself, a whole number or boolean as JSON writes it; None if it is absent or null.

    Raises MalformedQuestionError for anything else.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise violation(path, "expected a text, a whole number or a boolean")


def question_of(
    entities: Entities,
    mapping: AuthzenMapping,
    vocabulary: Vocabulary,
    parse: Callable[[str, str, str, str], Question] = parse_question,
) -> Question:
    """The question of an evaluation, whose names `parse` takes.

    Raises MalformedQuestionError, with the members of the request, and UnknownResourceError.
    """
    mapped = mapping.types.get(entities.resource_type)
    principal = mapping.principal(entities)
    action = mapping.action(entities)
    kind = entities.resource_type if mapped is None else mapped.kind
    namespace = mapping.namespace(entities, vocabulary, action)
    try:
        question = parse(principal, action, kind, namespace)
    except MalformedQuestionError as error:
        raise MalformedQuestionError(
            *(FieldViolation(_FIELDS[each.field], each.description) for each in error.violations)
        ) from None
    resource_id_of(entities)
    return question


def resource_id_of(entities: Entities) -> str:
    """The id of the resource, for the record. Raises MalformedQuestionError."""
    return named("resource.id", parse_resource_id, entities.resource_id)
