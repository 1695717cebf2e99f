"""What the loader refuses (policy-language section 2): files, and where each diagnostic stands and what it says."""

from itertools import pairwise

import pytest
from support.trees import load, snapshot_of, tree_of

from remit.core.diagnostics import PolicyError
from remit.core.names import Subject
from remit.core.patterns import NamespacePattern
from remit.core.runtime import Runtime
from remit.policy.load import load_root

VOCABULARY = b"""\
kinds:
  FLOW: {class: namespace, actions: [VIEW, UPDATE, EXECUTE]}
  SECRET: {class: namespace, actions: [VIEW]}
  BLUEPRINT: {class: tenant, actions: [VIEW]}
  TENANT: {class: instance, actions: [VIEW]}
relations: {SUBFLOW: {}, KV: {inherited: true}}
"""
RESOURCES = b"storage: {ours: {tenants: [acme]}, theirs: {tenants: [globex]}}\n"
BASE = {
    "vocabulary.yaml": VOCABULARY,
    "resources.yaml": RESOURCES,
    "roles.csv": b"p, role:viewer, *, **, *, VIEW, allow\n",
}

ROW = "p, role:dev, acme, **, FLOW, VIEW, allow\n"


def chain(count: int) -> str:
    """Rows of one chain of g rows from a user to a role."""
    names = ["user:a", *(f"group:g{number}" for number in range(count - 1)), "role:viewer"]
    return "".join(f"g, {member}, {holds}, acme\n" for member, holds in pairwise(names))


