"""Slips of the pen, and whether a tenant's cases notice them."""

import pytest
from support.trees import load

from remit.core.names import Tenant
from remit.policy.testing.coverage import rows_of
from remit.policy.testing.mutants import Mutant, mutants
from remit.policy.testing.mutation import Trial, Verdict, judge

VOCABULARY = b"""\
kinds:
  FLOW: {class: namespace, actions: [VIEW, UPDATE]}
  USER: {class: tenant, actions: [VIEW]}
relations: {KV: {inherited: true}, SUBFLOW: {}}
"""


def trial(bindings: str, *cases: str, reach: str = "", manifest: str = "") -> tuple[Trial, list[Mutant]]:
    files = {
        "vocabulary.yaml": VOCABULARY,
        "acme/bindings.csv": bindings.encode(),
        "acme/reach.csv": reach.encode(),
        "acme/tenant.yaml": manifest.encode() or b"{}\n",
        "acme/tests/x.yaml": "\n".join(["name: x", *cases, ""]).encode(),
    }
    loaded = load(files, "acme")
    assert loaded.snapshot is not None, "\n".join(map(str, loaded.diagnostics))
    made = [mutant for row in rows_of(loaded.snapshot.policy) for mutant in mutants(row)]
    return Trial(loaded.snapshot, loaded.cases), made


def verdicts(bindings: str, *cases: str, reach: str = "", manifest: str = "") -> dict[str, Verdict]:
    """By the change and the row as it would stand."""
    tenant, made = trial(bindings, *cases, reach=reach, manifest=manifest)
    return {f"{each.change} {each.text}": judge(each, [tenant]) for each in made}


def access(principal: str, action: str, namespace: str, expect: str) -> str:
    fields = f"principal: {principal}, action: {action}, kind: FLOW, namespace: {namespace}, expect: {expect}"
    return f"  - {{{fields}}}"


def test_in_callers_a_pattern_is_widened_to_other_tenants() -> None:
    rows = b"p, service:a, _callers, acme, REMIT, CHECK, allow\np, service:b, _callers, *, REMIT, CHECK, allow\n"
    loaded = load({"vocabulary.yaml": VOCABULARY, "_callers/bindings.csv": rows}, "_callers")
    assert loaded.snapshot is not None
    made = [each.text for row in rows_of(loaded.snapshot.policy) for each in mutants(row)]

    assert "p, service:a, _callers, *, REMIT, CHECK, allow" in made
    assert "p, service:b, _callers, **, REMIT, CHECK, allow" in made
    assert not [each for each in made if "acme.**" in each or "*.**" in each]


@pytest.mark.parametrize(
    ("row", "widened"),
    [
        ("p, user:a, acme, a.b, FLOW, VIEW, allow", ["a.b.**, FLOW, VIEW", "a.b, *, VIEW", "a.b, FLOW, *"]),
        ("p, user:a, acme, a.b.**, *, *, allow", ["a.**, *, *"]),
        ("p, user:a, acme, a.**, *, *, allow", ["**, *, *"]),
        ("p, user:a, acme, *.**, *, *, allow", ["**, *, *"]),
        ("p, user:a, acme, a.*, *, *, allow", ["a.*.**, *, *"]),
        ("p, user:a, acme, **, *, *, allow", []),
        (f"p, user:a, acme, a.{'l' * 147}, *, *, allow", ["a.**, *, *"]),
    ],
)
def test_a_p_row_is_deleted_flipped_and_widened_one_field_at_a_time(row: str, widened: list[str]) -> None:
    _, made = trial(f"{row}\n")

    expected = [("deleted", row), ("flipped", row.replace("allow", "deny"))]
    expected += [("widened", f"p, user:a, acme, {each}, allow") for each in widened]
    assert expected == [(each.change.value, each.text) for each in made]


def test_a_g_row_is_deleted_and_its_scope_widened() -> None:
    _, made = trial("g, user:a, group:b, acme/a.**\n")

    assert ["g, user:a, group:b, acme/a.**", "g, user:a, group:b, acme"] == [each.text for each in made]


def test_a_reach_row_is_widened_in_caller_owner_and_relations() -> None:
    _, made = trial("", reach="p, acme, a, b.**, KV, deny\n")

    assert [
        "p, acme, a, b.**, KV, deny",
        "p, acme, a, b.**, KV, allow",
        "p, acme, a.**, b.**, KV, deny",
        "p, acme, a, **, KV, deny",
        "p, acme, a, b.**, *, deny",
    ] == [each.text for each in made]


def test_mutant_that_no_case_asks_about_survives() -> None:
    assert {
        "deleted p, user:a, acme, a, FLOW, VIEW, allow": Verdict.NOTICED,
        "flipped p, user:a, acme, a, FLOW, VIEW, deny": Verdict.NOTICED,
        "widened p, user:a, acme, a.**, FLOW, VIEW, allow": Verdict.SURVIVED,
        "widened p, user:a, acme, a, FLOW, *, allow": Verdict.SURVIVED,
        # FLOW is the only kind with VIEW that lives in namespaces.
        "widened p, user:a, acme, a, *, VIEW, allow": Verdict.EQUIVALENT,
    } == verdicts("p, user:a, acme, a, FLOW, VIEW, allow\n", "access:", access("user:a", "VIEW", "a", "allow"))


def test_each_border_that_a_case_asks_about_is_noticed() -> None:
    found = verdicts(
        "p, user:a, acme, a, FLOW, VIEW, allow\n",
        *("access:", access("user:a", "VIEW", "a", "allow")),
        *(access("user:a", "VIEW", "a.b", "deny"), access("user:a", "UPDATE", "a", "deny")),
    )

    assert [Verdict.EQUIVALENT] == [each for each in found.values() if each is not Verdict.NOTICED]


