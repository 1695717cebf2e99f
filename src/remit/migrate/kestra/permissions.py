"""Kestra's permissions as kinds and actions: the vocabulary of 2.0, and the migration of 1.x."""

from collections.abc import Mapping
from typing import Final

from remit.core.names import Word
from remit.core.vocabulary import Kind, KindClass

_CRUD: Final = "VIEW LIST CREATE UPDATE DELETE"

NAMESPACED: Final = {
    "FLOW": f"{_CRUD} EXECUTE DISABLE ENABLE VALIDATE EXPORT IMPORT PROMOTE",
    "EXECUTION": "VIEW LIST UPDATE DELETE RESTART KILL REPLAY PAUSE RESUME CHANGE_LABELS ACCESS_LOGS ACCESS_OUTPUTS "
    "ACCESS_FILES FOLLOW EXPORT UNQUEUE FORCE_RUN",
    "TRIGGER": "VIEW LIST DELETE UNLOCK RESTART DISABLE ENABLE EXPORT BACKFILL",
    "NAMESPACE": f"{_CRUD} MANAGE_FILES",
    "KVSTORE": _CRUD,
    "SECRET": "VIEW LIST UPDATE DELETE",
    "CREDENTIAL": _CRUD,
    "REUSABLE_INPUTS": _CRUD,
    "APP": f"{_CRUD} EXECUTE ACCESS_FILES ACCESS_LOGS",
    "TESTSUITE": f"{_CRUD} EXECUTE",
    "ASSET": "VIEW LIST CREATE DELETE",
    "CASE": f"{_CRUD} FOLLOW TEMPLATE",
    "POLICY": f"{_CRUD} EXECUTE EXPORT IMPORT",
}
"""A binding on a namespace limits these, in Kestra and here."""

DELEGATED: Final = {"BINDING": "VIEW LIST CREATE DELETE"}
"""A binding on a namespace limits these in Kestra. Here they have class tenant."""

TENANT_WIDE: Final = {
    "USER": f"{_CRUD} MANAGE_GROUP_MEMBERSHIP IMPERSONATE",
    "GROUP": f"{_CRUD} MANAGE_MEMBERS",
    "ROLE": _CRUD,
    "SERVICE_ACCOUNT": _CRUD,
    "INVITATION": "VIEW LIST CREATE DELETE",
    "DASHBOARD": _CRUD,
    "AUDITLOG": "VIEW LIST EXPORT",
    "COPILOT": "USE",
    "SYSTEM_SETTINGS": "VIEW UPDATE",
    "TENANT_SETTINGS": "VIEW UPDATE",
}
"""In Kestra, a binding on a namespace grants these in the whole tenant. Here it does not."""

TENANT_ONLY: Final = {"BLUEPRINT": _CRUD, "MCP_SERVER": _CRUD, "PROMOTION_TARGET": _CRUD}
"""Only a binding on the whole tenant grants these, in Kestra and here."""

INSTANCE: Final = frozenset({"TENANT", "WORKER_GROUP", "WORKER_QUEUE", "VERSIONED_PLUGIN", "KILL_SWITCH", "INSTANCE"})
"""No role grants these."""

UNDOCUMENTED: Final = frozenset(
    {"SUPPORT", "APP_EXECUTION", "NAMESPACE_FILE", "TESTSUITE_RUN", "TENANT_ACCESS", "SECURITY_INTEGRATION", "UNKNOWN"}
)
"""Kestra documents no action of these."""

TWINS: Final = {
    "NAMESPACE": ("TENANT_NAMESPACE", "CREATE DELETE"),
    "CREDENTIAL": ("TENANT_CREDENTIAL", _CRUD),
    "ASSET": ("TENANT_ASSET", NAMESPACED["ASSET"]),
    "POLICY": ("TENANT_POLICY", NAMESPACED["POLICY"]),
}
"""Kinds that also exist without a namespace: the twin of class tenant, and its actions."""

ACTIONS: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(actions.split()) for kind, actions in (NAMESPACED | DELEGATED | TENANT_WIDE | TENANT_ONLY).items()
}
"""The kinds and actions that a 2.0 role may hold."""

UNCHECKED: Final = frozenset(
    {
        "LOCK",
        "UNKNOWN",
        "CREATE",
        "VIEW",
        "LIST",
        "UPDATE",
        "DELETE",
        "EXPORT_PLUGIN_DEFAULTS",
        "IMPORT_PLUGIN_DEFAULTS",
    }
)
"""Actions that a role may carry for a kind that never checks them."""

