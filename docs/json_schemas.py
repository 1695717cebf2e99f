"""JSON schemas of the YAML files that people write, for editors. `docs/generate.py` writes them to `src/remit/schemas`.

Names, choices and limits are those of the readers. The keys are written here a second time: tests/test_schemas.py holds them
against the readers.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from remit.core.ages import is_age
from remit.core.authzen import EXTERNAL_LIMIT, PRINCIPAL_TYPES
from remit.core.gateway import ROUTES_LIMIT
from remit.core.names import NAMESPACE_LIMIT, RESOURCE_LIMIT, SEGMENT, is_principal, is_subject, is_word
from remit.core.policy import ResourceType
from remit.core.rows import Effect
from remit.core.vocabulary import KindClass
from remit.policy.read.authzen import FROM_CATALOGUE
from remit.policy.testing.cases import ACCESS_REASONS, GATEWAY_REASONS, REACH_REASONS
from remit.service.identities.certificate_names import NameType
from remit.service.identities.file import MOST_AGE_S, MOST_SKEW_S, MOST_TOKENS
from remit.service.identities.key_set import ALGORITHMS
from remit.service.limits import DEFAULT

Json = dict[str, Any]

_VERSION: Final = "https://json-schema.org/draft/2020-12/schema"


def _grammar(matches: Callable[[str], object]) -> str:
    """The pattern behind a `fullmatch`."""
    pattern: str = matches.__self__.pattern  # type: ignore[attr-defined]
    return f"^(?:{pattern})$"


def text(about: str = "", **constraints: Any) -> Json:
    """The readers take each scalar as text; YAML makes numbers and booleans of some."""
    return {"type": ["string", "number", "boolean"], **({"description": about} if about else {}), **constraints}


def choice(words: Iterable[str], about: str = "") -> Json:
    return {"enum": sorted(words), **({"description": about} if about else {})}


def items(of: Json, about: str = "", **constraints: Any) -> Json:
    return {"type": "array", "items": of, **({"description": about} if about else {}), **constraints}


def entries(key: Json, value: Json, about: str = "") -> Json:
    """A mapping with free keys."""
    names = {name: each for name, each in key.items() if name not in {"type", "description"}}
    return {
        "type": "object",
        **({"propertyNames": names} if names else {}),
        "additionalProperties": value,
        **({"description": about} if about else {}),
    }


def fields(required: Mapping[str, Json], optional: Mapping[str, Json] | None = None, about: str = "") -> Json:
    """A mapping with these keys."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": [*required],
        "additionalProperties": False,
        **({"description": about} if about else {}),
    }


BOOLEAN: Final[Json] = {"enum": [True, False, "true", "false"]}
WORD: Final = text(pattern=_grammar(is_word))
NAMESPACE: Final = text(pattern=rf"^{SEGMENT}(?:\.{SEGMENT})*$", maxLength=NAMESPACE_LIMIT)
PRINCIPAL: Final = text(pattern=_grammar(is_principal))
MEMBER: Final = text(pattern=_grammar(is_principal).replace("user|service", "user|service|group"))
TENANT: Final = text(pattern=r"^(?:[a-z0-9][a-z0-9_-]{0,62}|_instance|_callers)$")
RESOURCE: Final = text(pattern=rf"^[!-~]{{1,{RESOURCE_LIMIT}}}$")
EXTERNAL: Final = text(minLength=1, maxLength=EXTERNAL_LIMIT)
EFFECT: Final = choice(Effect)


def vocabulary() -> Json:
    kind = fields({"class": choice(KindClass, "Where things of this kind live."), "actions": items(WORD)})
    operand = fields({"kind": WORD, "action": WORD}, {"at": choice(["parent"])})
    return fields(
        {"kinds": entries(WORD, kind, "What can be acted on, and the actions.")},
        {
            "relations": entries(WORD, fields({}, {"inherited": BOOLEAN}), "How a namespace uses what another owns."),
            "operations": entries(WORD, items(operand, minItems=1), "Several checks under one name: all must allow."),
            "services": items(WORD, "Services that a dedicated resource may be denied to."),
        },
    )


