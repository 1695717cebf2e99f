"""What `remit import casbin` tells and refuses: each finding on a policy that has it, and none on one that has not."""

from itertools import pairwise

import pytest
from support.trees import rows_in, snapshot_of

from remit.core.decision import Reason
from remit.core.names import Tenant
from remit.core.question import parse_question
from remit.core.rows import Effect
from remit.migrate.casbin.enforcer import Enforcer, ModelError, lines_of
from remit.migrate.casbin.translate import import_casbin
from remit.migrate.finding import KESTRA, FindingId, FindingSeverity, MigrationFinding
from remit.migrate.options import CasbinOptions, DomainReading, Imported, ObjectReading

ALLOWS = "some(where (p.eft == allow))"
BOTH = f"{ALLOWS} && !some(where (p.eft == deny))"
G = "g(r.sub, p.sub) && "
PLAIN = f"{G}r.obj == p.obj && r.act == p.act"
PATHS = f"{G}keyMatch(r.obj, p.obj) && r.act == p.act"
REST = f"{G}keyMatch2(r.obj, p.obj) && regexMatch(r.act, p.act)"
DOMAIN = "g(r.sub, p.sub, r.dom) && (p.dom == '*' || r.dom == p.dom) && r.obj == p.obj && r.act == p.act"
ACME = CasbinOptions(tenant=Tenant("acme"))
OK = "p, alice, data1, read, allow\n"


def model(
    matcher: str = PLAIN,
    *,
    request: str = "sub, obj, act",
    columns: str = "sub, obj, act, eft",
    effect: str = BOTH,
    roles: str = "g = _, _",
    more: str = "",
) -> str:
    return (
        f"[request_definition]\nr = {request}\n[policy_definition]\np = {columns}\n[role_definition]\n{roles}\n"
        f"[policy_effect]\ne = {effect}\n[matchers]\nm = {matcher}\n{more}"
    )


DOMAINS = model(DOMAIN, request="sub, dom, obj, act", columns="sub, dom, obj, act, eft", roles="g = _, _, _")
RESOURCES = model(f"{G}g2(r.obj, p.obj) && r.act == p.act", roles="g = _, _\ng2 = _, _")


def imported(text: str, rows: str, options: CasbinOptions = ACME) -> Imported:
    return import_casbin(Enforcer(text), "model.conf", lines_of("policy.csv", rows.encode()), options)


def chain(count: int) -> str:
    names = ["alice", *(f"r{number}" for number in range(count - 1)), "admin"]
    return "p, admin, data1, read, allow\n" + "".join(f"g, {one}, {two}\n" for one, two in pairwise(names))


