"""Doors, reasons by hand, and what a snapshot keeps."""

import gc
import itertools
import time
import tracemalloc

import pytest
from support.trees import snapshot_of

from remit.core.decision import Reason
from remit.core.errors import MalformedQuestionError
from remit.core.names import Namespace, Principal, Tenant, Word
from remit.core.patterns import NamespacePattern
from remit.core.position import Position
from remit.core.question import Question, ReachQuestion
from remit.engine.explain.access import explain
from remit.engine.snapshot import Snapshot

VOCABULARY = b"""\
kinds:
  FLOW: {class: namespace, actions: [VIEW, UPDATE]}
  USER: {class: tenant, actions: [VIEW]}
  TENANT: {class: instance, actions: [VIEW]}
relations: {KV: {inherited: true}, SUBFLOW: {}}
"""


def compiled(rows: str, tenant: str = "acme", **files: str) -> Snapshot:
    texts = {"vocabulary.yaml": VOCABULARY, f"{tenant}/bindings.csv": rows.encode()}
    return snapshot_of({**texts, **{f"{tenant}/{name}": content.encode() for name, content in files.items()}}, tenant)


def ask(snapshot: Snapshot, principal: str, action: str, kind: str, namespace: str = "") -> Reason:
    return snapshot.decide(Question(Principal(principal), Word(action), Word(kind), Namespace(namespace))).reason


ALL = "p, user:a, acme, **, *, *, allow\n"


@pytest.mark.parametrize(
    ("kind", "namespace", "expected"),
    [
        ("FLOW", "", r"namespace: is missing: kind `FLOW` lives in namespaces"),
        ("USER", "a.b", r"namespace: `a\.b` is superfluous: kind `USER` is of class `tenant`"),
        ("TENANT", "a", r"namespace: `a` is superfluous: kind `TENANT` is of class `instance`"),
    ],
)
def test_a_missing_or_superfluous_namespace_is_an_error(kind: str, namespace: str, expected: str) -> None:
    """Neither an allow nor a deny: it names the field."""
    with pytest.raises(MalformedQuestionError, match=expected) as caught:
        ask(compiled(ALL), "user:a", "VIEW", kind, namespace)
    (violation,) = caught.value.violations
    assert violation.field == "namespace"


@pytest.mark.parametrize(
    ("action", "kind", "namespace", "expected"),
    [
        ("VIEW", "FLOWS", "a", Reason.UNKNOWN_KIND),
        ("VIEW", "flow", "a", Reason.UNKNOWN_KIND),
        ("VIEW", "FLOWS", "", Reason.UNKNOWN_KIND),
        ("view", "FLOW", "a", Reason.UNKNOWN_ACTION),
        ("UPDATE", "USER", "", Reason.UNKNOWN_ACTION),
        ("VIEW", "TENANT", "", Reason.WRONG_CLASS),
        ("UPDATE", "TENANT", "", Reason.UNKNOWN_ACTION),
        ("VIEW", "FLOW", "a", Reason.ALLOWED_BY_RULE),
        ("VIEW", "USER", "", Reason.ALLOWED_BY_RULE),
    ],
)
def test_checks_of_words_class_and_access_list_come_before_rows(
    action: str, kind: str, namespace: str, expected: Reason
) -> None:
    """The first failing check also denies a principal who may do everything."""
    assert expected is ask(compiled(ALL), "user:a", action, kind, namespace)


def test_the_instance_knows_instance_kinds_only() -> None:
    snapshot = compiled("p, user:a, _instance, **, *, *, allow\n", "_instance")
    assert Reason.ALLOWED_BY_RULE is ask(snapshot, "user:a", "VIEW", "TENANT")
    assert Reason.WRONG_CLASS is ask(snapshot, "user:a", "VIEW", "USER")
    assert Reason.WRONG_CLASS is ask(snapshot, "user:a", "VIEW", "FLOW", "a")


