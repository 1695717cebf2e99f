"""The starter of the folder `_callers`: four roles, no binding yet, and a test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from remit.core.names import CALLERS
from remit.core.policy import Policy
from remit.core.vocabulary import EMPTY_VOCABULARY
from remit.policy.load import Root, read_policy
from remit.policy.read.tree import BINDINGS, ROLES, TESTS, Folder, Tree

_ROLES: Final = """\
# What each role may ask of the server. In this folder a namespace is a tenant.
#
# REMIT is one tenant. REMIT_INSTANCE is the instance: `_instance`, `_callers`, and calls about all tenants at once.
# A binding on `_callers/acme` counts in tenant acme, one on `_callers/*` in every tenant: for REMIT only.
# A binding on the whole of `_callers` counts for both.

# Enforcer: a service that asks, and acts by the answer.
# Reader: people who look after the policies. They see who may do what, and by which row.
# Auditor: reads what was decided, and why.
# Operator: sees the state of the server, and pins revisions.

# p, subject,       tenant,   namespaces, kind,                 actions,                                          effect
p,   role:enforcer, _callers, **,         REMIT|REMIT_INSTANCE, CHECK|LIST|RESOLVE|WATCH,                         allow
p,   role:reader,   _callers, **,         REMIT|REMIT_INSTANCE, CHECK|LIST|RESOLVE|WATCH|STATUS|WHO|EXPLAIN|READ, allow
p,   role:auditor,  _callers, **,         REMIT|REMIT_INSTANCE, STATUS|AUDIT|EXPLAIN,                             allow
p,   role:operator, _callers, **,         REMIT|REMIT_INSTANCE, STATUS|PIN,                                       allow
"""

_BINDINGS: Final = """\
# Which caller holds which role, and about which tenants. Nobody is bound yet, so nobody may ask anything.
# Take the `#` away from a row to use it. `remit callers propose` writes rows from what the audit recorded.

# g, member, holds, scope
# A service that asks about every tenant:
# g, service:orchestrator, role:enforcer, _callers/*

# A service that asks about one tenant, by the name in its certificate:
# g, service:dns/shop.example, role:enforcer, _callers/acme
# g, service:spiffe://acme.example/shop, role:enforcer, _callers/acme

# People, by their group:
# g, user:ada, group:platform, _callers
# g, group:platform, role:operator, _callers

# A wall inside a wide grant. A deny wins over every allow:
# p, subject, tenant, namespaces, kind, actions, effect
# p, service:orchestrator, _callers, globex, REMIT, *, deny
"""

_TESTS: Final = """\
# Add a case for each caller: what it may ask, and the tenants that it must not reach.
name: who may ask
access:
  - {principal: service:stranger, action: CHECK, kind: REMIT, namespace: acme, expect: deny, reason: NO_BINDING}
  - {principal: service:stranger, action: STATUS, kind: REMIT_INSTANCE, expect: deny, reason: NO_BINDING}
"""

STARTER: Final[Mapping[str, str]] = {
    f"{CALLERS}/{ROLES}": _ROLES,
    f"{CALLERS}/{BINDINGS}": _BINDINGS,
    f"{CALLERS}/{TESTS}/callers.yaml": _TESTS,
}
"""The files by path below the policy directory."""


def starter_text() -> str:
    """All files of the starter, for a terminal: each below a line with its path."""
    return "\n".join(f"--- {path}\n{text}" for path, text in STARTER.items())


def starter_policy() -> Policy:
    folder = Folder(CALLERS, {path: text.encode() for path, text in STARTER.items()})
    return read_policy(Tree(Folder(""), {CALLERS: folder}), CALLERS, Root(EMPTY_VOCABULARY, (), {}))


def write_starter(directory: Path) -> Path:
    """Writes the folder `_callers` into a policy directory, and returns its path. Raises OSError.

    A server that scans meanwhile finds the whole folder or none.
    """
    folder = directory / CALLERS
    if folder.exists():
        raise FileExistsError(folder)
    # The loader ignores a name that begins with a dot.
    begun = directory / f".{CALLERS}.new"
    for path, text in STARTER.items():
        file = begun / Path(path).relative_to(CALLERS)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return begun.rename(folder)