# for each finding: a model, rows, options, and where it is found
CASES = {
    FindingId.ROW_IGNORED: (model(), f"{OK}P, alice, data1, write, deny\n", ACME, "policy.csv:2"),
    FindingId.ROW_UNREADABLE: (model(), f"{OK}p, alice), data1, write, deny\n", ACME, "policy.csv:2"),
    FindingId.WRONG_ARITY: (model(), f"{OK}p, alice, data1\n", ACME, "policy.csv:2"),
    FindingId.ROW_CUT: (model(), "p, admin, data1, read, allow\ng, alice, admin, tenant1\n", ACME, "policy.csv:2"),
    FindingId.EFFECT_UNKNOWN: (model(), f"{OK}p, alice, data1, read, Deny\n", ACME, "policy.csv:2"),
    FindingId.DENY_WITHOUT_EFFECT: (
        model(effect=ALLOWS),
        f"{OK}p, alice, data1, read, deny\n",
        ACME,
        "policy.csv:2",
    ),
    FindingId.QUOTES: (model(), 'p, alice, "data1", read, allow\n', ACME, "policy.csv:1"),
    FindingId.COMMENT_IN_ROW: (
        model(columns="sub, obj, act"),
        "p, alice, data1, read # note\n",
        ACME,
        "policy.csv:1",
    ),
    FindingId.BRACKETS: (model(), f"{OK}p, f(a, b), data1, read, allow\n", ACME, "policy.csv:2"),
    FindingId.EMPTY_FIELD: (model(), f"{OK}p, , data1, read, deny\n", ACME, "policy.csv:2"),
    FindingId.DUPLICATE_ROW: (model(), OK + OK, ACME, "policy.csv:2"),
    FindingId.POLICY_EMPTY: (model(), "", ACME, "model.conf"),
    FindingId.UNSUPPORTED_REQUEST: (model(request="sub, obj, act, time"), OK, ACME, "model.conf"),
    FindingId.UNSUPPORTED_MATCHER: (model(f"{PLAIN} && r.sub != p.sub"), OK, ACME, "model.conf"),
    FindingId.UNSUPPORTED_FUNCTION: (
        model(f"{G}globMatch(r.obj, p.obj) && r.act == p.act"),
        OK,
        ACME,
        "model.conf",
    ),
    FindingId.ABAC: (model("eval(p.sub) && r.obj == p.obj && r.act == p.act"), OK, ACME, "model.conf"),
    FindingId.PRIORITY_EFFECT: (
        model(effect="priority(p.eft) || deny"),
        f"p, alice, data1, read, deny\n{OK}",
        ACME,
        "policy.csv:1",
    ),
    FindingId.ALLOW_BY_DEFAULT: (model(effect="!some(where (p.eft == deny))"), OK, ACME, "model.conf"),
    FindingId.SECOND_DEFINITION: (model(more="m2 = r.sub == p.sub\n"), OK, ACME, "model.conf"),
    FindingId.DEFINITION_IGNORED: (model(more="m3 = r.sub == p.sub\n"), OK, ACME, "model.conf"),
    FindingId.CONDITIONAL_ROLE: (model(roles="g = _, _\ng2 = _, _, (_, _)"), OK, ACME, "model.conf"),
    FindingId.UNUSED_ROLE_DEFINITION: (model(roles="g = _, _\ng2 = _, _"), f"{OK}g2, a, b\n", ACME, "policy.csv:2"),
    FindingId.SUPERUSER: (model(f"{PLAIN} || r.sub == 'root'"), OK, ACME, "model.conf"),
    FindingId.UNREGISTERED_FUNCTION: (
        DOMAINS,
        "p, admin, t1, data1, read, allow\ng, alice, admin, *\n",
        CasbinOptions(),
        "policy.csv:2",
    ),
    FindingId.PREFIX_CROSSES_SEGMENT: (model(PATHS), "p, alice, /prod*, read, allow\n", ACME, "policy.csv:1"),
    FindingId.DOT_IS_ANY_CHARACTER: (model(REST), "p, alice, /v1.0/:id, read, allow\n", ACME, "policy.csv:1"),
    FindingId.TEXT_BEHIND_STAR: (model(PATHS), "p, alice, /x/*/public, read, allow\n", ACME, "policy.csv:1"),
    FindingId.UNTRANSLATABLE_PATTERN: (model(REST), "p, alice, /a/x:id, read, allow\n", ACME, "policy.csv:1"),
    FindingId.REGEX_PREFIX: (
        model(REST),
        "p, alice, /a, get, allow\np, alice, /b, getall, allow\n",
        ACME,
        "policy.csv:1",
    ),
    FindingId.WILDCARD_OBJECT: (
        model(f"{G}(p.obj == '*' || r.obj == p.obj) && r.act == p.act"),
        f"{OK}p, alice, *, read, allow\n",
        ACME,
        "policy.csv:2",
    ),
    FindingId.WILDCARD_ACTION: (
        model(f"{G}r.obj == p.obj && (p.act == '*' || r.act == p.act)"),
        f"{OK}p, alice, data1, *, allow\n",
        ACME,
        "policy.csv:2",
    ),
    FindingId.WILDCARD_DOMAIN: (
        DOMAINS,
        "p, alice, t1, data1, read, allow\np, alice, *, data1, read, allow\n",
        CasbinOptions(),
        "policy.csv:2",
    ),
    FindingId.NEVER_ASKED: (model(), f"{OK}p, alice, *, read, deny\n", ACME, "policy.csv:2"),
    FindingId.WILDCARD_SUBJECT: (
        model("(p.sub == '*' || r.sub == p.sub) && r.obj == p.obj && r.act == p.act"),
        f"{OK}p, *, data1, read, allow\n",
        ACME,
        "policy.csv:2",
    ),
    FindingId.GROUP_AS_OBJECT: (RESOURCES, "p, alice, all, read, allow\ng2, data1, all\n", ACME, "model.conf"),
    FindingId.NAME_MAPPED: (model(), "p, alice, data 1, read, allow\n", ACME, "model.conf"),
    FindingId.NAME_UNUSABLE: (model(), f"p, alice, {'x' * 65}, read, allow\n", ACME, "model.conf"),
    FindingId.NAME_COLLISION: (model(), f"{OK}p, user:alice, data1, read, allow\n", ACME, "policy.csv:2"),
    FindingId.CASE_TWINS: (model(), f"{OK}p, Alice, data1, read, allow\n", ACME, "model.conf"),
    FindingId.ROLE_AS_SUBJECT: (model(), f"{OK}g, bob, alice\n", ACME, "model.conf"),
    FindingId.SUBJECT_AMBIGUOUS: (model(), OK, ACME, "policy.csv:1"),
    FindingId.ROLE_WITHOUT_RULES: (model(), f"{OK}g, bob, admin\n", ACME, "policy.csv:2"),
    FindingId.ROLE_CYCLE: (model(), "p, a, data1, read, allow\ng, a, b\ng, b, a\n", ACME, "policy.csv:3"),
    FindingId.CHAIN_TOO_LONG: (model(), chain(10), ACME, "policy.csv:2"),
    FindingId.MISSING_WORD: (
        model(f"{G}(p.obj == '*' || r.obj == p.obj) && r.act == p.act"),
        "p, alice, *, read, allow\n",
        ACME,
        "model.conf",
    ),
    FindingId.CASBIN_RAISES: (
        model(f"{G}keyMatch3(r.obj, p.obj) && r.act == p.act"),
        "p, alice, /a, read, allow\np, alice, *, read, allow\n",
        ACME,
        "model.conf",
    ),
    FindingId.CASES_SAMPLED: (
        model(),
        f"{OK}p, bob, data2, write, allow\n",
        CasbinOptions(tenant=Tenant("acme"), cases=2),
        "model.conf",
    ),
    FindingId.ANSWER_NARROWED: (
        model(PATHS),
        "p, alice, /prod*, read, allow\np, bob, /prod2, read, allow\n",
        CasbinOptions(tenant=Tenant("acme"), accepted=frozenset({FindingId.PREFIX_CROSSES_SEGMENT})),
        "model.conf",
    ),
}