# file of acme, its content, and for each diagnostic its place and a part of its message
ACCESS_ROWS = {
    "unknown ptype": ("roles.csv", "p2, role:dev, acme\n", ["1:1: unknown row type `p2`: expected `p` or `g`"]),
    "a row type in capitals": (
        "bindings.csv",
        "G, user:a, role:viewer, acme\n",
        ["expected `p` or `g`; did you mean `g`?"],
    ),
    "too few fields": (
        "roles.csv",
        "p, role:dev, acme, **, FLOW, VIEW\n",
        ["1:1: 5 fields behind `p`, expected 6: subject, tenant, namespaces, kind, actions, effect"],
    ),
    "too many fields of a rule": (
        "roles.csv",
        ROW.replace("allow", "allow, deny"),
        ["1:1: 7 fields behind `p`, expected 6"],
    ),
    "too many fields": ("bindings.csv", "g, user:a, role:viewer, acme, x\n", ["1:1: 4 fields behind `g`, expected 3"]),
    "a reach row among roles": (
        "roles.csv",
        "p, acme, a.**, b.**, SUBFLOW\n" + "p, acme, a.**, b.**, SUBFLOW, allow\n",
        ["1:1: 4 fields behind `p`", "2:1: 5 fields behind `p`, expected 6"],
    ),
    "other effect": (
        "roles.csv",
        ROW.replace("allow", "Allow"),
        ["1:36: `Allow` is not an effect: expected `allow` or"],
    ),
    "comment at a row's end": (
        "roles.csv",
        ROW[:-1] + " # why\n",
        ["1:36: `allow # why` is not an effect: expected `allow` or `deny`; a comment needs its own line"],
    ),
    "comment at the end of a g row": (
        "bindings.csv",
        "g, user:a, role:viewer, acme # why\n",
        ["1:25: tenant `acme # why`: a row speaks of its folder's tenant, `acme`; a comment needs its own line"],
    ),
    "a star behind a name": (
        "bindings.csv",
        "g, user:a, role:viewer, acme/a.b*\ng, user:a, role:viewer, acme/a.b.*.*.**.x\n",
        ["1:25: `a.b*` is not a namespace pattern", "or `**` alone; at most 150 characters; did you mean `a.b.**`?"],
    ),
    "a name in capitals": (
        "roles.csv",
        ROW.replace("**", "Team.Data.**"),
        ["1:20: `Team.Data.**` is not a namespace pattern", "; did you mean `team.data.**`?"],
    ),
    "every field at once": (
        "roles.csv",
        "p, dev, acm, a..b, FLOWS, VEIW, alow\n" + ROW.replace("VIEW", "VEIW").replace("allow", "alow"),
        [
            "1:4: `dev` is not a subject",
            "1:9: tenant `acm`",
            "1:14: `a..b` is not a namespace pattern",
            "1:20: unknown kind `FLOWS`",
            "1:33: `alow` is not an effect",
            "2:30: kind `FLOW` has no action `VEIW`",
            "2:36: `alow` is not an effect",
        ],
    ),
    "what is off in two fields together, and another": (
        "roles.csv",
        "p, role:dev, acme, a.b, BLUEPRINT, VIEW, alow\n",
        ["1:20: `a.b` for kinds without namespace", "1:42: `alow` is not an effect"],
    ),
    "a member and a scope": (
        "bindings.csv",
        "g, bob, role:viewer, acm/a\n",
        ["1:4: `bob` is not a subject", "; did you mean `user:bob` or `role:bob`?", "1:22: tenant `acm`"],
    ),
    "subject outside the grammar": ("roles.csv", ROW.replace("role:dev", "dev"), ["1:4: `dev` is not a subject"]),
    "subject with a bracket": ("roles.csv", ROW.replace("role:dev", "role:d(v"), ["1:4: `role:d(v` is not a subject"]),
    "quoted field": ("roles.csv", ROW.replace("role:dev", '"role:dev"'), ['1:4: `"role:dev"` is not a subject']),
    "subject too long": ("roles.csv", ROW.replace("dev", "x" * 257), ["1:4: `role:xxx"]),
    "pattern with half a star": ("roles.csv", ROW.replace("**", "a*.b"), ["1:20: `a*.b` is not a namespace pattern"]),
    "star star in the middle": (
        "roles.csv",
        ROW.replace("**", "a.**.b"),
        ["1:20: `a.**.b` is not a namespace pattern"],
    ),
    "pattern with a capital": (
        "roles.csv",
        ROW.replace("**", "Acme.**"),
        ["1:20: `Acme.**` is not a namespace pattern"],
    ),
    "pattern too long": ("roles.csv", ROW.replace("**", "a" * 151), ["1:20: `aaaa"]),
    "unknown kind": ("roles.csv", ROW.replace("FLOW", "FLOWS"), ["1:24: unknown kind `FLOWS`; did you mean `FLOW`?"]),
    "kind in another case": ("roles.csv", ROW.replace("FLOW", "Flow"), ["1:24: unknown kind `Flow`"]),
    "kind of the instance": (
        "roles.csv",
        ROW.replace("FLOW", "TENANT"),
        ["1:24: kind `TENANT` is of class `instance`: it lives in `_instance` only"],
    ),
    "unknown action": (
        "roles.csv",
        ROW.replace("VIEW", "VEIW"),
        ["1:30: kind `FLOW` has no action `VEIW`; did you mean `VIEW`?"],
    ),
    "action that one of the kinds lacks": (
        "roles.csv",
        ROW.replace("FLOW", "FLOW|SECRET").replace("VIEW", "UPDATE"),
        ["1:37: kind `SECRET` has no action `UPDATE`"],
    ),
    "action that no kind has": (
        "roles.csv",
        ROW.replace("FLOW", "*").replace("VIEW", "FLY"),
        ["1:27: no kind has action `FLY`"],
    ),
    "choice with a blank": (
        "roles.csv",
        ROW.replace("VIEW", "VIEW |UPDATE"),
        ["1:30: `VIEW |UPDATE`: expected one action"],
    ),
    "choice with a repeat": ("roles.csv", ROW.replace("VIEW", "VIEW|VIEW"), ["1:30: `VIEW|VIEW`: expected one action"]),
    "choice with a star": ("roles.csv", ROW.replace("VIEW", "VIEW|*"), ["1:30: `VIEW|*`: expected one action"]),
    "choice with a gap": ("roles.csv", ROW.replace("FLOW", "FLOW|"), ["1:24: `FLOW|`: expected one kind"]),
    "empty field": ("roles.csv", ROW.replace("FLOW", ""), ["1:24: ``: expected one kind"]),
    "another tenant's row": (
        "roles.csv",
        ROW.replace("acme", "globex"),
        ["1:14: tenant `globex`: a row speaks of its folder's"],
    ),
    "a managed role's tenant": ("roles.csv", ROW.replace("acme", "*"), ["1:14: tenant `*`"]),
    "another tenant's scope": ("bindings.csv", "g, user:a, role:viewer, globex/a\n", ["1:25: tenant `globex`"]),
    "a scope without its tenant": (
        "bindings.csv",
        "g, user:a, role:viewer, a.b\n",
        ["1:25: tenant `a.b`: a row speaks of its folder's tenant, `acme`; a part of it is written `acme/a.b`"],
    ),
    "whole tenant written as a pattern": (
        "bindings.csv",
        "g, user:a, role:viewer, acme/**\n",
        ["1:25: `acme/**`: write `acme` for the whole tenant"],
    ),
    "scope that is no pattern": (
        "bindings.csv",
        "g, user:a, role:viewer, acme/a.\n",
        ["1:25: `a.` is not a namespace pattern"],
    ),
    "scope with an empty pattern": (
        "bindings.csv",
        "g, user:a, role:viewer, acme/\n",
        ["1:25: `` is not a namespace pattern"],
    ),
    "namespaces of a kind that has none": (
        "roles.csv",
        ROW.replace("**", "a.**").replace("FLOW", "BLUEPRINT"),
        ["1:20: `a.**` for kinds without namespace: expected `**`"],
    ),
    "not ASCII": ("roles.csv", ROW.replace("dev", "dév"), ["1:10: `é` in a row: rows are ASCII"]),
    "a role that holds a group": (
        "bindings.csv",
        "g, role:viewer, group:x, acme\n",
        ["1:17: `role:viewer` cannot hold `group:x`"],
    ),
    "a group that holds a user": (
        "bindings.csv",
        "g, group:x, user:a, acme\n",
        ["1:13: `group:x` cannot hold `user:a`"],
    ),
    "a role bound and defined nowhere": (
        "bindings.csv",
        "g, user:a, role:viewr, acme\n",
        ["1:12: role `role:viewr` is bound but defined nowhere", "did you mean `role:viewer`?"],
    ),
    "a role included and defined nowhere": (
        "bindings.csv",
        "g, role:own, role:none, acme\n",
        ["1:14: role `role:none` is bound but defined nowhere"],
    ),
    "a managed role extended by a rule": (
        "roles.csv",
        ROW.replace("dev", "viewer"),
        ["1:4: `role:viewer` is a managed role"],
    ),
    "a managed role extended by an inclusion": (
        "bindings.csv",
        ROW + "g, role:viewer, role:dev, acme\n",
        ["2:4: `role:viewer` is a managed role: a tenant may bind and include it, never extend it"],
    ),
    "a cycle in groups": (
        "bindings.csv",
        "g, group:a, group:b, acme\ng, group:b, group:c, acme/x\ng, group:c, group:a, acme\n",
        ["a cycle: group:a -> group:b -> group:c -> group:a"],
    ),
    "a role in itself": ("bindings.csv", "g, role:a, role:a, acme\n", ["a cycle: role:a -> role:a"]),
    "two cycles": (
        "bindings.csv",
        "g, group:a, group:b, acme\ng, group:b, group:a, acme\ng, role:c, role:d, acme\ng, role:d, role:c, acme\n",
        ["a cycle: group:a -> group:b -> group:a", "a cycle: role:c -> role:d -> role:c"],
    ),
    "a chain of ten": (
        "bindings.csv",
        chain(10),
        [
            "a chain of 10 g rows, expected at most 9: user:a -> group:g0 -> group:g1 -> ",
            " -> group:g8 -> role:viewer (acme",
        ],
    ),
}
REACH_ROWS = {
    "an access row": (
        "reach.csv",
        ROW,
        ["1:1: 6 fields behind `p`, expected 5: tenant, caller, owner, relation, effect"],
    ),
    "a g row": ("reach.csv", "g, user:a, role:viewer, acme\n", ["1:1: a `g` row in reach.csv: expected `p`"]),
    "unknown relation": (
        "reach.csv",
        "p, acme, a, b, SUBFLOWS, allow\n",
        ["1:16: unknown relation `SUBFLOWS`; did you mean `SUBFLOW`?"],
    ),
    "every field at once": (
        "reach.csv",
        "p, acm, a..b, *b, KVS, alow\n",
        [
            "1:4: tenant `acm`",
            "1:9: `a..b` is not",
            "1:15: `*b` is not",
            "1:19: unknown relation `KVS`",
            "1:24: `alow` is not an effect",
        ],
    ),
    "another tenant": ("reach.csv", "p, globex, a, b, KV, allow\n", ["1:4: tenant `globex`"]),
    "a row that one before it covers": (
        "reach.csv",
        "p, acme, a.**, **, *, deny\np, acme, a.b, b, KV, allow\n",
        ["2:1: `p, acme, a.b, b, KV, allow` can never decide: acme/reach.csv:1 covers it"],
    ),
    "a row twice": (
        "reach.csv",
        "p, acme, a, b, KV, allow\n" * 2,
        ["2:1: `p, acme, a, b, KV, allow` can never decide"],
    ),
}
MANIFESTS = {
    "unknown key": ("tenant.yaml", "acess: []\n", ["1:1: unknown key `acess`", "did you mean `access`?"]),
    "a role on the access list": ("tenant.yaml", "access: [role:viewer]\n", ["1:10: `role:viewer` on the access list"]),
    "an access list that is a text": ("tenant.yaml", "access: user:a\n", ["1:9: expected `access` as a list"]),
    "a namespace outside the grammar": ("tenant.yaml", "namespaces: {A.b: {}}\n", ["1:14: `A.b` is not a namespace"]),
    "a resource of nobody": (
        "tenant.yaml",
        "dedicated: {storage: nowhere}\n",
        ["1:22: no storage resource `nowhere` is open to `acme`"],
    ),
    "a resource of another tenant": (
        "tenant.yaml",
        "dedicated: {storage: theirs}\n",
        ["1:22: no storage resource `theirs` is open to `acme`"],
    ),
    "an empty file": ("tenant.yaml", "", ["1:1: expected a mapping at the top"]),
}
SUSPENDED = (
    "p, group:suspended, acme, **, *, *, deny\ng, user:a, role:dev, acme\np, role:dev, acme, **, FLOW, VIEW, allow\n"
)
BINDINGS = {
    "vocabulary.yaml": b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n  BINDING: {class: tenant, actions: [CREATE, DELETE]}\n",
    "acme/bindings.csv": f"{SUSPENDED}g, group:idle, role:dev, acme\n".encode(),
}
RUNTIME = {
    "nothing opened": ("{}", ["1:10: `runtime` opens nothing: expected `roles`, `groups` or `suspend`"]),
    "a life of nothing in particular": ("{max_ttl: 30d}", ["1:10: `runtime` opens nothing"]),
    "a list": ("[role:dev]", ["1:10: expected `runtime` as a mapping"]),
    "an unknown key": (
        "{role: [role:dev]}",
        ["1:11: unknown key `role` in `runtime`", "expected `roles`", "did you mean `roles`?"],
    ),
    "a role without its prefix": (
        "{roles: [dev], scopes: ['**']}",
        [
            "1:19: `dev` is not a role: expected `role:` with an ID, or how IDs begin and `*`; did you mean `role:dev`?",
        ],
    ),
    "an unknown role": (
        "{roles: [role:dex], scopes: ['**']}",
        ["1:19: unknown role `role:dex`: expected one that the files name; did you mean `role:dev`?"],
    ),
    "an unknown group": (
        "{groups: [group:suspendes], scopes: ['**']}",
        ["1:20: unknown group `group:suspendes`", "did you mean `group:suspended`?"],
    ),
    "a group as a role": ("{roles: [group:suspended], scopes: ['**']}", ["1:19: `group:suspended` is not a role"]),
    "a star within a name": ("{roles: ['role:*v'], scopes: ['**']}", ["1:19: `role:*v` is not a role"]),
    "no scopes": ("{roles: [role:dev]}", ["1:10: `runtime` lacks `scopes`: expected patterns"]),
    "a scope that is no pattern": (
        "{roles: [role:dev], scopes: [acme.**.x]}",
        ["1:39: `acme.**.x` is not a namespace pattern"],
    ),
    "a life that is no span": (
        "{roles: [role:dev], scopes: ['**'], max_ttl: 30}",
        ["1:55: `30` is no span of time: expected one such as `30d` or `12h`"],
    ),
    "a life of nothing": ("{suspend: group:suspended, max_ttl: 0d}", ["1:46: `0d` is no span of time"]),
    "an unknown suspend group": (
        "{suspend: group:suspende}",
        ["1:20: unknown group `group:suspende`: expected one that a row names; did you mean `group:suspended`?"],
    ),
    "a suspend group that denies nothing": (
        "{suspend: group:idle}",
        ["1:20: `group:idle` denies nothing", "such as `p, group:idle, acme, **, *, *, deny`"],
    ),
}


