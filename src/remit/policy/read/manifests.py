"""Readers of the YAML files beside the rows: vocabulary, dedicated resources, a tenant's manifest."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from remit.core.ages import parse_age
from remit.core.errors import InvalidNameError
from remit.core.names import (
    INSTANCE,
    WHOLE_TENANT,
    Namespace,
    Subject,
    Tenant,
    Word,
    is_subject,
    parse_action,
    parse_kind,
    parse_namespace,
    parse_relation,
    parse_resource,
    parse_subject,
    parse_tenant,
    parse_word,
    quote,
)
from remit.core.patterns import NamespacePattern
from remit.core.policy import DedicatedResource, ResourceType
from remit.core.rows import Effect
from remit.core.runtime import BINDING, GRANT, REVOKE, Runtime
from remit.core.vocabulary import Kind, KindClass, Operand, Relation, Vocabulary
from remit.engine.role_graph import RoleGraph
from remit.policy.read import yaml
from remit.policy.read.report import did_you_mean
from remit.policy.read.schema import Schema
from remit.policy.read.yaml import Node


@dataclass(frozen=True, slots=True)
class OpenResource:
    """An entry of resources.yaml, with the tenants that may name it."""

    resource: DedicatedResource
    tenants: frozenset[Tenant]


Resources = Mapping[ResourceType, Mapping[str, OpenResource]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """tenant.yaml: the access list, and the dedicated resources of the tenant and its namespaces."""

    access: frozenset[Subject] | None
    dedicated: Mapping[Namespace, Mapping[ResourceType, DedicatedResource]]


def read_vocabulary(schema: Schema, document: Node) -> Vocabulary:
    optional = ("relations", "operations", "services")
    fields = schema.fields(document, "the vocabulary", required=("kinds",), optional=optional)
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
        known = tuple(operand for operand in operands if operand)
        if len({kinds[each.kind].kind_class is KindClass.INSTANCE for each in known}) > 1:
            schema.refuse(
                node,
                f"operation `{quote(key.text)}` can never be allowed: some of its kinds are of class "
                f"`{KindClass.INSTANCE}` and asked in `{INSTANCE}` only, the others in tenants only",
            )
        if operation is not None:
            operations[operation] = known
    named = [
        schema.name(each, "a service", lambda text: parse_word("service", text))
        for each in schema.items(fields.get("services"), "`services`")
    ]
    services = tuple(dict.fromkeys(service for service in named if service))
    return Vocabulary(kinds, relations, operations, services)


def _operand(schema: Schema, node: Node, kinds: Mapping[Word, Kind]) -> Operand | None:
    parts = schema.fields(node, "a check of an operation", required=("kind", "action"), optional=("at",))
    if "kind" not in parts or "action" not in parts:
        return None
    kind = schema.choice(parts["kind"], "a declared kind", kinds)
    if kind is None:
        return None
    action = schema.choice(parts["action"], f"an action of `{kind}`", sorted(kinds[Word(kind)].actions))
    at_parent = "at" in parts and schema.choice(parts["at"], "a place", ("parent",)) == "parent"
    if action is None:
        return None
    operand = Operand(Word(kind), Word(action), at_parent)
    if at_parent and not _has_parent(schema, parts["at"], operand, kinds):
        return None
    return operand


def _has_parent(schema: Schema, node: Node, operand: Operand, kinds: Mapping[Word, Kind]) -> bool:
    """True if the operand can be asked at the parent of every namespace, top-level ones included. If the vocabulary
    lacks the kind for a top-level namespace, nobody may do the operation there."""
    kind = kinds[operand.kind]
    if not kind.namespaced:
        schema.refuse(node, f"`at: parent` of kind `{kind.name}`: it is of class `{kind.kind_class}` and has no parent")
        return False
    top = kinds.get(operand.at_top)
    if top is not None and (top.kind_class is not KindClass.TENANT or operand.action not in top.actions):
        expected = f"of class `{KindClass.TENANT}` with the action `{operand.action}`"
        schema.refuse(
            node, f"the parent of a top-level namespace is asked as `{top.name}`: expected that kind {expected}"
        )
        return False
    return True


def read_resources(schema: Schema, document: Node, services: Collection[Word] | None) -> Resources:
    """`services` are the services that the vocabulary declares; None if that is unknown."""
    sections = schema.fields(document, "the resources", optional=list(ResourceType))
    return {
        section: {
            key.text: resource
            for key, node in schema.entries(sections.get(section), f"`{section}`")
            if (resource := _resource(schema, key, node, services)) is not None
        }
        for section in ResourceType
    }


def opened(resources: Resources) -> Mapping[ResourceType, Mapping[str, frozenset[Tenant]]]:
    """The tenants to which a resource is open, by resource."""
    return {section: {name: entry.tenants for name, entry in entries.items()} for section, entries in resources.items()}


def _resource(schema: Schema, key: yaml.Scalar, node: Node, services: Collection[Word] | None) -> OpenResource | None:
    name = schema.name(key, "a resource", parse_resource)
    optional = ("type", "read_only", "denied_services", "fallback", "config")
    fields = schema.fields(node, f"resource `{quote(key.text)}`", required=("tenants",), optional=optional)
    tenants = [schema.name(each, "a tenant", parse_tenant) for each in schema.items(fields.get("tenants"), "`tenants`")]
    denied = [
        declared_service(schema, each, services)
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
        denied_services=frozenset(service for service in denied if service),
        fallback=texts.get("fallback", ""),
        config={key: yaml.plain(value) for key, (_, value) in config.items.items()} if config else {},
    )
    return OpenResource(resource, frozenset(tenant for tenant in tenants if tenant))


def declared_service(schema: Schema, node: Node, services: Collection[Word] | None) -> Word | None:
    """A service that the vocabulary declares: a misspelled one would be denied nothing. `services` is None if the
    declared services are unknown."""
    service = schema.name(node, "a service", lambda text: parse_word("service", text))
    if service is None or services is None or service in services:
        return service
    hint = did_you_mean(service, services)
    schema.refuse(node, f"unknown service `{service}`: expected one of `services` in the vocabulary{hint}")
    return None


def read_manifest(schema: Schema, document: Node, tenant: Tenant, resources: Resources) -> Manifest:
    fields = schema.fields(document, "the tenant's manifest", optional=("access", "dedicated", "namespaces", "runtime"))
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
            # The text is the same if the resource exists for others: a tenant cannot probe for other tenants'
            # resources.
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


def read_runtime(
    schema: Schema,
    node: Node,
    tenant: Tenant,
    vocabulary: Vocabulary,
    *,
    graph: RoleGraph | None,
    access: Collection[Subject],
) -> Runtime:
    """The key `runtime`. `graph` is None if some row is invalid: then no name is looked for in the rows. `access` are
    the subjects on the access list."""
    fields = schema.fields(node, "`runtime`", optional=("roles", "groups", "scopes", "max_ttl", "suspend"))
    kind = vocabulary.kinds_of(tenant).get(BINDING)
    if kind is None or not kind.actions >= {GRANT, REVOKE}:
        schema.refuse(
            node,
            f"`runtime` needs the kind `{BINDING}` with the actions `{GRANT}` and `{REVOKE}` in the vocabulary, on the "
            f"side of `{tenant}`: they say who may grant and revoke",
        )
    roles = _opened(schema, fields.get("roles"), "role", graph.roles() if graph else None)
    listed = {subject for subject in access if subject.startswith("group:")}
    groups = _opened(schema, fields.get("groups"), "group", graph.groups | listed if graph else None)
    named = [
        schema.name(each, "a pattern of `scopes`", NamespacePattern.parse)
        for each in schema.items(fields.get("scopes"), "`scopes`")
    ]
    scopes = tuple(scope for scope in named if scope is not None)
    if (roles or groups) and "scopes" not in fields:
        schema.refuse(node, '`runtime` lacks `scopes`: expected patterns, or `"**"` for all of the tenant')
    suspend = _suspend(schema, fields["suspend"], graph) if "suspend" in fields else None
    if isinstance(node, yaml.Mapping) and node.items.keys() <= {"scopes", "max_ttl"}:
        schema.refuse(node, "`runtime` opens nothing: expected `roles`, `groups` or `suspend`")
    max_ttl = schema.name(fields["max_ttl"], "`max_ttl`", _life) if "max_ttl" in fields else None
    return Runtime(roles, groups, scopes, max_ttl, suspend)


def _opened(schema: Schema, node: Node | None, what: str, known: Collection[Subject] | None) -> tuple[str, ...]:
    """The names of roles, or groups, with a final `*` or without; `known` are those that the rows name."""
    names: list[str] = []
    for each in schema.items(node, f"`{what}s`"):
        name = schema.name(each, f"a {what}", _name_of(what, starred=True))
        if name is None:
            continue
        if known is not None and not name.endswith("*") and name not in known:
            hint = did_you_mean(name, known)
            schema.refuse(each, f"unknown {what} `{name}`: expected one that the files name{hint}")
        names.append(name)
    return tuple(names)


def _name_of(what: str, *, starred: bool = False) -> Callable[[str], str]:
    def is_name(text: str) -> bool:
        # An ID has no `*`: in place of the rest of an ID any character will do.
        whole = f"{text[:-1]}x" if starred and text.endswith("*") else text
        return text.startswith(f"{what}:") and bool(is_subject(whole))

    def parse(text: str) -> str:
        if is_name(text):
            return text
        more = ", or how IDs begin and `*`" if starred else ""
        hint = f"; did you mean `{what}:{text}`?" if is_name(f"{what}:{text}") and ":" not in text else ""
        raise InvalidNameError(f"`{quote(text)}` is not a {what}: expected `{what}:` with an ID{more}{hint}")

    return parse


def _life(text: str) -> int:
    seconds = parse_age(text)
    if not seconds:
        raise InvalidNameError(f"`{quote(text)}` is no span of time: expected one such as `30d` or `12h`")
    return seconds


def denies(graph: RoleGraph, group: str) -> bool:
    """True if a row denies something to the group's members somewhere."""
    return any(rule.effect is Effect.DENY for held in graph.held(group, None) for rule in graph.rules_of(held))


def _suspend(schema: Schema, node: Node, graph: RoleGraph | None) -> Subject | None:
    group = schema.name(node, "`suspend`", _name_of("group"))
    if group is None or graph is None:
        return None
    if group not in graph.groups:
        schema.refuse(
            node, f"unknown group `{group}`: expected one that a row names{did_you_mean(group, graph.groups)}"
        )
    elif not denies(graph, group):
        schema.refuse(
            node,
            f"`{group}` denies nothing: expected a group with a deny, such as "
            f"`p, {group}, {schema.file.partition('/')[0]}, **, *, *, deny`",
        )
    return Subject(group)