@pytest.mark.parametrize("finding", CASES)
def test_each_finding_names_its_place(finding: FindingId) -> None:
    text, rows, options, place = CASES[finding]
    found = imported(text, rows, options)

    assert (finding, place) in {(each.id, each.place) for each in found.findings}
    refused = [each for each in found.findings if each.severity is FindingSeverity.REFUSED]
    assert bool(refused) == (not found.files)


def test_each_finding_has_its_case() -> None:
    elsewhere = {FindingId.MODEL_UNREADABLE, FindingId.ANSWERS_DIFFER, FindingId.NOT_IN_CASBIN, *KESTRA}

    assert set(FindingId) == {*CASES, *elsewhere}


def test_lint_prints_no_finding_for_a_clean_policy() -> None:
    rows = "p, role:admin, data1, read, allow\ng, user:alice, role:admin\n"
    found = imported(model(), rows)

    assert (FindingId.ROLE_AS_SUBJECT,) == tuple(each.id for each in found.findings)
    assert "p, role:admin, acme, **, data1, read, allow" in rows_in(found.files["acme/roles.csv"])
    assert "g, user:alice, role:admin, acme" in rows_in(found.files["acme/bindings.csv"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (model(effect="some(where (p.eft==allow))"), "unsupported effect"),
        (model().replace("[request_definition]", "[Request_definition]"), "has no `r = ...` in a section"),
        ("r", "parse the content error"),
    ],
    ids=range(3),
)
def test_model_that_casbin_cannot_use_is_reported(text: str, told: str) -> None:
    with pytest.raises(ModelError, match=told.replace("(", r"\(")):
        Enforcer(text)