@pytest.mark.parametrize(("runtime", "expected"), RUNTIME.values(), ids=RUNTIME)
def test_runtime_is_refused(runtime: str, expected: list[str]) -> None:
    loaded = load({**BINDINGS, "acme/tenant.yaml": f"runtime: {runtime}\n".encode()}, "acme")
    told = "\n".join(map(str, loaded.diagnostics))

    assert (loaded.snapshot, len(loaded.diagnostics)) == (None, 1), told
    assert [part for part in expected if part not in told] == []
    assert told.startswith("acme/tenant.yaml:")


def test_runtime_is_read() -> None:
    """A group that only the access list names is known; a group may deny through a role."""
    manifest = (
        b"access: [group:listed]\n"
        b"runtime:\n"
        b"  roles: [role:dev, 'role:d*', 'role:*']\n"
        b"  groups: [group:listed, 'group:i*']\n"
        b"  scopes: [acme.**, 'b.*']\n"
        b"  max_ttl: 1d12h\n"
        b"  suspend: group:out\n"
    )
    rows = b"p, role:none, acme, **, FLOW, *, deny\ng, group:out, role:none, acme\n"
    files = {**BINDINGS, "acme/roles.csv": rows, "acme/tenant.yaml": manifest}

    scopes = (NamespacePattern.parse("acme.**"), NamespacePattern.parse("b.*"))
    opened = ("role:dev", "role:d*", "role:*"), ("group:listed", "group:i*")
    assert Runtime(*opened, scopes, 129_600, Subject("group:out")) == snapshot_of(files, "acme").policy.runtime


