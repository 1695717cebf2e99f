"""The YAML files beside the rows: vocabulary, dedicated resources, a tenant's manifest."""

from collections.abc import Mapping
from dataclasses import dataclass

from remit.core.errors import InvalidNameError
from remit.core.names import (
    INSTANCE,
    WHOLE_TENANT,
    Namespace,
    Subject,
    Tenant,
    Word,
    parse_action,
    parse_kind,
    parse_namespace,
    parse_relation,
    parse_subject,
    parse_tenant,
    parse_word,
    quote,
)
from remit.core.policy import DedicatedResource, ResourceType
from remit.core.vocabulary import Kind, KindClass, Operand, Relation, Vocabulary
from remit.policy import yaml
from remit.policy.report import did_you_mean
from remit.policy.schema import Schema
from remit.policy.yaml import Node

_NAME_LIMIT = 63


@dataclass(frozen=True, slots=True)
class OpenResource:
    """An entry of resources.yaml and the tenants that may name it."""

    resource: DedicatedResource
    tenants: frozenset[Tenant]


Resources = Mapping[ResourceType, Mapping[str, OpenResource]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """tenant.yaml: the access list and what serves the tenant and its namespaces."""

    access: frozenset[Subject] | None
    dedicated: Mapping[Namespace, Mapping[ResourceType, DedicatedResource]]


def read_vocabulary(schema: Schema, document: Node) -> Vocabulary:
    fields = schema.fields(document, "the vocabulary", required=("kinds",), optional=("relations", "operations"))
    kinds: dict[Word, Kind] = {}
    for key, node in schema.entries(fields.get("kinds"), "`kinds`"):
        name = schema.name(key, "a kind", parse_kind)
        parts = schema.fields(node, f"kind `{quote(key.text)}`", required=("class", "actions"))
        kind_class = schema.choice(parts["class"], "a class", KindClass) if "class" in parts else None
        actions = [
            schema.name(each, "an action", parse_action) for each in schema.items(parts.get("actions"), "`actions`")
        ]
        if name is not None and kind_class is not None:
            kinds[name] = Kind(name, KindClass(kind_class), frozenset(action for action in actions if action))
    relations: dict[Word, Relation] = {}
    for key, node in schema.entries(fields.get("relations"), "`relations`"):
        relation = schema.name(key, "a relation", parse_relation)
        parts = schema.fields(node, f"relation `{quote(key.text)}`", optional=("inherited",))
        if relation is not None:
            relations[relation] = Relation(relation, schema.boolean(parts.get("inherited"), "`inherited`"))
    operations: dict[Word, tuple[Operand, ...]] = {}
    for key, node in schema.entries(fields.get("operations"), "`operations`"):
        operation = schema.name(key, "an operation", lambda text: parse_word("operation", text))
        operands = tuple(_operand(schema, each, kinds) for each in schema.items(node, f"operation `{quote(key.text)}`"))
        if not operands:
            schema.refuse(node, f"operation `{quote(key.text)}` has no check: with none, everybody may do it")
        if operation is not None:
            operations[operation] = tuple(operand for operand in operands if operand)
    return Vocabulary(kinds, relations, operations)


def _operand(schema: Schema, node: Node, kinds: Mapping[Word, Kind]) -> Operand | None:
    parts = schema.fields(node, "a check of an operation", required=("kind", "action"), optional=("at",))
    if "kind" not in parts or "action" not in parts:
        return None
    kind = schema.choice(parts["kind"], "a declared kind", kinds)
    if kind is None:
        return None
    action = schema.choice(parts["action"], f"an action of `{kind}`", sorted(kinds[Word(kind)].actions))
    at_parent = "at" in parts and schema.choice(parts["at"], "a place", ("parent",)) == "parent"
    return Operand(Word(kind), Word(action), at_parent) if action is not None else None


def read_resources(schema: Schema, document: Node) -> Resources:
    sections = schema.fields(document, "the resources", optional=list(ResourceType))
    return {
        section: {
            key.text: resource
            for key, node in schema.entries(sections.get(section), f"`{section}`")
            if (resource := _resource(schema, key, node)) is not None
        }
        for section in ResourceType
    }


def _resource(schema: Schema, key: yaml.Scalar, node: Node) -> OpenResource | None:
    name = schema.name(key, "a resource", _resource_name)
    optional = ("type", "read_only", "denied_services", "fallback", "config")
    fields = schema.fields(node, f"resource `{quote(key.text)}`", required=("tenants",), optional=optional)
    tenants = [schema.name(each, "a tenant", parse_tenant) for each in schema.items(fields.get("tenants"), "`tenants`")]
    services = [
        schema.name(each, "a service", lambda text: parse_word("service", text))
        for each in schema.items(fields.get("denied_services"), "`denied_services`")
    ]
    texts = {key: schema.text(fields[key], f"`{key}`") or "" for key in ("type", "fallback") if key in fields}
    config = fields.get("config")
    if config is not None and not isinstance(config, yaml.Mapping):
        schema.refuse(config, "expected `config` as a mapping")
        config = None
    if name is None:
        return None
    resource = DedicatedResource(
        name,
        texts.get("type", ""),
        read_only=schema.boolean(fields.get("read_only"), "`read_only`"),
        denied_services=frozenset(service for service in services if service),
        fallback=texts.get("fallback", ""),
        config={key: yaml.plain(value) for key, (_, value) in config.items.items()} if config else {},
    )
    return OpenResource(resource, frozenset(tenant for tenant in tenants if tenant))


def read_manifest(schema: Schema, document: Node, tenant: Tenant, resources: Resources) -> Manifest:
    fields = schema.fields(document, "the tenant's manifest", optional=("access", "dedicated", "namespaces"))
    dedicated = {WHOLE_TENANT: _dedicated(schema, fields.get("dedicated"), tenant, resources)}
    for key, node in schema.entries(fields.get("namespaces"), "`namespaces`"):
        namespace = schema.name(key, "a namespace", parse_namespace)
        parts = schema.fields(node, f"namespace `{quote(key.text)}`", optional=("dedicated",))
        if namespace is not None:
            dedicated[namespace] = _dedicated(schema, parts.get("dedicated"), tenant, resources)
    if tenant == INSTANCE and "namespaces" in fields:
        schema.refuse(fields["namespaces"], f"`namespaces` in `{INSTANCE}`: the instance has none")
    access = fields.get("access")
    if access is None:
        return Manifest(None, dedicated)
    listed = [schema.name(each, "an entry of `access`", _listed) for each in schema.items(access, "`access`")]
    return Manifest(frozenset(subject for subject in listed if subject), dedicated)


def _dedicated(
    schema: Schema, node: Node | None, tenant: Tenant, resources: Resources
) -> Mapping[ResourceType, DedicatedResource]:
    if node is None:
        return {}
    named: dict[ResourceType, DedicatedResource] = {}
    for key, value in schema.fields(node, "`dedicated`", optional=list(ResourceType)).items():
        name = schema.text(value, f"`{key}`")
        section = resources.get(ResourceType(key), {})
        entry = section.get(name or "")
        if entry is not None and tenant in entry.tenants:
            named[ResourceType(key)] = entry.resource
        elif name is not None:
            # The same words whether it exists for others or not, so that a tenant cannot probe for its neighbours'.
            open_here = [each for each, other in section.items() if tenant in other.tenants]
            schema.refuse(
                value, f"no {key} resource `{quote(name)}` is open to `{tenant}`{did_you_mean(name, open_here)}"
            )
    return named


def _listed(text: str) -> Subject:
    subject = parse_subject(text)
    if subject.startswith("role:"):
        raise InvalidNameError(f"`{text}` on the access list: expected `user:`, `service:` or `group:`")
    return subject


def _resource_name(text: str) -> str:
    if not (0 < len(text) <= _NAME_LIMIT and text.isascii() and text.isprintable() and " " not in text):
        raise InvalidNameError(
            f"`{quote(text)}` is not a resource's name: expected 1 to {_NAME_LIMIT} printable ASCII characters, no blanks"
        )
    return text