def test_a_byte_order_mark_loses_the_first_row() -> None:
    (found,) = (each for each in imported(model(), f"\ufeff{OK}{OK}").findings if each.id is FindingId.ROW_IGNORED)

    assert found.place == "policy.csv:1"


def decides(found: Imported, tenant: str, *question: str) -> bool:
    return snapshot_of({**found.files}, tenant).decide(parse_question(*question)).effect is Effect.ALLOW


def test_domains_become_tenants_by_default() -> None:
    """As tenants they are walls with files of their own; as namespaces they are places of one tenant."""
    rows = "p, admin, t1, data1, read, allow\np, admin, t2, data1, write, allow\ng, alice, admin, t1\n"
    walls = imported(DOMAINS, rows, CasbinOptions())
    places = imported(DOMAINS, rows, CasbinOptions(tenant=Tenant("acme"), domains=DomainReading.NAMESPACES))

    assert {"t1", "t2"} == {path.partition("/")[0] for path in walls.files if "/" in path}
    assert {"acme"} == {path.partition("/")[0] for path in places.files if "/" in path}
    for found, tenant, namespace in ((walls, "t1", ""), (places, "acme", "t1")):
        assert decides(found, tenant, "user:alice", "read", "data1", namespace)
        assert not decides(found, tenant, "user:alice", "write", "data1", namespace)
    assert not decides(places, "acme", "user:alice", "write", "data1", "t2")
    assert not decides(places, "acme", "user:alice", "read", "data1", "t1.below")


def test_role_in_every_domain_is_bound_in_each_tenant_if_an_option_says_so() -> None:
    rows = "p, admin, t1, data1, read, allow\np, admin, t2, data1, read, allow\ng, alice, admin, *\n"
    matching = imported(DOMAINS, rows, CasbinOptions(match_domains={"g": "keyMatch"}))
    literal = imported(DOMAINS, rows, CasbinOptions(match_domains={"g": "none"}))

    assert [True, True] == [decides(matching, tenant, "user:alice", "read", "data1", "") for tenant in ("t1", "t2")]
    assert [False, False] == [decides(literal, tenant, "user:alice", "read", "data1", "") for tenant in ("t1", "t2")]


def test_groups_of_objects_become_the_objects_in_them() -> None:
    """Through groups in groups; and through patterns of objects, where the program registers a function for them."""
    rows = "p, alice, all, read, allow\ng2, data1, some\ng2, some, all\ng2, data2, all\n"
    named = imported(RESOURCES, rows)
    patterned = imported(
        RESOURCES,
        "p, alice, books, read, allow\ng2, /book/:id, books\n",
        CasbinOptions(tenant=Tenant("acme"), match={"g2": "keyMatch2"}),
    )

    assert "p, user:alice, acme, **, data1|data2, read, allow" in rows_in(named.files["acme/roles.csv"])
    assert "p, user:alice, acme, book.*, OBJECT, read, allow" in rows_in(patterned.files["acme/roles.csv"])