def test_names_under_runtime_are_not_looked_for_while_a_row_is_wrong() -> None:
    files = {
        **BINDINGS,
        "acme/roles.csv": b"p, role:new, acme, **, FLOP, *, allow\n",
        "acme/tenant.yaml": b"runtime: {roles: [role:new], scopes: ['**'], suspend: group:new}\n",
    }

    assert ["acme/roles.csv:1:24"] == [str(each).partition(": ")[0] for each in load(files, "acme").diagnostics]


@pytest.mark.parametrize("kind", [b"", b"  BINDING: {class: tenant, actions: [CREATE]}\n"])
def test_runtime_needs_the_words_that_say_who_may_grant(kind: bytes) -> None:
    files = {
        **BINDINGS,
        "vocabulary.yaml": b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n" + kind,
        "acme/tenant.yaml": b"runtime: {suspend: group:suspended}\n",
    }
    (told,) = load(files, "acme").diagnostics

    assert str(told).startswith(
        "acme/tenant.yaml:1:10: `runtime` needs the kind `BINDING` with the actions `CREATE` and `DELETE`"
    )


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [pytest.param(*row, id=name) for table in (ACCESS_ROWS, REACH_ROWS, MANIFESTS) for name, row in table.items()],
)
def test_tenant_is_refused(file: str, content: str, expected: list[str]) -> None:
    """The folder does not load, and the diagnostic names the place, the text and what was expected."""
    loaded = load({**BASE, f"acme/{file}": content.encode()}, "acme")
    told = "\n".join(map(str, loaded.diagnostics))
    assert loaded.snapshot is None
    for part in expected:
        assert (f"acme/{file}:{part}" if part[0].isdigit() else part) in told


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [pytest.param(*row, id=name) for table in (ACCESS_ROWS, REACH_ROWS) for name, row in table.items()],
)
def test_each_diagnostic_has_a_line_and_a_column(file: str, content: str, expected: list[str]) -> None:
    """Whatever is wrong with a row, its place is file:line:column."""
    for diagnostic in load({**BASE, f"acme/{file}": content.encode()}, "acme").diagnostics:
        assert f"acme/{file}" == diagnostic.file
        assert diagnostic.line > 0
        assert diagnostic.column > 0


