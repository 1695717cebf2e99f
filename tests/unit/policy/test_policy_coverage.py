"""Which rows the cases of a tenant exercise."""

from support.trees import load

from remit.policy.testing.coverage import FileCoverage, coverage, exercised, rows_of

FILES = {
    "vocabulary.yaml": b"""\
kinds:
  FLOW: {class: namespace, actions: [VIEW, UPDATE]}
relations: {KV: {inherited: true}}
""",
    "roles.csv": b"p, role:viewer, *, **, FLOW, VIEW, allow\n",
    "acme/bindings.csv": b"""\
g, user:a, group:g, acme
g, group:g, role:viewer, acme/a.**
g, group:g, role:viewer, acme/b.**
p, user:a, acme, a.secret, FLOW, *, deny
""",
    "acme/reach.csv": b"p, acme, a, b, KV, deny\np, acme, a, c, KV, allow\n",
}


def missed(*cases: str) -> list[str]:
    test = "\n".join(["name: x", *cases, ""])
    loaded = load({**FILES, "acme/tests/x.yaml": test.encode()}, "acme")
    assert loaded.snapshot is not None, loaded.diagnostics
    rows = [*loaded.snapshot.policy.rules[:1], *rows_of(loaded.snapshot.policy)]
    found = coverage(rows, set(exercised(loaded.snapshot, loaded.cases)))
    assert len(rows) == sum(each.rows for each in found)
    return [row.place for each in found for row in each.missed]


ALL = [
    "roles.csv:1",
    *(f"acme/bindings.csv:{line}" for line in (1, 2, 3, 4)),
    *("acme/reach.csv:1", "acme/reach.csv:2"),
]


def access(namespace: str, expect: str) -> str:
    return f"  - {{principal: user:a, action: VIEW, kind: FLOW, namespace: {namespace}, expect: {expect}}}"


def test_without_cases_no_row_is_exercised() -> None:
    assert missed() == ALL


def test_a_case_exercises_the_row_that_decides_and_the_chain_to_it() -> None:
    exercised = {"roles.csv:1", "acme/bindings.csv:1", "acme/bindings.csv:3"}

    assert missed("access:", access("b", "allow")) == [place for place in ALL if place not in exercised]


def test_a_deny_of_the_principals_own_leaves_its_chains_unexercised() -> None:
    assert missed("access:", access("a.secret", "deny")) == [place for place in ALL if place != "acme/bindings.csv:4"]


def test_deny_without_a_row_exercises_no_row() -> None:
    assert missed("access:", access("c", "deny")) == ALL


def test_a_reach_case_exercises_the_row_that_decides() -> None:
    cases = ["reach:", *(f"  - {{caller: {caller}, owner: c, relation: KV, expect: allow}}" for caller in ("a", "c.d"))]

    assert missed(*cases) == ALL[:-1]


def test_rows_of_a_file_are_printed_in_its_order() -> None:
    loaded = load(FILES, "acme")
    assert loaded.snapshot is not None
    first, second = loaded.snapshot.policy.reach

    assert [FileCoverage("acme/reach.csv", 2, (first, second))] == coverage([second, first], ())
    assert [FileCoverage("acme/reach.csv", 2, (second,))] == coverage([second, first], {first})