def resources() -> Json:
    optional = {
        "type": text(),
        "read_only": BOOLEAN,
        "denied_services": items(WORD),
        "fallback": text(),
        "config": {"type": "object"},
    }
    resource = fields({"tenants": items(TENANT, "The tenants that may name it.")}, optional)
    return fields({}, {section: entries(RESOURCE, resource) for section in ResourceType})


def tenant() -> Json:
    dedicated = fields({}, {section: text() for section in ResourceType}, "The resources that serve this level.")

    def opened(what: str) -> Json:
        pattern = _grammar(is_subject).replace("user|service|group|role", what)
        starred = text(
            "A name, or how names begin and `*`.", pattern=pattern.replace("{1,256})$", r"{0,255}(?:\*|[^*]))$")
        )
        return items(starred, f"The {what}s that may be granted.")

    runtime = fields(
        {},
        {
            "roles": opened("role"),
            "groups": opened("group"),
            "scopes": items(text(maxLength=NAMESPACE_LIMIT), "Patterns: a scope of a row must lie within them."),
            "max_ttl": text("The longest life of a row, as `30d`.", pattern=_grammar(is_age), minLength=1),
            "suspend": text("A group with a deny, into which anybody may be put.", pattern="^group:"),
        },
        "Which rows may be granted at run time.",
    ) | {
        "anyOf": [{"required": [each]} for each in ("roles", "groups", "suspend")],
        "dependentRequired": {"roles": ["scopes"], "groups": ["scopes"]},
    }
    return fields(
        {},
        {
            "access": items(MEMBER, "Who may act in the tenant at all. Without the list: whoever has a binding."),
            "dedicated": dedicated,
            "namespaces": entries(NAMESPACE, fields({}, {"dedicated": dedicated})),
            "runtime": runtime,
        },
    )


def authzen() -> Json:
    by_property = fields({"property": EXTERNAL, "values": entries(text(), WORD)})
    actions = entries(EXTERNAL, {"anyOf": [WORD, by_property]})
    kind = fields({}, {"kind": WORD, "namespace": text(f"A template, or `{FROM_CATALOGUE}`."), "actions": actions})
    return fields(
        {},
        {
            "subjects": entries(EXTERNAL, choice(PRINCIPAL_TYPES)),
            "actions": actions,
            "types": entries(EXTERNAL, kind),
        },
    )


def gateway() -> Json:
    capture = text("A capture of the path: `{ns}`.", pattern=r"^\{")
    route = fields(
        {"method": text(), "path": text(), "kind": WORD, "action": WORD},
        {"namespace": {"anyOf": [NAMESPACE, capture]}, "resource_id": text("A text, or a capture of the path.")},
    )
    return fields({"routes": items(route, maxItems=ROUTES_LIMIT)})


def tests() -> Json:
    always = {"always": {**BOOLEAN, "description": "It must hold whatever is granted at run time."}}
    access = fields(
        {"principal": PRINCIPAL, "action": WORD, "kind": WORD, "expect": EFFECT},
        {"namespace": NAMESPACE, "reason": choice(ACCESS_REASONS), **always},
    )
    grid = fields(
        {"kind": WORD, "actions": items(WORD), "expect": entries(PRINCIPAL, items(EFFECT))},
        {"namespace": NAMESPACE, **always},
    )
    reach = fields(
        {"caller": NAMESPACE, "owner": NAMESPACE, "relation": WORD, "expect": EFFECT},
        {"reason": choice(REACH_REASONS)},
    )
    dedicated = fields(
        {"namespace": NAMESPACE, "resource": choice(ResourceType), "from": NAMESPACE},
        {"name": RESOURCE, "read_only": BOOLEAN, "service": WORD, "expect": EFFECT},
    ) | {"dependentRequired": {"service": ["expect"], "expect": ["service"]}}
    visible = fields(
        {
            "nodes": entries(text(), items(text(), "KIND and NAMESPACE", minItems=1, maxItems=2)),
            "expect": entries(PRINCIPAL, items(text())),
        },
        {
            "action": WORD,
            "edges": items(items(text(), "SOURCE, TARGET, RELATION, EFFECT", minItems=3, maxItems=4)),
            **always,
        },
    )
    properties = {"properties": {"type": "object"}}
    request = fields(
        {
            "subject": fields({"type": text(), "id": text()}, properties),
            "action": fields({"name": text()}, properties),
            "resource": fields({"type": text(), "id": text()}, properties),
            "expect": EFFECT,
        },
        {"context": {}, "reason": choice(ACCESS_REASONS), **always},
    )
    through_gateway = fields(
        {"request": text("As `GET /api/flows`.", pattern=r"^[A-Z-]+ /"), "principal": PRINCIPAL, "expect": EFFECT},
        {"reason": choice(GATEWAY_REASONS), **always},
    )
    return fields(
        {"name": text("What the file tests.")},
        {
            "access": items(access),
            "grids": items(grid),
            "reach": items(reach),
            "dedicated": items(dedicated),
            "visible": items(visible),
            "authzen": items(request),
            "gateway": items(through_gateway),
        },
    )