ROOTS = {
    "no vocabulary": ({"vocabulary.yaml": b""}, ["vocabulary.yaml:1:1: expected a mapping at the top"]),
    "a vocabulary without kinds": (
        {"vocabulary.yaml": b"relations: {}\n"},
        ["vocabulary.yaml:1:1: the vocabulary lacks `kinds`"],
    ),
    "an unknown class": (
        {"vocabulary.yaml": b"kinds:\n  FLOW: {class: global, actions: [VIEW]}\n"},
        ["vocabulary.yaml:2:17: `global` is not a class: expected one of `namespace`, `tenant`, `instance`"],
    ),
    "an unknown key of a kind": (
        {"vocabulary.yaml": b"kinds:\n  FLOW: {class: tenant, action: [VIEW]}\n"},
        ["vocabulary.yaml:2:25: unknown key `action`", "lacks `actions`"],
    ),
    "a boolean in other words": (
        {"vocabulary.yaml": VOCABULARY.replace(b"true", b"yes")},
        ["vocabulary.yaml:6:42: `yes` is not `inherited`, a boolean: expected one of `true`, `false`"],
    ),
    "an operation of an undeclared kind": (
        {"vocabulary.yaml": VOCABULARY + b"operations: {go: [{kind: FLO, action: VIEW}]}\n"},
        ["vocabulary.yaml:7:26: `FLO` is not a declared kind", "did you mean `FLOW`?"],
    ),
    "an operation of an undeclared action": (
        {"vocabulary.yaml": VOCABULARY + b"operations: {go: [{kind: FLOW, action: VIE}]}\n"},
        ["vocabulary.yaml:7:40: `VIE` is not an action of `FLOW`"],
    ),
    "an operation without a check": (
        {"vocabulary.yaml": VOCABULARY + b"operations: {go: []}\n"},
        ["vocabulary.yaml:7:18: operation `go` has no check: with none, everybody may do it"],
    ),
    "an operation at another place than the parent": (
        {"vocabulary.yaml": VOCABULARY + b"operations: {go: [{kind: FLOW, action: VIEW, at: child}]}\n"},
        ["vocabulary.yaml:7:50: `child` is not a place: expected one of `parent`"],
    ),
    "an operation at the parent of what has none": (
        {"vocabulary.yaml": VOCABULARY + b"operations: {go: [{kind: BLUEPRINT, action: VIEW, at: parent}]}\n"},
        ["vocabulary.yaml:7:55: `at: parent` of kind `BLUEPRINT`: it is of class `tenant` and has no parent"],
    ),
    "an operation whose kind in the tenant lacks the action": (
        {
            "vocabulary.yaml": VOCABULARY.replace(
                b"relations", b"  TENANT_FLOW: {class: tenant, actions: [VIEW]}\nrelations"
            )
            + b"operations: {go: [{kind: FLOW, action: UPDATE, at: parent}]}\n"
        },
        [
            "vocabulary.yaml:8:52: the parent of a top-level namespace is asked as `TENANT_FLOW`: expected that kind of class"
        ],
    ),
    "an operation whose kind in the tenant is not the tenant's": (
        {
            "vocabulary.yaml": VOCABULARY.replace(
                b"relations", b"  TENANT_FLOW: {class: namespace, actions: [VIEW]}\nrelations"
            )
            + b"operations: {go: [{kind: FLOW, action: VIEW, at: parent}]}\n"
        },
        ["asked as `TENANT_FLOW`: expected that kind of class `tenant` with the action `VIEW`"],
    ),
    "an operation on both sides of the instance wall": (
        {
            "vocabulary.yaml": VOCABULARY
            + b"operations: {go: [{kind: TENANT, action: VIEW}, {kind: BLUEPRINT, action: VIEW}]}\n"
        },
        ["vocabulary.yaml:7:18: operation `go` can never be allowed: some of its kinds are of class `instance`"],
    ),
    "a g row": ({"roles.csv": b"g, user:a, role:viewer, *\n"}, ["roles.csv:1:1: a `g` row in the root's roles.csv"]),
    "a person's row": (
        {"roles.csv": b"p, user:a, *, **, *, *, allow\n"},
        ["roles.csv:1:4: `user:a` in the root's roles.csv"],
    ),
    "a tenant's row": (
        {"roles.csv": b"p, role:a, acme, **, *, *, allow\n"},
        ["roles.csv:1:12: tenant `acme`: managed roles' rows have `*`"],
    ),
    "a resource for no tenant's name": (
        {"resources.yaml": b"storage: {s: {tenants: [Acme]}}\n"},
        ["resources.yaml:1:25: `Acme` is not a tenant"],
    ),
    "an unknown type of resource": ({"resources.yaml": b"disks: {}\n"}, ["resources.yaml:1:1: unknown key `disks`"]),
    "a service outside the grammar": (
        {"resources.yaml": b"storage: {s: {tenants: [], denied_services: [web-server]}}\n"},
        ["resources.yaml:1:46: `web-server` is not a service"],
    ),
    "a service that the vocabulary does not declare": (
        {
            "vocabulary.yaml": VOCABULARY + b"services: [WEBSERVER, WORKER]\n",
            "resources.yaml": b"storage: {s: {tenants: [], denied_services: [WEBSEVER]}}\n",
        },
        ["resources.yaml:1:46: unknown service `WEBSEVER`: expected one of `services` in the vocabulary; did you mean"],
    ),
    "a service where none is declared": (
        {"resources.yaml": b"storage: {s: {tenants: [], denied_services: [WEBSERVER]}}\n"},
        ["resources.yaml:1:46: unknown service `WEBSERVER`: expected one of `services` in the vocabulary"],
    ),
    "a declared service outside the grammar": (
        {"vocabulary.yaml": VOCABULARY + b"services: [web-server]\n"},
        ["vocabulary.yaml:7:12: `web-server` is not a service"],
    ),
    "a resource's name with a blank": (
        {"resources.yaml": b"storage: {'a b': {tenants: []}}\n"},
        ["resources.yaml:1:11: `a b` is not a resource's name: expected 1 to 63 printable ASCII characters"],
    ),
    "mistakes in three files at once": (
        {
            "vocabulary.yaml": VOCABULARY + b"operation: {}\n",
            "resources.yaml": b"disks: {}\n",
        },
        ["vocabulary.yaml:7:1: unknown key `operation`", "resources.yaml:1:1: unknown key `disks`"],
    ),
    "resources and rows at once": (
        {"resources.yaml": b"disks: {}\n", "roles.csv": b"p, user:a, *, **, *, *, allow\n"},
        ["resources.yaml:1:1: unknown key `disks`", "roles.csv:1:4: `user:a`"],
    ),
}