def test_person_that_others_hold_may_ask_if_an_option_says_so() -> None:
    rows = f"{OK}g, bob, alice\n"
    options = CasbinOptions(tenant=Tenant("acme"), persons=("alice",))
    silent, said = imported(model(), rows), imported(model(), rows, options)

    assert not decides(silent, "acme", "user:alice", "read", "data1", "")
    assert decides(said, "acme", "user:alice", "read", "data1", "")
    assert decides(said, "acme", "user:bob", "read", "data1", "")


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        ("keyMatch", "/a/*", "a.*.**"),
        ("keyMatch", "/a", "a"),
        ("keyMatch", "*", "**"),
        ("keyMatch", "company.team.*", "company.team.*.**"),
        ("keyMatch2", "/a/:id", "a.*"),
        ("keyMatch2", "/a/:id/*", "a.*.*.**"),
        ("keyMatch3", "/a/{id}/b", "a.*.b"),
        ("keyMatch4", "/a/{id}/b/{other}", "a.*.b.*"),
        ("keyMatch5", "/a/{id}", "a.*"),
    ],
)
def test_patterns_of_whole_segments_are_translated(function: str, text: str, expected: str) -> None:
    """Casbin's answers in and around each pattern hold, or the import would be refused."""
    matcher = f"{G}{function}(r.obj, p.obj) && r.act == p.act"
    more = () if text.startswith("company") else ("/a/b",)
    options = CasbinOptions(tenant=Tenant("acme"), objects_more=more)
    found = imported(model(matcher), f"p, alice, {text}, read, allow\n", options)

    assert f"p, user:alice, acme, {expected}, OBJECT, read, allow" in rows_in(found.files["acme/roles.csv"])


def test_patterns_that_hold_a_segment_twice_are_refused() -> None:
    matcher = f"{G}keyMatch4(r.obj, p.obj) && r.act == p.act"
    found = imported(model(matcher), "p, alice, /a/{id}/b/{id}, read, allow\n")

    assert found.refused


def test_a_deny_is_never_narrowed() -> None:
    options = CasbinOptions(tenant=Tenant("acme"), accepted=frozenset({FindingId.PREFIX_CROSSES_SEGMENT}))

    assert imported(model(PATHS), "p, alice, /prod*, read, deny\n", options).refused
    assert not imported(model(PATHS), "p, alice, /prod*, read, allow\n", options).refused


def test_a_superuser_of_the_matcher_is_stopped_by_any_deny_as_in_casbin() -> None:
    text = model(f"{PLAIN} || r.sub == 'root'")
    open_to_all = imported(text, OK)
    with_a_deny = imported(text, f"{OK}p, bob, data2, write, deny\n")

    assert decides(open_to_all, "acme", "user:root", "read", "data1", "")
    assert not decides(with_a_deny, "acme", "user:root", "read", "data1", "")