def test_case_with_a_reason_notices_a_mutant_that_changes_no_effect() -> None:
    bindings = "p, user:a, acme, a.**, *, VIEW, deny\n"
    denied = access("user:a", "VIEW", "a", "deny")

    assert Verdict.EQUIVALENT is verdicts(bindings, "access:", denied)["deleted p, user:a, acme, a.**, *, VIEW, deny"]
    assert (
        Verdict.NOTICED
        is verdicts(bindings, "access:", denied.replace("}", ", reason: DENIED_BY_RULE}"))[
            "deleted p, user:a, acme, a.**, *, VIEW, deny"
        ]
    )


def test_a_row_for_another_action_is_noticed_by_the_reason() -> None:
    bindings = "p, user:a, acme, a, FLOW, UPDATE, allow\n"
    refused = access("user:a", "VIEW", "a", "deny").replace("}", ", reason: NOT_GRANTED}")

    assert Verdict.NOTICED is verdicts(bindings, "access:", refused)["deleted p, user:a, acme, a, FLOW, UPDATE, allow"]


def test_mutant_of_a_membership_that_only_admits_is_noticed() -> None:
    bindings = "g, user:a, group:staff, acme/x\np, user:a, acme, a, FLOW, VIEW, allow\n"
    found = verdicts(bindings, "access:", access("user:a", "VIEW", "a", "allow"), manifest="access: [group:staff]\n")

    assert Verdict.NOTICED is found["deleted g, user:a, group:staff, acme/x"]


def test_deleting_one_of_two_equal_rows_is_equivalent() -> None:
    row = "p, user:a, acme, a, FLOW, VIEW, allow\n"
    tenant, made = trial(row * 2, "access:", access("user:a", "VIEW", "a", "allow"))

    assert [Verdict.EQUIVALENT] * 2 == [judge(each, [tenant]) for each in made if each.mutated is None]


def test_mutant_that_the_loader_refuses_is_not_equivalent() -> None:
    vocabulary = VOCABULARY.replace(b"relations", b"  BINDING: {class: tenant, actions: [CREATE, DELETE]}\nrelations")
    files = {
        "vocabulary.yaml": vocabulary,
        "acme/bindings.csv": b"p, group:out, acme, **, *, *, deny\np, role:r, acme, **, FLOW, VIEW, deny\n"
        b"g, user:a, role:r, acme\np, group:idle, acme, **, FLOW, VIEW, deny\n",
        "acme/tenant.yaml": b"runtime: {suspend: group:out}\n",
        "acme/reach.csv": b"p, acme, a, x, KV, deny\np, acme, a.c, x, KV, deny\n",
    }
    loaded = load(files, "acme")
    assert loaded.snapshot is not None, "\n".join(map(str, loaded.diagnostics))
    judged = {
        f"{each.change} {each.text}": judge(each, [Trial(loaded.snapshot, ())])
        for row in rows_of(loaded.snapshot.policy)
        for each in mutants(row)
    }

    assert {
        "deleted p, group:out, acme, **, *, *, deny",
        "flipped p, group:out, acme, **, *, *, allow",
        "deleted p, role:r, acme, **, FLOW, VIEW, deny",
        "widened p, acme, a.**, x, KV, deny",
    } == {text for text, verdict in judged.items() if verdict is Verdict.REFUSED}
    assert Verdict.EQUIVALENT is judged["deleted p, group:idle, acme, **, FLOW, VIEW, deny"]


def test_patterns_too_complex_to_compare_are_undecided() -> None:
    """Eight groups one in the other, five scopes each: 390,625 patterns to say where the row counts."""
    members = ["user:a", *(f"group:g{level}" for level in range(7)), "role:r"]
    links = [
        f"g, {members[level]}, {members[level + 1]}, acme/{'*.' * level}{literal}.**\n"
        for level in range(8)
        for literal in "abcde"
    ]
    tenant, (deleted, *_) = trial(
        "".join(["p, role:r, acme, **, FLOW, VIEW, allow\n", *links, "p, role:r, acme, **, USER, VIEW, allow\n"])
    )

    assert "p, role:r, acme, **, FLOW, VIEW, allow" == deleted.text
    assert Verdict.UNDECIDED is judge(deleted, [tenant])


def test_a_row_of_two_tenants_is_noticed_by_the_cases_of_either() -> None:
    files = {
        "vocabulary.yaml": VOCABULARY,
        "roles.csv": b"p, role:viewer, *, **, FLOW, VIEW, allow\np, role:viewer, *, **, USER, VIEW, allow\n",
        "acme/bindings.csv": b"g, user:a, role:viewer, acme\n",
        "globex/bindings.csv": b"g, user:a, role:viewer, globex\n",
        "globex/tests/x.yaml": f"name: x\naccess:\n{access('user:a', 'VIEW', 'a', 'allow')}\n".encode(),
    }
    loaded = [load(files, tenant) for tenant in ("acme", "globex")]
    both = [Trial(each.snapshot, each.cases) for each in loaded if each.snapshot is not None]
    row, _ = [rule for each in loaded[:1] if each.snapshot for rule in each.snapshot.policy.rules]
    deleted, *_ = mutants(row)

    assert [Tenant("acme"), Tenant("globex")] == [each.tenant for each in loaded]
    assert Verdict.SURVIVED is judge(deleted, both[:1])
    assert Verdict.NOTICED is judge(deleted, both)