def test_the_access_list_comes_before_a_deny() -> None:
    """NO_ACCESS precedes DENIED_BY_RULE, and UNKNOWN_* precede NO_ACCESS."""
    snapshot = compiled(ALL.replace("allow", "deny"), **{"tenant.yaml": "access: [user:b]\n"})
    assert Reason.NO_ACCESS is ask(snapshot, "user:a", "VIEW", "FLOW", "a")
    assert Reason.UNKNOWN_ACTION is ask(snapshot, "user:a", "FLY", "FLOW", "a")
    assert Reason.WRONG_CLASS is ask(snapshot, "user:a", "VIEW", "TENANT")
    assert Reason.NO_BINDING is ask(snapshot, "user:b", "VIEW", "FLOW", "a")


def test_members_of_listed_groups_are_admitted_whatever_the_scope() -> None:
    """Transitively, with any scope of a membership. Roles, and groups that contain the listed one, admit nobody."""
    rows = "g, user:a, group:in, acme/x\ng, group:in, group:listed, acme/y\ng, group:listed, group:outer, acme\n"
    rows += "g, user:b, group:outer, acme\ng, service:s, group:listed, acme/z.**\n"
    snapshot = compiled(rows, **{"tenant.yaml": "access: [group:listed]\n"})
    assert Reason.NO_BINDING is ask(snapshot, "user:a", "VIEW", "FLOW", "other")
    assert Reason.NO_BINDING is ask(snapshot, "service:s", "VIEW", "FLOW", "other")
    assert Reason.NO_ACCESS is ask(snapshot, "user:b", "VIEW", "FLOW", "other")
    assert Reason.NO_ACCESS is ask(snapshot, "user:in", "VIEW", "FLOW", "other")


def test_an_empty_access_list_admits_nobody() -> None:
    snapshot = compiled(ALL, **{"tenant.yaml": "access: []\n"})
    assert Reason.NO_ACCESS is ask(snapshot, "user:a", "VIEW", "FLOW", "a")


def test_the_deciding_rule_is_the_lowest_file_and_line() -> None:
    """Numbers, not texts: line 9 before line 10; a deny before every allow."""
    rows = "#\n" * 8 + "p, user:a, acme, a.**, FLOW, VIEW, allow\n" + ALL
    snapshot = compiled(rows, **{"roles.csv": ALL})
    question = Question(Principal("user:a"), Word("VIEW"), Word("FLOW"), Namespace("a"))
    rule = snapshot.decide(question).rule
    assert rule is not None
    assert rule.place == "acme/bindings.csv:9"
    denied = compiled(rows, **{"roles.csv": ALL + ALL.replace("allow", "deny")}).decide(question).rule
    assert denied is not None
    assert denied.place == "acme/roles.csv:2"


def bomb(layers: int = 8, width: int = 5) -> str:
    """40 rows whose scopes, each one literal among stars, multiply to 390,625 along a chain."""
    names = ["user:a", *(f"group:g{layer}" for layer in range(layers - 1)), "role:r"]
    rows = ["p, role:r, acme, **, FLOW, VIEW, allow"]
    for layer, literal in itertools.product(range(layers), range(width)):
        scope = ".".join("abcde"[literal] if place == layer else "*" for place in range(layers))
        rows.append(f"g, {names[layer]}, {names[layer + 1]}, acme/{scope}.**")
    return "\n".join(rows) + "\n"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("namespace", "expected"),
    [
        ("a.b.c.d.e.a.b.c.x", Reason.ALLOWED_BY_RULE),
        ("a.b", Reason.OUT_OF_SCOPE),
        ("a.b.c.d.e.a.b.x", Reason.OUT_OF_SCOPE),
    ],
)
def test_scopes_that_multiply_are_answered_fast(namespace: str, expected: Reason) -> None:
    """The effect is exact at the namespace asked about; telling a reason gives up on counting scopes."""
    snapshot = compiled(bomb())
    started = time.thread_time()
    assert expected is ask(snapshot, "user:a", "VIEW", "FLOW", namespace)
    explain(snapshot, Question(Principal("user:a"), Word("VIEW"), Word("FLOW"), Namespace(namespace)))
    assert time.thread_time() - started < 2


