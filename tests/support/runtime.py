"""A tenant whose files open rows at run time."""

from support.trees import Files

VOCABULARY = b"""\
kinds:
  FLOW: {class: namespace, actions: [VIEW, UPDATE]}
  BINDING: {class: tenant, actions: [CREATE, DELETE, GRANT_ANY]}
"""
ROLES = b"""\
p, role:viewer, acme, **, FLOW, VIEW, allow
p, role:editor, acme, **, FLOW, *, allow
p, role:granter, acme, **, BINDING, CREATE, allow
p, role:granter, acme, **, BINDING, DELETE, allow
p, role:owner, acme, **, BINDING, *, allow
p, group:suspended, acme, **, FLOW, *, deny
"""
BINDINGS = b"""\
g, user:alice, role:editor, acme
g, user:alice, role:granter, acme
g, user:bert, role:viewer, acme/a.**
g, user:bert, role:granter, acme
# remit: ignore privilege-escalation: an owner may grant anything
g, user:olga, role:owner, acme
g, user:carl, role:viewer, acme/b.**
g, group:team, role:viewer, acme/a.**
"""
RUNTIME = b"""\
runtime:
  roles: [role:viewer, role:editor]
  groups: [group:team]
  scopes: [a.**, b.**]
  suspend: group:suspended
"""
ALWAYS = b"""\
name: what must always hold
access:
  - {principal: user:mallory, action: UPDATE, kind: FLOW, namespace: b.secret, expect: deny, always: true}
"""


def files(**changed: bytes) -> Files:
    """`changed` replaces a file of the tenant, by its name without an ending."""
    found = {
        "vocabulary.yaml": VOCABULARY,
        "acme/roles.csv": ROLES,
        "acme/bindings.csv": BINDINGS,
        "acme/tenant.yaml": RUNTIME,
        "acme/tests/always.yaml": ALWAYS,
    }
    names = {"roles": "acme/roles.csv", "bindings": "acme/bindings.csv", "runtime": "acme/tenant.yaml"}
    return found | {names[name]: content for name, content in changed.items()}
