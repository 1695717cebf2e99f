"""Readers of a tenant's authzen.yaml and catalogue.csv."""

from collections.abc import Iterable, Mapping
from typing import Final

from remit.core.authzen import (
    EXTERNAL_GRAMMAR,
    EXTERNAL_LIMIT,
    PRINCIPAL_TYPES,
    ActionAlias,
    ActionByProperty,
    AuthzenMapping,
    Catalogue,
    NamespaceTemplate,
    TypeMapping,
)
from remit.core.errors import InvalidNameError
from remit.core.names import RESOURCE_ID_LIMIT, WHOLE_TENANT, Namespace, Tenant, Word, parse_namespace, quote
from remit.core.vocabulary import Kind, Vocabulary
from remit.policy.read.csv import Row, column
from remit.policy.read.report import Diagnostics, did_you_mean
from remit.policy.read.schema import Schema
from remit.policy.read.yaml import Mapping as YamlMapping
from remit.policy.read.yaml import Node

FROM_CATALOGUE: Final = "catalogue"
_CATALOGUE_FIELDS: Final = 3


def read_mapping(
    schema: Schema, document: Node | None, catalogue: Mapping[Word, Catalogue], tenant: Tenant, vocabulary: Vocabulary
) -> AuthzenMapping:
    """The mapping of authzen.yaml, if there is one, with the catalogue."""
    if document is None:
        return AuthzenMapping(catalogue=catalogue)
    return _MappingReader(schema, tenant, vocabulary).read(document, catalogue)


class _MappingReader:
    def __init__(self, schema: Schema, tenant: Tenant, vocabulary: Vocabulary) -> None:
        self._schema = schema
        self._kinds = vocabulary.kinds_of(tenant)
        self._actions = {action for kind in self._kinds.values() for action in kind.actions}

    def read(self, document: Node, catalogue: Mapping[Word, Catalogue]) -> AuthzenMapping:
        schema = self._schema
        fields = schema.fields(document, "the mapping", optional=("subjects", "actions", "types"))
        subjects: dict[str, str] = {}
        for key, node in schema.entries(fields.get("subjects"), "`subjects`"):
            name = schema.name(key, "the type of a subject", parse_external)
            kind = schema.choice(node, "a principal", PRINCIPAL_TYPES)
            if name is not None and kind is not None:
                subjects[name] = kind
        types: dict[str, TypeMapping] = {}
        for key, node in schema.entries(fields.get("types"), "`types`"):
            name = schema.name(key, "the type of a resource", parse_external)
            mapped = self._type(key.text, node)
            if name is not None and mapped is not None:
                types[name] = mapped
        return AuthzenMapping(subjects, self._aliases(fields.get("actions"), self._actions), types, catalogue)

    def _type(self, name: str, node: Node) -> TypeMapping | None:
        schema = self._schema
        fields = schema.fields(node, f"type `{quote(name)}`", optional=("kind", "namespace", "actions"))
        kind_name = name
        if "kind" in fields:
            text = schema.text(fields["kind"], "`kind`")
            if text is None:
                return None
            kind_name = text
        kind = self._kinds.get(Word(kind_name))
        if kind is None:
            hint = did_you_mean(kind_name, self._kinds)
            schema.refuse(
                fields.get("kind", node),
                f"`{quote(kind_name)}` is no kind of this tenant that the vocabulary declares{hint}",
            )
            return None
        template, from_catalogue = self._namespace(fields.get("namespace"), kind)
        return TypeMapping(kind.name, template, from_catalogue, self._aliases(fields.get("actions"), kind.actions))

    def _namespace(self, node: Node | None, kind: Kind) -> tuple[NamespaceTemplate | None, bool]:
        if node is None:
            return None, False
        if not kind.namespaced:
            self._schema.refuse(node, f"kind `{kind.name}` lives in no namespace")
            return None, False
        text = self._schema.text(node, "`namespace`")
        if text == FROM_CATALOGUE:
            return None, True
        return self._schema.name(node, "`namespace`", NamespaceTemplate.parse), False

    def _aliases(self, node: Node | None, words: Iterable[Word]) -> dict[str, ActionAlias]:
        aliases: dict[str, ActionAlias] = {}
        known = sorted(words)
        for key, value in self._schema.entries(node, "`actions`"):
            name = self._schema.name(key, "the name of an action", parse_external)
            alias = self._by_property(value, known) if isinstance(value, YamlMapping) else self._word(value, known)
            if name is not None and alias is not None:
                aliases[name] = alias
        return aliases

    def _by_property(self, node: Node, known: list[Word]) -> ActionByProperty | None:
        fields = self._schema.fields(node, "an action", required=("property", "values"))
        if len(fields) < 2:  # noqa: PLR2004 (both)
            return None
        name = self._schema.name(fields["property"], "`property`", parse_external)
        words: dict[str, Word] = {}
        for key, value in self._schema.entries(fields["values"], "`values`"):
            word = self._word(value, known)
            if word is not None:
                words[key.text] = word
        return ActionByProperty(name, words) if name is not None and words else None

    def _word(self, node: Node, known: list[Word]) -> Word | None:
        word = self._schema.choice(node, "an action that the vocabulary declares here", known)
        return Word(word) if word is not None else None


def parse_external(text: str) -> str:
    """A name that other software gave. Raises InvalidNameError."""
    if not 0 < len(text) <= EXTERNAL_LIMIT or not text.isprintable():
        raise InvalidNameError(f"`{quote(text)}`: expected {EXTERNAL_GRAMMAR}")
    return text


class CatalogueReader:
    """Reads the rows of catalogue.csv: kind, id, namespace."""

    def __init__(self, tenant: Tenant, vocabulary: Vocabulary, report: Diagnostics) -> None:
        self._kinds = vocabulary.kinds_of(tenant)
        self._report = report
        self._found: dict[Word, dict[str, Namespace]] = {}

    def add(self, row: Row) -> None:
        if len(row.fields) != _CATALOGUE_FIELDS:
            message = f"{len(row.fields)} fields: expected {_CATALOGUE_FIELDS}, as `kind, id, namespace`"
            self._report.add(row.file, row.line, 1, message)
            return
        kind_name, resource_id, namespace = row.fields
        kind = self._kinds.get(Word(kind_name))
        if kind is None:
            hint = did_you_mean(kind_name, self._kinds)
            message = f"`{quote(kind_name)}` is no kind of this tenant that the vocabulary declares{hint}"
            self._refuse(row, 0, message)
            return
        if not 0 < len(resource_id) <= RESOURCE_ID_LIMIT or not resource_id.isprintable():
            self._refuse(row, 1, f"expected an id of 1 to {RESOURCE_ID_LIMIT} printable characters")
            return
        parsed = self._namespace(row, kind, namespace)
        resources = self._found.setdefault(kind.name, {})
        if resource_id in resources:
            self._refuse(row, 1, f"{kind.name} `{quote(resource_id)}` stands twice: expected one row a resource")
        elif parsed is not None:
            resources[resource_id] = parsed

    def catalogue(self) -> dict[Word, Catalogue]:
        return {kind: Catalogue(resources) for kind, resources in self._found.items()}

    def _namespace(self, row: Row, kind: Kind, text: str) -> Namespace | None:
        if not kind.namespaced:
            if text:
                self._refuse(row, 2, f"kind `{kind.name}` lives in no namespace: leave the field empty")
            return WHOLE_TENANT
        try:
            return parse_namespace(text)
        except InvalidNameError as error:
            self._refuse(row, 2, str(error))
            return None

    def _refuse(self, row: Row, field: int, message: str) -> None:
        self._report.add(row.file, row.line, column(row.text, field), message)