def test_translation_with_another_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The written files answer their own tests before they are written."""
    monkeypatch.setattr(Enforcer, "allows", lambda *_: False)
    found = imported(model(), OK)

    assert [(FindingId.ANSWERS_DIFFER, "acme/tests/casbin.yaml")] == [
        (each.id, each.place) for each in found.findings if each.severity is FindingSeverity.REFUSED
    ]
    assert {} == found.files


def test_findings_print_as_a_line() -> None:
    finding = MigrationFinding(FindingId.QUOTES, FindingSeverity.WARNING, "policy.csv:3", "`x`")

    assert str(finding) == "policy.csv:3: warning quotes: `x`"


def test_objects_can_be_namespaces_without_patterns() -> None:
    options = CasbinOptions(tenant=Tenant("acme"), objects=ObjectReading.NAMESPACES, kind="DATA")
    found = imported(model(), "p, alice, sales.eu, read, allow\n", options)

    assert decides(found, "acme", "user:alice", "read", "DATA", "sales.eu")
    assert not decides(found, "acme", "user:alice", "read", "DATA", "sales.eu.below")


PAYROLL = (
    "p, *, payroll, read, deny\np, /temp/:id, payroll, write, deny\np, staff, payroll, read, allow\n"
    "p, staff, payroll, write, allow\ng, alice, staff\ng, /temp/7, staff\n"
)


def refusals(found: Imported) -> set[tuple[FindingId, str]]:
    return {(each.id, each.place) for each in found.findings if each.severity is FindingSeverity.REFUSED}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, {(FindingId.UNREGISTERED_FUNCTION, "policy.csv:1"), (FindingId.UNREGISTERED_FUNCTION, "policy.csv:2")}),
        (
            {"g": "keyMatch2"},
            {(FindingId.WILDCARD_SUBJECT, "policy.csv:1"), (FindingId.UNTRANSLATABLE_PATTERN, "policy.csv:2")},
        ),
        ({"g": "keyMatch"}, {(FindingId.WILDCARD_SUBJECT, "policy.csv:1")}),
    ],
    ids=range(3),
)
def test_import_never_reads_a_deny_of_everybody_as_a_person(
    match: dict[str, str], expected: set[tuple[FindingId, str]]
) -> None:
    """Casbin for Go lets a pattern as the subject of a p row stand for whom it matches; Casbin for Python does not."""
    found = imported(model(), PAYROLL, CasbinOptions(tenant=Tenant("acme"), match=match))

    assert expected == refusals(found)
    assert FindingId.NEVER_ASKED not in {each.id for each in found.findings}


def test_subject_that_no_function_reads_as_a_pattern_is_left_out_and_reported() -> None:
    found = imported(model(), PAYROLL, CasbinOptions(tenant=Tenant("acme"), match={"g": "none"}))

    assert (FindingId.NEVER_ASKED, "policy.csv:1") in {(each.id, each.place) for each in found.findings}
    assert "user:%2A" not in found.files["acme/roles.csv"].decode()
    assert decides(found, "acme", "user:alice", "read", "payroll", "")


def test_star_that_others_hold_is_a_role_without_a_registered_function() -> None:
    options = CasbinOptions(tenant=Tenant("acme"), match={"g": "none"})
    found = imported(model(), "p, *, payroll, read, allow\ng, alice, *\n", options)

    assert decides(found, "acme", "user:alice", "read", "payroll", "")


@pytest.mark.parametrize("row", ["g, /temp/:id, staff", "g, alice, /staff/:id"])
@pytest.mark.parametrize(
    ("match", "finding"),
    [({}, FindingId.UNREGISTERED_FUNCTION), ({"g": "keyMatch2"}, FindingId.UNTRANSLATABLE_PATTERN)],
    ids=range(2),
)
def test_a_pattern_of_people_or_roles_is_refused_without_a_star(
    row: str, match: dict[str, str], finding: FindingId
) -> None:
    options = CasbinOptions(tenant=Tenant("acme"), match=match)

    found = imported(model(), f"p, staff, payroll, read, allow\n{row}\n", options)
    assert {(finding, "policy.csv:2")} == refusals(found)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, {(FindingId.UNREGISTERED_FUNCTION, "policy.csv:1")}),
        ({"g2": "keyMatch2"}, {(FindingId.UNTRANSLATABLE_PATTERN, "policy.csv:1")}),
    ],
    ids=range(2),
)
def test_a_pattern_of_objects_outside_of_groups_is_refused(
    match: dict[str, str], expected: set[tuple[FindingId, str]]
) -> None:
    """As with subjects: of two Casbins one takes it for a pattern."""
    rows = "p, alice, /books/*, read, deny\np, alice, books, read, allow\ng2, /books/1, books\n"
    assert expected == refusals(imported(RESOURCES, rows, CasbinOptions(tenant=Tenant("acme"), match=match)))


FLAGSHIP = """\
p, alice, /pen/1, GET
p, alice, /pen2/1, GET
p, book_admin, book_group, GET
p, pen_admin, pen_group, GET
g, alice, book_admin
g, bob, pen_admin
g2, /book/:id, book_group
g2, /pen/:id, pen_group
g2, /book2/{id}, book_group
g2, /pen2/{id}, pen_group
"""


@pytest.mark.parametrize(
    ("function", "alice", "bob"),
    [
        ("keyMatch2", ["/book/7", "/pen/1", "/pen2/1"], ["/pen/1"]),
        ("keyMatch3", ["/book2/7", "/pen/1", "/pen2/1"], ["/pen2/1"]),
    ],
)
def test_patterns_of_another_function_are_plain_text(function: str, alice: list[str], bob: list[str]) -> None:
    """Casbin's own example rbac_with_pattern has those of two."""
    matcher = f"{G}g2(r.obj, p.obj) && regexMatch(r.act, p.act)"
    text = model(matcher, columns="sub, obj, act", roles="g = _, _\ng2 = _, _")
    found = imported(text, FLAGSHIP, CasbinOptions(tenant=Tenant("acme"), match={"g2": function}))

    asked = {name: name.strip("/").replace("/", ".") for name in ("/book/7", "/book2/7", "/pen/1", "/pen2/1")}
    for person, allowed in (("user:alice", alice), ("user:bob", bob)):
        assert allowed == [
            name for name, each in asked.items() if decides(found, "acme", person, "GET", "OBJECT", each)
        ]