@pytest.mark.parametrize(("files", "expected"), [pytest.param(*row, id=name) for name, row in ROOTS.items()])
def test_root_is_refused(files: dict[str, bytes], expected: list[str]) -> None:
    """Bad root files raise, with every diagnostic."""
    with pytest.raises(PolicyError) as caught:
        load_root(tree_of({**BASE, **files}))
    for part in expected:
        assert part in str(caught.value)


def test_broken_vocabulary_reports_no_unknown_service() -> None:
    """It may be declared in the part that could not be read."""
    files = {
        "vocabulary.yaml": VOCABULARY + b"services: [WEBSERVER, w-]\n",
        "resources.yaml": b"storage: {s: {tenants: [], denied_services: [WORKER]}}\n",
    }
    with pytest.raises(PolicyError) as caught:
        load_root(tree_of({**BASE, **files}))
    assert ["vocabulary.yaml"] == [each.file for each in caught.value.diagnostics]


def test_all_diagnostics_come_at_once() -> None:
    """Mistakes in every file of a folder are reported together, in file order."""
    files = {
        "acme/roles.csv": ROW.replace("FLOW", "FLOP").encode() + ROW.replace("allow", "maybe").encode(),
        "acme/bindings.csv": b"g, user:a, role:nobody, acme\n",
        "acme/reach.csv": b"p, acme, a, b, NO, allow\n",
        "acme/tenant.yaml": b"acces: []\n",
        "acme/tests/x.yaml": b"name: x\nacess: []\n",
    }
    expected = [
        "acme/bindings.csv:1",
        "acme/reach.csv:1",
        "acme/roles.csv:1",
        "acme/roles.csv:2",
        "acme/tenant.yaml:1",
        "acme/tests/x.yaml:2",
    ]
    assert expected == [f"{each.file}:{each.line}" for each in load({**BASE, **files}, "acme").diagnostics]