@pytest.mark.timeout(60)
def test_reach_rows_with_stars_are_answered_fast() -> None:
    """Callers times owners can be far more than there are rows."""
    masks = sorted(itertools.product("a*", repeat=11), key=lambda mask: mask.count("*"))
    rows = [f"p, acme, {'.'.join(mask)}, o{number}, KV, deny\n" for number, mask in enumerate(masks)]
    rows += [f"p, acme, c{number}, {'.'.join(mask)}, KV, deny\n" for number, mask in enumerate(masks)]
    reach = compiled("", **{"reach.csv": "".join(rows)}).reach
    caller, owner = Namespace(".".join("a" * 11)), Namespace(".".join("a" * 10 + "b"))
    started = time.thread_time()
    for _ in range(10):
        assert Reason.NO_MATCHING_RULE is reach.decide(ReachQuestion(caller, owner, Word("KV"))).reason
    assert time.thread_time() - started < 10


@pytest.mark.parametrize("rows", [63, 64, 65, 66, 129])
@pytest.mark.parametrize("bindings", [1, 70])
def test_many_rows_in_few_namespaces_are_answered(rows: int, bindings: int) -> None:
    """A role may have more rows for one permission than are tried one after the other, and all in the same namespaces."""
    text = "p, role:r, acme, **, FLOW, VIEW, allow\n" * (rows - 1) + "p, role:r, acme, a.shut, FLOW, VIEW, deny\n"
    text += "".join(f"g, user:a, role:r, acme/a{number or ''}.**\n" for number in range(bindings))
    snapshot = compiled(text)
    assert [Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE, Reason.OUT_OF_SCOPE] == [
        ask(snapshot, "user:a", "VIEW", "FLOW", namespace) for namespace in ("a.b", "a.shut", "b")
    ]


@pytest.mark.parametrize("namespaces", [32, 33, 64, 65])
def test_a_role_that_allows_and_denies_in_many_namespaces_is_answered(namespaces: int) -> None:
    """With more rows than are tried one after the other, in fewer namespaces than that."""
    pairs = "".join(
        f"p, role:r, acme, a.n{number}, FLOW, VIEW, {effect}\n"
        for number in range(namespaces)
        for effect in ("allow", "deny")
    )
    bound = "g, user:a, role:r, acme\n"
    snapshot = compiled(pairs + "p, role:r, acme, a.open, FLOW, VIEW, allow\n" + bound)
    assert [Reason.DENIED_BY_RULE, Reason.ALLOWED_BY_RULE, Reason.OUT_OF_SCOPE] == [
        ask(snapshot, "user:a", "VIEW", "FLOW", namespace) for namespace in ("a.n0", "a.open", "b")
    ]
    # Rows that allow are held, and that a deny lies over each of them is no matter of this reason.
    assert Reason.OUT_OF_SCOPE is ask(compiled(pairs + bound), "user:a", "VIEW", "FLOW", "b")


def test_lowest_of_equal_rows_decides() -> None:
    snapshot = compiled("#\n#\n" + "p, role:r, acme, a, FLOW, VIEW, allow\n" * 200 + "g, user:a, role:r, acme\n")
    rule = snapshot.decide(Question(Principal("user:a"), Word("VIEW"), Word("FLOW"), Namespace("a"))).rule
    assert rule is not None
    assert "acme/bindings.csv:3" == rule.place


@pytest.mark.timeout(120)
def test_a_role_of_many_rows_is_not_scanned() -> None:
    """A role with a row for each of 100,000 namespaces decides like one with ten, and is ready for it in a moment."""
    rows = "".join(f"p, role:r, acme, a.n{number}, FLOW, VIEW, allow\n" for number in range(100_000))
    snapshot = compiled(rows + "g, user:a, role:r, acme\n")
    started = time.thread_time()
    assert Reason.ALLOWED_BY_RULE is ask(snapshot, "user:a", "VIEW", "FLOW", "a.n99999")
    assert time.thread_time() - started < 10
    started = time.thread_time()
    for number in range(1_000):
        assert Reason.ALLOWED_BY_RULE is ask(snapshot, "user:a", "VIEW", "FLOW", f"a.n{number}")
    assert time.thread_time() - started < 5