_READ: Final = ("VIEW", "LIST")
_PLAIN: Final = {"READ": _READ, "CREATE": ("CREATE",), "UPDATE": ("UPDATE",), "DELETE": ("DELETE",)}
_SPECIAL: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "FLOW": {
        "READ": (*_READ, "EXPORT"),
        "CREATE": ("CREATE", "IMPORT"),
        "UPDATE": ("UPDATE", "EXECUTE", "DISABLE", "ENABLE", "VALIDATE"),
    },
    "EXECUTION": {
        "READ": (*_READ, "ACCESS_LOGS", "ACCESS_OUTPUTS", "ACCESS_FILES", "EXPORT", "FOLLOW"),
        "CREATE": (),
        "UPDATE": (
            *("UPDATE", "RESTART", "KILL", "REPLAY", "PAUSE", "RESUME", "CHANGE_LABELS", "UNQUEUE", "FORCE_RUN"),
        ),
    },
    "TRIGGER": {
        "READ": (*_READ, "EXPORT"),
        "UPDATE": ("UNLOCK", "RESTART", "DISABLE", "ENABLE", "BACKFILL"),
    },
    # Kestra's table names the plugin defaults, which 2.0 has replaced by policies.
    "NAMESPACE": {
        "READ": (*_READ, "EXPORT_PLUGIN_DEFAULTS"),
        "UPDATE": ("UPDATE", "MANAGE_FILES", "IMPORT_PLUGIN_DEFAULTS"),
    },
    "APP": {"UPDATE": ("UPDATE", "EXECUTE", "ACCESS_FILES", "ACCESS_LOGS")},
    "AUDITLOG": {"READ": (*_READ, "EXPORT"), "CREATE": (), "UPDATE": (), "DELETE": ()},
    "SYSTEM_SETTINGS": {"READ": ("VIEW",)},
    "TENANT_SETTINGS": {"READ": ("VIEW",)},
    "COPILOT": {"READ": ("USE",), "CREATE": (), "UPDATE": (), "DELETE": ()},
    "USER": {"UPDATE": ("UPDATE", "MANAGE_GROUP_MEMBERSHIP")},
    "GROUP": {"UPDATE": ("UPDATE", "MANAGE_MEMBERS")},
}
_RENAMED: Final[Mapping[str, tuple[str, ...]]] = {
    "APPEXECUTION": ("APP",),
    "SETTING": ("SYSTEM_SETTINGS", "TENANT_SETTINGS"),
    "AI_COPILOT": ("COPILOT",),
    "TENANT_ACCESS": ("USER",),
    "GROUP_MEMBERSHIP": ("GROUP",),
    "TEST": ("TESTSUITE",),
}

MERGED: Final = frozenset({"APPEXECUTION", "TENANT_ACCESS", "GROUP_MEMBERSHIP"})
"""1.x permissions that become part of a wider one."""
SPLIT: Final[Mapping[tuple[str, str], str]] = {
    ("FLOW", "READ"): "reading namespace files (NAMESPACE MANAGE_FILES) and triggers (TRIGGER VIEW and LIST)",
    ("FLOW", "UPDATE"): "writing namespace files (NAMESPACE MANAGE_FILES)",
    ("TEST", "CREATE"): "running tests (TESTSUITE EXECUTE)",
}
"""What a verb of a 1.x permission covered and 2.0 requires another permission for."""

DROPPED: Final = frozenset({"TEMPLATE", "IMPERSONATE", "INFRASTRUCTURE", "ME", "APITOKEN", "UNKNOWN"})
"""1.x permissions without a counterpart in 2.0."""

PERMISSIONS: Final = (
    DROPPED
    | _RENAMED.keys()
    | {
        *("FLOW", "BLUEPRINT", "NAMESPACE", "EXECUTION", "TRIGGER", "USER", "GROUP", "ROLE", "BINDING", "AUDITLOG"),
        *("SECRET", "KVSTORE", "APP", "ASSET", "DASHBOARD", "SERVICE_ACCOUNT", "INVITATION", "CREDENTIAL"),
    }
)
"""The permissions that a 1.x role may hold, each with these verbs."""
VERBS: Final = frozenset(_PLAIN)


def migrated(permission: str, verb: str) -> dict[str, tuple[str, ...]]:
    """The 2.0 actions, by kind, to which the migration maps one verb of a 1.x permission.

    They include actions that 2.0 checks nowhere.
    """
    return {
        kind: _SPECIAL.get(kind, {}).get(verb, _PLAIN[verb])
        for kind in _RENAMED.get(permission, (permission,))
        if permission not in DROPPED
    }


def kinds() -> list[Kind]:
    """Every kind that a role may name, with its class here, and the twins."""
    twins = dict(TWINS.values())
    classes = {
        KindClass.NAMESPACE: NAMESPACED,
        KindClass.TENANT: DELEGATED | TENANT_WIDE | TENANT_ONLY | twins,
    }
    return [
        Kind(Word(name), kind_class, frozenset(map(Word, actions.split())))
        for kind_class, named in classes.items()
        for name, actions in named.items()
    ]
