"""Reads gateway.yaml: the routes of a tenant's gateway."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from remit.core.errors import InvalidNameError
from remit.core.gateway import (
    ANY_METHOD,
    METHOD_GRAMMAR,
    ROUTES_LIMIT,
    PathTemplate,
    Route,
    RouteTable,
    SameRequestsError,
    is_method,
)
from remit.core.names import Tenant, Word, parse_namespace, parse_resource_id, quote
from remit.core.vocabulary import Kind, Vocabulary
from remit.policy.read.schema import Schema
from remit.policy.read.yaml import Node

_REQUIRED: Final = ("method", "path", "kind", "action")


def read_gateway(schema: Schema, document: Node, tenant: Tenant, vocabulary: Vocabulary) -> tuple[Route, ...]:
    """The routes, in file order. Refuses routes that match the same requests."""
    fields = schema.fields(document, "the gateway", required=("routes",))
    nodes = list(schema.items(fields.get("routes"), "`routes`"))
    if len(nodes) > ROUTES_LIMIT:
        schema.refuse(document, f"{len(nodes)} routes: expected at most {ROUTES_LIMIT}")
        return ()
    kinds = vocabulary.kinds_of(tenant)
    routes = tuple(route for node in nodes if (route := _route(schema, node, kinds)) is not None)
    try:
        RouteTable(routes)
    except SameRequestsError as error:
        route = error.route
        schema.report.add(
            schema.file,
            route.line,
            route.column,
            f"{error}, and so does line {error.other.line}: remove one of the two",
        )
    return routes


def _route(schema: Schema, node: Node, kinds: Mapping[Word, Kind]) -> Route | None:
    fields = schema.fields(node, "a route", _REQUIRED, optional=("namespace", "resource_id"))
    if any(key not in fields for key in _REQUIRED):
        return None
    methods = schema.name(fields["method"], "`method`", _methods)
    path = schema.name(fields["path"], "`path`", PathTemplate.parse)
    kind = _choice(schema, fields["kind"], "a kind of this tenant", kinds)
    if methods is None or path is None or kind is None:
        return None
    action = _choice(schema, fields["action"], f"an action of `{kind}`", kinds[kind].actions)
    namespace = _namespace(schema, node, fields.get("namespace"), kinds[kind], path)
    resource_id = _captured(schema, fields.get("resource_id"), "`resource_id`", path, parse_resource_id)
    if action is None or namespace is None or resource_id is None:
        return None
    return Route(methods, path, kind, action, namespace, resource_id, schema.file, node.line, node.column)


def _choice(schema: Schema, node: Node, what: str, words: Iterable[Word]) -> Word | None:
    text = schema.choice(node, what, sorted(words))
    return Word(text) if text is not None else None


def _methods(text: str) -> tuple[str, ...]:
    if text == ANY_METHOD:
        return (ANY_METHOD,)
    methods = text.split("|")
    for each in methods:
        if not is_method(each):
            raise InvalidNameError(
                f"`{quote(text)}` names no method: expected {METHOD_GRAMMAR}; several joined by `|`; or `{ANY_METHOD}`"
            )
    if len(set(methods)) < len(methods):
        raise InvalidNameError(f"`{quote(text)}` names one method twice")
    return tuple(methods)


def _namespace(schema: Schema, node: Node, field: Node | None, kind: Kind, path: PathTemplate) -> str | None:
    """The field `namespace`; None if it is wrong. A kind that lives in namespaces needs one."""
    if kind.namespaced and field is None:
        schema.refuse(node, f"a route lacks `namespace`: kind `{kind.name}` lives in namespaces")
        return None
    if field is not None and not kind.namespaced:
        schema.refuse(field, f"kind `{kind.name}` is of class `{kind.kind_class}`, so leave `namespace` out")
        return None
    return _captured(schema, field, "`namespace`", path, parse_namespace)


def _captured(
    schema: Schema, node: Node | None, what: str, path: PathTemplate, parse: Callable[[str], str]
) -> str | None:
    """A capture of the path, or a text that `parse` accepts; '' if the field is absent, None if it is wrong."""
    if node is None:
        return ""
    text = schema.text(node, what)
    if text is None or not text.startswith("{"):
        return schema.name(node, what, parse)
    if text not in path.captures:
        shown = ", ".join(f"`{each}`" for each in sorted(path.captures)) or "none"
        schema.refuse(node, f"`{quote(text)}` is no capture of `{path.text}`, which has {shown}")
        return None
    return text
