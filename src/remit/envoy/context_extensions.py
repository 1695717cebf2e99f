"""The question of a route, as Envoy's own configuration says it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from remit.core.errors import named, violation
from remit.core.gateway import ANY_METHOD, PathTemplate, Route, RouteTable
from remit.core.names import optional_namespace, parse_action, parse_kind, parse_resource_id
from remit.envoy.request import PREFIX, TENANT

KIND: Final = "remit.kind"
ACTION: Final = "remit.action"
NAMESPACE: Final = "remit.namespace"
RESOURCE_ID: Final = "remit.resource_id"
PATH: Final = "remit.path"
_FIELDS: Final = (KIND, ACTION, NAMESPACE, RESOURCE_ID, PATH)
_KNOWN: Final = frozenset((TENANT, *_FIELDS))
_EVERY_PATH: Final = "/**"
_ROUTES: Final = 1_024


def routes_in(extensions: Mapping[str, str]) -> RouteTable | None:
    """The one route that the context extensions describe; None if they leave it to gateway.yaml.

    Raises MalformedQuestionError, also if they describe a part of a route: half a route must not fall to gateway.yaml.
    """
    found = {key: text for key, text in extensions.items() if key.startswith(PREFIX)}
    for key in found.keys() - _KNOWN:
        raise violation(key, f"is no context extension of remit: expected {', '.join(sorted(_KNOWN))}")
    if found.keys() <= {TENANT}:
        return None
    return _routes(*(found.get(key, "") for key in _FIELDS))


@lru_cache(_ROUTES)
def _routes(kind: str, action: str, namespace: str, resource_id: str, path: str) -> RouteTable:
    template = named(PATH, PathTemplate.parse, path or _EVERY_PATH)
    for key, text in ((NAMESPACE, namespace), (RESOURCE_ID, resource_id)):
        if text.startswith("{") and text not in template.captures:
            raise violation(key, f"`{text}` is no capture of `{PATH}`, which is `{template.text}`")
    if not namespace.startswith("{"):
        named(NAMESPACE, optional_namespace, namespace)
    route = Route(
        (ANY_METHOD,),
        template,
        named(KIND, parse_kind, kind),
        named(ACTION, parse_action, action),
        namespace,
        named(RESOURCE_ID, parse_resource_id, resource_id),
    )
    return RouteTable((route,))
