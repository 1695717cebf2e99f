"""A tenant's own tests: what they may say, and what comes of those that fail."""

from dataclasses import replace

import pytest
from support.trees import load

from remit.core.names import Principal
from remit.core.runtime import parse_runtime_row
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.snapshot import Snapshot
from remit.policy.testing.cases import always_failures

VOCABULARY = b"""\
kinds:
  FLOW: {class: namespace, actions: [VIEW, UPDATE]}
  USER: {class: tenant, actions: [VIEW]}
  TENANT: {class: instance, actions: [VIEW]}
relations: {KV: {inherited: true}}
services: [WEBSERVER, WORKER]
"""
FILES = {
    "vocabulary.yaml": VOCABULARY,
    "resources.yaml": b"storage: {s: {tenants: [acme], read_only: true, denied_services: [WEBSERVER]}}\n",
    "acme/tenant.yaml": b"dedicated: {storage: s}\nnamespaces: {a.own: {dedicated: {storage: s}}}\n",
    "acme/bindings.csv": b"p, role:r, acme, **, FLOW, VIEW, allow\ng, user:a, role:r, acme/a.**\n",
    "acme/reach.csv": b"p, acme, a, b, KV, deny\n",
}


def told(test: str) -> list[str]:
    return [str(each) for each in load({**FILES, "acme/tests/x.yaml": test.encode()}, "acme").diagnostics]


def access(**changes: str) -> str:
    fields = {"principal": "user:a", "action": "VIEW", "kind": "FLOW", "namespace": "a", "expect": "allow"} | changes
    return "name: x\naccess:\n  - {" + ", ".join(f"{key}: {value}" for key, value in fields.items() if value) + "}\n"


def visible(**changes: str) -> str:
    fields = {
        "nodes": "{one: [FLOW, a], two: [FLOW, b]}", "edges": "[[one, two, KV, deny]]", "expect": "{user:a: [one]}",
        **changes,
    }  # fmt: skip
    return "name: x\nvisible:\n  - " + "    ".join(f"{key}: {value}\n" for key, value in fields.items() if value)