@pytest.mark.parametrize("text", ["/a/{2}", "/a/x{2}", "/a/{i+}", "/a/{id}+"])
def test_braces_with_a_repetition_are_refused(text: str) -> None:
    found = imported(model(REST), f"p, alice, {text}, get, allow\n")

    assert FindingId.UNTRANSLATABLE_PATTERN in {finding for finding, _ in refusals(found)}


GO_DOMAINS = "g(r.sub, p.sub, r.dom) && keyMatch(r.dom, p.dom) && r.obj == p.obj && r.act == p.act"
SUSPENDED = (
    "p, staff, acme, payroll, read, allow\np, suspended, acme, payroll, read, deny\n"
    "g, alice, staff, acme\ng, alice, suspended, *\n"
)


@pytest.mark.parametrize(
    ("matcher", "match", "finding", "told"),
    [
        (GO_DOMAINS, {}, FindingId.UNREGISTERED_FUNCTION, True),
        (GO_DOMAINS, {"g": "none"}, FindingId.NEVER_ASKED, True),
        (DOMAIN, {}, FindingId.UNREGISTERED_FUNCTION, False),
        (DOMAIN, {"g": "none"}, FindingId.NEVER_ASKED, False),
    ],
    ids=range(4),
)
def test_function_that_casbin_for_go_registers_itself_is_reported(
    matcher: str, match: dict[str, str], finding: FindingId, told: bool
) -> None:
    """Or a deny that holds in every domain of a Go program would be lost where one says that it registers nothing."""
    text = model(matcher, request="sub, dom, obj, act", columns="sub, dom, obj, act, eft", roles="g = _, _, _")
    found = imported(text, SUSPENDED, CasbinOptions(match_domains=match))

    (message,) = (each.message for each in found.findings if each.id is finding and each.place == "policy.csv:4")
    assert told == ("Casbin for Go registers `keyMatch` for domains by itself" in message)


def test_rows_without_a_domain_are_reported_to_count_in_every_domain() -> None:
    """They are copied into the domains that are known, and Casbin would count them in any other too."""
    matcher = "g(r.sub, p.sub, r.dom) && r.obj == p.obj && r.act == p.act"
    text = model(matcher, request="sub, dom, obj, act", roles="g = _, _, _")
    rows = "p, admin, data1, read, allow\np, bob, data1, read, allow\ng, alice, admin, t1\n"
    found = imported(text, rows, CasbinOptions())

    told = [(each.place, each.message) for each in found.findings if each.id is FindingId.WILDCARD_DOMAIN]
    assert [("model.conf", "`p` rows name no domain, so each counts in every domain: copied into 1")] == told
    assert decides(found, "t1", "user:bob", "read", "data1", "")


def test_group_of_objects_is_asked_about_if_an_option_says_so() -> None:
    """Casbin answers a request about the group's own name as it does one about an object in it."""
    rows = "p, alice, data_group, write, allow\ng2, data1, data_group\n"
    silent = imported(RESOURCES, rows)
    said = imported(RESOURCES, rows, CasbinOptions(tenant=Tenant("acme"), objects_more=("data_group",)))

    question = parse_question("user:alice", "write", "data_group", "")
    assert Reason.UNKNOWN_KIND is snapshot_of({**silent.files}, "acme").decide(question).reason
    assert decides(said, "acme", "user:alice", "write", "data_group", "")
    assert FindingId.GROUP_AS_OBJECT not in {each.id for each in said.findings}