@pytest.mark.timeout(60)
def test_many_bindings_of_one_principal_are_not_walked() -> None:
    """A principal bound in each of 20,000 namespaces is answered like one that is bound in a hundred."""
    rows = "".join(f"g, user:a, role:r, acme/a.n{number}\n" for number in range(20_000))
    snapshot = compiled("p, role:r, acme, **, FLOW, VIEW, allow\n" + rows)
    assert Reason.OUT_OF_SCOPE is ask(snapshot, "user:a", "VIEW", "FLOW", "b")
    started = time.thread_time()
    for number in range(5_000):
        assert Reason.ALLOWED_BY_RULE is ask(snapshot, "user:a", "VIEW", "FLOW", f"a.n{number}")
    assert time.thread_time() - started < 2


def many_bindings_elsewhere() -> Snapshot:
    """A principal whose bindings and whose role's rows have no namespace in common: as many pairs as 500 times 100."""
    rows = "".join(f"p, role:r, acme, x.n{number}, FLOW, VIEW, allow\n" for number in range(100))
    return compiled(rows + "".join(f"g, user:a, role:r, acme/a.n{number}\n" for number in range(500)))


def test_rows_and_bindings_without_common_namespace_are_not_compared_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = many_bindings_elsewhere()
    compared = []
    overlaps = NamespacePattern.overlaps
    monkeypatch.setattr(NamespacePattern, "overlaps", lambda one, two: compared.append(one) or overlaps(one, two))
    assert Reason.NOT_GRANTED is ask(snapshot, "user:a", "VIEW", "FLOW", "b")
    assert len(compared) < 5_000


def test_search_for_another_namespace_stops_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its limit the reason is an upper bound; it says nothing about the effect."""
    monkeypatch.setattr("remit.engine.compiled.OVERLAPS_LIMIT", 10)
    assert Reason.OUT_OF_SCOPE is ask(many_bindings_elsewhere(), "user:a", "VIEW", "FLOW", "b")
    assert Reason.NOT_GRANTED is ask(many_bindings_elsewhere(), "user:a", "UPDATE", "FLOW", "b")


@pytest.mark.timeout(60)
def test_many_bindings_of_one_principal_are_refused_fast() -> None:
    """For a principal bound in 4,000 namespaces, a reason needs no comparison of each scope with each."""
    rows = "".join(f"g, user:a, role:r, acme/a.n{number}\n" for number in range(4_000))
    snapshot = compiled("p, role:r, acme, **, FLOW, VIEW, allow\n" + rows)
    started = time.thread_time()
    assert Reason.OUT_OF_SCOPE is ask(snapshot, "user:a", "VIEW", "FLOW", "b")
    assert time.thread_time() - started < 10


def test_requested_names_cannot_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown principals and namespaces fill the caches only up to their limits."""
    for name in ("_NAMESPACES", "_ANSWER_LISTS"):
        monkeypatch.setattr(f"remit.engine.snapshot.{name}", 300)
    snapshot = compiled("p, role:r, acme, *.**, FLOW, VIEW, allow\ng, user:a, role:r, acme/a.*\n")

    def flood(name: str, count: int) -> int:
        for number in range(count):
            for principal in (f"user:{name}{number}", "user:a"):
                ask(snapshot, principal, "VIEW", "FLOW", f"a.{name}{number}")
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = flood("x", 1_000)
        after = flood("y", 10_000)
    finally:
        tracemalloc.stop()
    assert after - before < 200_000


def test_a_snapshot_at_another_position_shares_what_is_compiled() -> None:
    before = compiled(ALL)
    moved = before.at(Position(Tenant("acme"), 2, "0" * 16))
    assert ask(moved, "user:a", "VIEW", "FLOW", "a") is Reason.ALLOWED_BY_RULE
    assert (before.position, str(moved.position)) == (None, "acme:2:0000000000000000")
    own = {name for name, value in vars(before).items() if vars(moved)[name] is not value}
    assert own == {"position"}