@pytest.mark.parametrize(
    "test",
    [
        access(),
        access(reason="ALLOWED_BY_RULE"),
        access(namespace="b", expect="deny", reason="OUT_OF_SCOPE"),
        access(kind="FLOWS", expect="deny", reason="UNKNOWN_KIND"),
        access(action="FLY", expect="deny", reason="UNKNOWN_ACTION"),
        access(kind="TENANT", namespace="", expect="deny", reason="WRONG_CLASS"),
        "name: x\ngrids: [{kind: FLOW, namespace: a, actions: [VIEW, UPDATE], expect: {user:a: [allow, deny], user:b: [deny, deny]}}]\n",
        "name: x\nreach: [{caller: a, owner: b, relation: KV, expect: deny, reason: DENIED_BY_RULE}]\n",
        "name: x\nreach: [{caller: b.c, owner: b, relation: KV, expect: allow, reason: INHERITED}]\n",
        "name: x\nreach: [{caller: a, owner: b, relation: KVS, expect: deny, reason: UNKNOWN_RELATION}]\n",
        "name: x\ndedicated: [{namespace: a.own.x, resource: storage, from: a.own}, {namespace: b, resource: storage, from: tenant}]\n",
        "name: x\ndedicated: [{namespace: a.own.x, resource: secrets, from: none}]\n",
        visible(),
        visible(expect="{user:a: [one], user:b: []}"),
        visible(nodes="{one: [FLOW, a], staff: [USER]}", edges="[[one, staff, KV], [one, one, KV, allow]]"),
        visible(action="UPDATE", expect="{user:a: []}"),
        "name: x\ndedicated: [{namespace: b, resource: storage, from: tenant, name: s, read_only: true}]\n",
        "name: x\ndedicated: [{namespace: b, resource: storage, from: tenant, service: WEBSERVER, expect: deny}]\n",
        "name: x\ndedicated: [{namespace: b, resource: storage, from: tenant, service: WORKER, expect: allow}]\n",
        "name: x\n",
    ],
)
def test_true_case_passes(test: str) -> None:
    assert not told(test)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (
            access(kind="FLWO", expect="deny"),
            "3:45: unknown kind `FLWO`: if that is what is tested, say `reason: UNKNOWN_KIND`",
        ),
        (access(action="VEIW", expect="deny"), "3:33: unknown action of `FLOW` `VEIW`"),
        (access(kind="FLOWS", expect="deny", reason="NO_BINDING"), "unknown kind `FLOWS`"),
        (access(principal="alice"), "3:17: `alice` is not a principal"),
        (access(principal="group:g"), "3:17: `group:g` is not a principal"),
        (access(namespace="A"), "`A` is not a namespace"),
        (access(namespace=""), "kind `FLOW` is of class `namespace`, so name a namespace"),
        (access(kind="USER"), "kind `USER` is of class `tenant`, so name no namespace"),
        (
            access(expect="allowed"),
            "`allowed` is not an effect: expected one of `allow`, `deny`; did you mean `allow`?",
        ),
        (access(expect="ALLOW"), "`ALLOW` is not an effect"),
        (access(expect=""), "3:5: an access case lacks `expect`"),
        (access(reason="OUT_OF_SCOPE"), "`allow` never has the reason OUT_OF_SCOPE"),
        (access(reason="INHERITED"), "`INHERITED` is not a reason"),
        (access(tenant="acme"), "unknown key `tenant` in an access case"),
        ("access: []\n", "1:1: a test file lacks `name`"),
        ("name: x\nacess: []\n", "2:1: unknown key `acess` in a test file"),
        ("name: x\naccess: {a: b}\n", "2:9: expected `access` as a list"),
        (
            "name: x\ngrids: [{kind: FLOW, namespace: a, actions: [VIEW, UPDATE], expect: {user:a: [allow]}}]\n",
            "1 effects for 2 actions: expected one each",
        ),
        (
            "name: x\ngrids: [{kind: FLOW, namespace: a, actions: [FLY], expect: {user:a: [deny]}}]\n",
            "unknown action of `FLOW` `FLY`",
        ),
        ("name: x\nreach: [{caller: a, owner: b, relation: KVS, expect: deny}]\n", "unknown relation `KVS`"),
        ("name: x\nreach: [{caller: a, owner: '', relation: KV, expect: deny}]\n", "namespace is missing"),
        (
            "name: x\nreach: [{caller: a, owner: b, relation: KV, expect: deny, reason: NO_BINDING}]\n",
            "is not a reason",
        ),
        ("name: x\ndedicated: [{namespace: a, resource: disk, from: tenant}]\n", "`disk` is not a resource"),
        (visible(expect=""), "3:5: a visible case lacks `expect`"),
        (visible(nodes="{one: FLOW}"), "3:18: expected a node as [KIND, NAMESPACE], or [KIND]"),
        (visible(nodes="{one: [FLWO, a], two: [FLOW, b]}"), "unknown kind `FLWO`; did you mean `FLOW`?"),
        (visible(nodes="{one: [FLOW], two: [FLOW, b]}"), "kind `FLOW` is of class `namespace`, so name a namespace"),
        (visible(nodes="{one: [USER, a], two: [FLOW, b]}"), "kind `USER` is of class `tenant`, so name no namespace"),
        (visible(nodes="{one: [FLOW, A], two: [FLOW, b]}"), "nodes[0].namespace: `A` is not a namespace"),
        (visible(nodes="{'?one': [FLOW, a], two: [FLOW, b]}"), "nodes[0].uid: `?one` is no uid"),
        (visible(action="VEIW", nodes="{one: [FLOW, a]}"), "unknown action of `FLOW` `VEIW`; did you mean `VIEW`?"),
        (visible(edges="[[one, three, KV, deny]]"), "edges[0].target: no node has the uid `three`"),
        (visible(edges="[[one, two, KVS, deny]]"), "4:13: unknown relation `KVS`"),
        (visible(edges="[[one, two, KV, no]]"), "4:13: `no` is not an effect: expected `allow` or `deny`"),
        (visible(edges="[[one, two, KV]]"), "4:13: expected an edge as [SOURCE, TARGET, RELATION, EFFECT]"),
        (visible(edges="[[one, two]]"), "4:13: expected an edge as [SOURCE, TARGET, RELATION, EFFECT]"),
        (
            visible(expect="{user:a: [twoo]}"),
            "`twoo` is not a node of this graph: expected one of `one`, `two`; did you",
        ),
        (visible(expect="{alice: [one]}"), "5:14: `alice` is not a principal"),
        (
            "name: x\ndedicated: [{namespace: a, resource: storage, from: tenant, service: WORKER}]\n",
            "`service` and `expect` belong together",
        ),
        (
            "name: x\ndedicated: [{namespace: a, resource: storage, from: tenant, service: WORKR, expect: deny}]\n",
            "unknown service `WORKR`: expected one of `services` in the vocabulary; did you mean `WORKER`?",
        ),
        (
            "name: x\ndedicated: [{namespace: a, resource: storage, from: tenant, name: a b}]\n",
            "`a b` is not a resource's name",
        ),
        (
            "name: x\ndedicated: [{namespace: a, resource: storage, from: tenant, read_only: yes}]\n",
            "`yes` is not `read_only`, a boolean",
        ),
        ("", "1:1: expected a mapping at the top"),
    ],
)
def test_invalid_test_file_refuses_the_tenant(test: str, expected: str) -> None:
    """A typo cannot pass as a deny."""
    (diagnostic,) = told(test)
    assert diagnostic.startswith("acme/tests/x.yaml:")
    assert expected in diagnostic


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (access(namespace="b"), "3:5: user:a VIEW FLOW in b: expected allow, got deny OUT_OF_SCOPE. "),
        (access(expect="deny"), "3:5: user:a VIEW FLOW in a: expected deny, got allow ALLOWED_BY_RULE. "),
        (
            access(namespace="b", expect="deny", reason="NO_BINDING"),
            "expected deny NO_BINDING, got deny OUT_OF_SCOPE. ",
        ),
        (
            "name: x\ngrids: [{kind: FLOW, namespace: a, actions: [VIEW], expect: {user:a: [deny]}}]\n",
            "2:71: user:a VIEW FLOW in a: expected deny, got allow",
        ),
        (
            "name: x\nreach: [{caller: a, owner: b, relation: KV, expect: allow}]\n",
            "2:9: a uses b by KV: expected allow, got deny DENIED_BY_RULE. acme/reach.csv:1: `p, acme, a, b, KV, deny`",
        ),
        (
            "name: x\ndedicated: [{namespace: a.own, resource: storage, from: tenant}]\n",
            "2:13: storage of a.own: expected from tenant, got from a.own",
        ),
        (
            visible(expect="{user:a: [one, two]}"),
            "5:14: what user:a may VIEW of this graph: expected `two` to be visible, got hidden. user:a may not VIEW FLOW in b",
        ),
        (visible(expect="{user:a: []}"), "expected `one` to be hidden, got visible. user:a may VIEW FLOW in a"),
        (visible(edges="[[one, two, KV, allow]]"), "4:13: a uses b by KV: expected allow, got deny DENIED_BY_RULE. "),
        (
            "name: x\ndedicated: [{namespace: a, resource: storage, from: tenant, name: t}]\n",
            "storage of a: expected `t`, got `s`. `s` serves it",
        ),
        (
            "name: x\ndedicated: [{namespace: a, resource: storage, from: tenant, read_only: false}]\n",
            "storage of a: expected written to, got read only",
        ),
        (
            "name: x\ndedicated: [{namespace: a, resource: storage, from: tenant, service: WEBSERVER, expect: allow}]\n",
            "storage of a: expected allow to WEBSERVER, got deny to WEBSERVER",
        ),
        (
            "name: x\ndedicated: [{namespace: a, resource: secrets, from: none, service: WORKER, expect: allow}]\n",
            "secrets of a: expected allow to WORKER, got nothing to WORKER. no level names one",
        ),
    ],
)
def test_failing_case_refuses_the_tenant(test: str, expected: str) -> None:
    """The folder does not serve; the diagnostic has the place of the case, both answers and the reason."""
    loaded = load({**FILES, "acme/tests/x.yaml": test.encode()}, "acme")
    assert loaded.snapshot is None
    (failure,) = loaded.failures
    assert str(failure.diagnostic).startswith("acme/tests/x.yaml:")
    assert expected in str(failure.diagnostic)