BOUND = b"g, user:a, role:dev, acme\ng, user:b, role:dev, acme\n"


@pytest.mark.parametrize(
    "row",
    [
        ROW.replace("FLOW", "FLOP"),
        ROW.replace("allow", "Allow"),
        ROW.replace("VIEW", "VEIW"),
        ROW.replace("VIEW", "VÏEW"),
        "p, role:dev, acme, **\n",
        "g, role:dev, role:viewer, acme/a..b\n",
    ],
    ids=range(6),
)
def test_role_of_a_refused_row_is_not_reported_as_missing(row: str) -> None:
    """One cause is one message, however many hold the role."""
    (told,) = load({**BASE, "acme/bindings.csv": BOUND, "acme/roles.csv": row.encode()}, "acme").diagnostics
    assert ("acme/roles.csv", 1) == (told.file, told.line)


def test_no_role_is_reported_as_missing_if_a_file_cannot_be_read() -> None:
    files = {**BASE, "acme/bindings.csv": BOUND, "acme/roles.csv": b"\xff\n"}
    (told,) = load(files, "acme").diagnostics
    assert "acme/roles.csv" == told.file


def test_hints_name_nothing_of_another_tenant() -> None:
    """A role or a resource of a neighbour is never suggested."""
    files = {
        **BASE,
        "globex/roles.csv": b"p, role:secret-project, globex, **, FLOW, VIEW, allow\n",
        "acme/bindings.csv": b"g, user:a, role:secret-projects, acme\n",
        "acme/tenant.yaml": b"dedicated: {storage: their}\n",
    }
    told = "\n".join(map(str, load(files, "acme").diagnostics))
    assert "did you mean" not in told


def test_resource_of_another_tenant_is_refused_like_an_unknown_one() -> None:
    """The message does not tell whether a neighbour has a resource of that name."""
    told = {
        name: str(
            load({**BASE, "acme/tenant.yaml": f"dedicated: {{storage: {name}}}\n".encode()}, "acme").diagnostics[0]
        )
        for name in ("theirs", "nobody")
    }
    assert told["theirs"].replace("theirs", "nobody") == told["nobody"]