def identities() -> Json:
    def whole(least: int, most: int = 10**9) -> Json:
        return {"type": ["integer", "string"], "pattern": "^[0-9]{1,12}$", "minimum": least, "maximum": most}

    issuer = fields(
        {"issuer": text(), "audience": text(), "algorithms": items(choice(ALGORITHMS), minItems=1)},
        {
            "jwks": text(pattern="^https://"),
            "jwks_file": text(),
            "ca": text(),
            "skew_s": whole(0, MOST_SKEW_S),
            "max_age_s": whole(1, MOST_AGE_S),
            "require_bound": BOOLEAN,
        },
    ) | {"oneOf": [{"required": ["jwks"]}, {"required": ["jwks_file"]}], "dependentRequired": {"ca": ["jwks"]}}
    token = fields({"sha256": text(pattern="^[0-9A-Fa-f]{64}$")}, {"expires": text()})
    credentials = {
        **{each.value: text() for each in NameType},
        "jwt": entries(text(), text(), "The issuer, and the claims that a token must have.")
        | {"required": ["issuer"], "minProperties": 2},
        "token": items(token, minItems=1, maxItems=MOST_TOKENS),
    }
    template = {"anyOf": [PRINCIPAL, text(pattern=r"^(?:user|service):[^{}]*\{[^{}]+\}[^{}]*$")]}
    caller = fields(
        {"as": {"description": "A principal, or one with a claim: `user:{sub}`.", **template}}, credentials
    ) | {"oneOf": [{"required": [each]} for each in credentials]}
    limit = fields({}, {"rate": text("Questions a second."), "burst": whole(1), "in_flight": whole(1)}) | {
        "dependentRequired": {"burst": ["rate"]}
    }

    def limits(name: Json) -> Json:
        return entries({"anyOf": [{"const": DEFAULT}, name]}, limit)

    short_name = text(pattern=rf"^{SEGMENT}$", maxLength=63)
    return fields(
        {},
        {
            "issuers": entries(short_name, issuer),
            "callers": items(caller),
            "refused": items(text("A certificate's fingerprint.", pattern="^sha256:")),
            "limits": limits({"pattern": PRINCIPAL["pattern"]}),
            "tenant_limits": limits({"pattern": TENANT["pattern"]}),
        },
    )


SCHEMAS: Final[Mapping[str, tuple[str, Callable[[], Json]]]] = {
    "vocabulary": ("vocabulary.yaml: kinds, actions, relations, operations, services", vocabulary),
    "resources": ("resources.yaml: dedicated resources", resources),
    "tenant": ("TENANT/tenant.yaml: access list, resources of a tenant", tenant),
    "authzen": ("TENANT/authzen.yaml: names in AuthZEN requests", authzen),
    "gateway": ("TENANT/gateway.yaml: routes of a gateway", gateway),
    "tests": ("TENANT/tests/*.yaml: what must stay true", tests),
    "identities": ("identities.yaml: callers by certificate or token, and limits", identities),
}


def schemas() -> dict[str, str]:
    """The text of each schema, by its file name."""
    return {
        f"{name}.json": json.dumps({"$schema": _VERSION, "title": title, **make()}, indent=1) + "\n"
        for name, (title, make) in SCHEMAS.items()
    }