def test_casbin_must_agree_with_every_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it disagrees, the tenant is not served though the engine's own answer was expected."""
    monkeypatch.setattr(CasbinOracle, "allows", lambda self, question: False)
    (diagnostic,) = told(access())
    assert "expected Casbin's deny and remit's answer to agree, got allow" in diagnostic


def test_casbin_must_agree_with_every_visible_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CasbinOracle, "allows", lambda self, question: False)
    (diagnostic,) = told(visible())
    assert "expected Casbin's deny and remit's answer to agree, got allow" in diagnostic


ALWAYS = """\
name: x
access:
  - {principal: user:b, action: UPDATE, kind: FLOW, namespace: a, expect: deny, always: true}
  - {principal: user:b, action: VIEW, kind: FLOW, namespace: a, expect: deny}
grids: [{kind: FLOW, namespace: b, actions: [VIEW], expect: {user:b: [deny], user:c: [deny]}, always: true}]
visible: [{nodes: {one: [FLOW, b]}, expect: {user:b: []}, always: true}]
authzen:
  - subject: {type: user, id: b}
    action: {name: VIEW}
    resource: {type: FLOW, id: x, properties: {namespace: b}}
    expect: deny
    always: true
gateway: [{request: GET /b, principal: user:b, expect: deny, always: true}]
reach: [{caller: a, owner: b, relation: KV, expect: deny}]
"""
ROUTED = {"acme/gateway.yaml": b"routes: [{method: GET, path: /b, kind: FLOW, action: VIEW, namespace: b}]\n"}


def test_cases_marked_always_hold_or_are_told_of_rows_granted_at_run_time() -> None:
    loaded = load({**FILES, **ROUTED, "acme/tests/x.yaml": ALWAYS.encode()}, "acme")
    assert loaded.snapshot is not None, loaded.diagnostics
    granted = (parse_runtime_row("user:b", "role:r").link(loaded.tenant, 7),)
    policy = loaded.snapshot.policy
    after = Snapshot(replace(policy, links=(*policy.links, *granted)))

    # One a line of the file: user:b may VIEW in b, where each but the first case says that he may not.
    found = always_failures(after, loaded.cases)
    assert [5, 6, 8, 13] == sorted(each.case.line for each in found)
    assert () == always_failures(loaded.snapshot, loaded.cases)
    assert () == always_failures(after, loaded.cases, {Principal("user:c")})
    assert found == always_failures(after, loaded.cases, {Principal("user:b")})
    assert "held by    runtime:change 7  g, user:b, role:r, acme" in found[0].text


def test_always_of_what_no_row_changes_is_unknown() -> None:
    (found,) = told("name: x\nreach: [{caller: a, owner: b, relation: KV, expect: deny, always: true}]\n")

    assert "unknown key `always` in a reach case" in found