def test_nine_rows_make_a_chain_that_decides() -> None:
    """A chain of nine g rows loads, in the engine and in Casbin, and its p row decides."""
    files = {
        **BASE,
        "acme/bindings.csv": chain(9).encode(),
        "acme/tests/x.yaml": b"name: x\naccess: [{principal: user:a, action: VIEW, kind: FLOW, namespace: a, expect: allow}]\n",
    }
    loaded = load(files, "acme")
    assert not loaded.diagnostics
    assert loaded.witnessed


def test_managed_roles_do_not_apply_in_the_instance() -> None:
    """`_instance` knows no managed role: binding one is binding a role that nobody defines, and it may define its own."""
    bound = load({**BASE, "_instance/bindings.csv": b"g, user:a, role:viewer, _instance\n"}, "_instance")
    assert "role `role:viewer` is bound but defined nowhere" in str(bound.diagnostics[0])
    own = b"p, role:viewer, _instance, **, TENANT, VIEW, allow\ng, user:a, role:viewer, _instance\n"
    assert not load({**BASE, "_instance/bindings.csv": own}, "_instance").diagnostics


def test_kinds_of_tenants_are_refused_in_the_instance() -> None:
    """A row in `_instance` names instance kinds only."""
    loaded = load({**BASE, "_instance/roles.csv": b"p, role:a, _instance, **, FLOW, VIEW, allow\n"}, "_instance")
    assert "kind `FLOW` is of class `namespace`: it lives outside `_instance`" in str(loaded.diagnostics[0])


CALLERS_ROWS = {
    "a namespace inside a tenant": (
        "p, service:a, _callers, acme.data.**, REMIT, CHECK, allow",
        "`acme.data.**`: in `_callers` a namespace is a tenant, expected its name, `*` or `**`",
    ),
    "a scope inside a tenant": (
        "g, service:a, role:enforcer, _callers/acme.*",
        "`acme.*`: in `_callers` a namespace is a tenant",
    ),
    "a name too long for a tenant": (
        f"p, service:a, _callers, {'a' * 64}, REMIT, CHECK, allow",
        "`aaaa",
    ),
    "a word of the vocabulary file": (
        "p, service:a, _callers, acme, FLOW, VIEW, allow",
        "unknown kind `FLOW`",
    ),
    "an unknown action": (
        "p, service:a, _callers, acme, REMIT, CHEK, allow",
        "kind `REMIT` has no action `CHEK`; did you mean `CHECK`?",
    ),
    "the instance in a tenant": (
        "p, service:a, _callers, acme, REMIT_INSTANCE, CHECK, allow",
        "`acme` for kinds without namespace: expected `**`",
    ),
    "a managed role": ("g, service:a, role:viewer, _callers", "role `role:viewer` is bound but defined nowhere"),
}


@pytest.mark.parametrize(("row", "told"), CALLERS_ROWS.values(), ids=CALLERS_ROWS)
def test_rows_of_callers_speak_of_tenants_in_built_in_words(row: str, told: str) -> None:
    roles = b"p, role:enforcer, _callers, **, REMIT|REMIT_INSTANCE, CHECK, allow\n"
    files = {**BASE, "_callers/roles.csv": roles, "_callers/bindings.csv": f"{row}\n".encode()}

    (found,) = load(files, "_callers").diagnostics

    assert "_callers/bindings.csv" == found.file
    assert told in found.message
    assert not load({**files, "_callers/bindings.csv": b""}, "_callers").diagnostics


@pytest.mark.parametrize("where", ["acme", "*", "**", "*.**", "acme.**", "a" * 63])
def test_patterns_that_cover_a_tenant_load_in_callers(where: str) -> None:
    row = f"p, service:a, _callers, {where}, REMIT, CHECK, allow\n"

    assert not load({**BASE, "_callers/bindings.csv": row.encode()}, "_callers").diagnostics


def test_words_of_callers_need_not_be_declared_and_may_mean_something_else_in_a_tenant() -> None:
    own = VOCABULARY.replace(b"kinds:\n", b"kinds:\n  REMIT: {class: tenant, actions: [DRIVE]}\n")
    files = {
        **BASE,
        "vocabulary.yaml": own,
        "acme/bindings.csv": b"p, user:a, acme, **, REMIT, DRIVE, allow\n",
        "_callers/bindings.csv": b"p, user:a, _callers, acme, REMIT, CHECK, allow\n",
    }

    assert not load(files, "acme").diagnostics
    assert not load(files, "_callers").diagnostics
