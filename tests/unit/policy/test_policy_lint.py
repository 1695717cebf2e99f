"""What lint finds beside the examples of docs/reference/lint.md, and where it keeps quiet. Those are run by test_docs.py."""

from itertools import product

import pytest
from support.trees import tree_of

from remit.policy.lint.finding import RuleId
from remit.policy.lint.linter import EVERY_RULE, findings_of

VOCABULARY = """\
kinds:
  FLOW: {class: namespace, actions: [VIEW, CREATE, UPDATE, DELETE]}
  SECRET: {class: namespace, actions: [VIEW, UPDATE]}
  USER: {class: tenant, actions: [VIEW, IMPERSONATE]}
  BINDING: {class: tenant, actions: [VIEW, CREATE, DELETE]}
  TENANT: {class: instance, actions: [VIEW]}
relations: {SUBFLOW: {}, KV: {inherited: true}, SECRET: {inherited: true}}
"""
READER = "p, role:reader, acme, **, FLOW, VIEW, allow\n"
WRITER = "p, role:writer, acme, **, FLOW, CREATE|UPDATE, allow\n"


def found(*rules: RuleId, **files: str) -> list[str]:
    """What these rules find in files of acme; `__` in a name is a `/`, and what begins with it is another folder's."""
    paths = {"vocabulary.yaml": VOCABULARY.encode()}
    for name, content in files.items():
        file = f"{name.replace('__', '/')}.{'yaml' if name.endswith(('tenant', 'resources', 'vocabulary')) else 'csv'}"
        paths[file[1:] if file[0] == "/" else f"acme/{file}"] = content.encode()
    findings = findings_of(tree_of(paths), rules or EVERY_RULE)
    return [f"{each.place} {each.rule}: {each.message}" for each in findings]


def test_a_policy_without_fault_has_no_findings() -> None:
    assert [] == found(roles=READER, bindings="g, user:bob, role:reader, acme/data.**\n")


@pytest.mark.parametrize(
    ("bindings", "expected"),
    [
        # A chain whose scopes have nothing in common, though each overlaps the row's namespaces.
        (
            (
                "g, user:bob, group:g, acme/a.**\ng, group:g, group:h, acme/b.**\n"
                "g, user:eve, group:g, acme/c.**\ng, group:h, role:reader, acme\ng, user:zoe, group:h, acme\n"
            ),
            ["acme/bindings.csv:2:4"],
        ),
        # `*.x` and `y.*` have y.x in common.
        ("g, user:bob, group:g, acme/*.x\ng, group:g, role:reader, acme/y.*\n", []),
        # Two memberships together reach both.
        ("g, user:bob, group:g, acme/a.**\ng, user:bob, group:g, acme/b.**\ng, group:g, role:reader, acme/b.*\n", []),
    ],
)
def test_g_rows_count_where_their_chains_have_a_namespace_in_common(bindings: str, expected: list[str]) -> None:
    told = found(RuleId.NEVER_MATCHING, roles=READER, bindings=bindings)

    assert expected == [each.partition(" ")[0] for each in told]


ROOT_VIEWER = "p, role:viewer, *, **, USER, VIEW, allow\n"


@pytest.mark.parametrize(
    ("bindings", "dead"),
    [
        # The role's rows are elsewhere; another binding is where they are.
        ("g, user:bob, role:local, acme/b.**\ng, user:eve, role:local, acme/a.**\n", [1]),
        # All of the role's rows are dead, which is said of them.
        ("g, user:bob, role:local, acme/b.**\n", []),
        # A group's binding gives where a member holds it.
        ("g, user:bob, group:g, acme/b.**\ng, group:g, role:local, acme\ng, user:eve, role:local, acme\n", [2]),
        ("g, user:bob, group:g, acme/a.b\ng, group:g, role:local, acme\ng, user:eve, role:local, acme\n", []),
        # What the role includes counts too.
        ("g, role:more, role:local, acme\ng, user:bob, role:more, acme/b.**\ng, user:eve, role:more, acme\n", [2]),
        ("g, role:more, role:local, acme\ng, user:bob, role:more, acme/a.x\n", []),
        # A kind that lives in no namespace, by a managed role.
        ("g, user:bob, role:viewer, acme/a.**\n", [1]),
        ("g, user:bob, role:viewer, acme\n", []),
        # What one gives, the other gives too.
        ("g, user:ada, role:local, acme/a\ng, user:bob, role:local, acme/a\n", []),
    ],
)
def test_binding_without_effect_in_its_scope_is_found(bindings: str, dead: list[int]) -> None:
    told = found(
        RuleId.NEVER_MATCHING,
        __roles=ROOT_VIEWER,
        roles="p, role:local, acme, a.**, FLOW, VIEW, allow\n",
        bindings=bindings,
        __globex__bindings="g, user:eve, role:viewer, globex\n",
    )

    assert [f"acme/bindings.csv:{line}" for line in dead] == [
        each.partition(" ")[0].rpartition(":")[0] for each in told if "gives nothing" in each
    ]


def test_bindings_of_unlisted_principals_give_nothing() -> None:
    """A membership in a listed group admits a member, with any scope. No other row does."""
    told = found(
        RuleId.NEVER_MATCHING,
        RuleId.DENY_NEVER_APPLIES,
        roles=READER,
        bindings="g, user:bob, group:in, acme/a.**\ng, group:in, role:reader, acme\n"
        "g, user:eve, role:reader, acme\np, user:eve, acme, **, FLOW, *, deny\n",
        tenant="access: [group:in]\n",
    )

    assert [
        (
            "acme/bindings.csv:3:4 never-matching: `g, user:eve, role:reader, acme` counts for no question: "
            "`user:eve` is not on the access list"
        ),
        (
            "acme/bindings.csv:4:4 deny-never-applies: `p, user:eve, acme, **, FLOW, *, deny` matches no question: "
            "`user:eve` is not on the access list"
        ),
    ] == told


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Each relation by a row of its own.
        ("p, acme, **, a, KV, deny\np, acme, **, a, SUBFLOW, allow\np, acme, b, a, KV|SUBFLOW, allow\n", [3]),
        # The namespace itself, and what is below it.
        ("p, acme, b, a, KV, deny\np, acme, b.*.**, a, KV, deny\np, acme, b.**, a, KV, allow\n", [3]),
        # Names are endless: two spelt out are not all.
        ("p, acme, b.x, a, KV, deny\np, acme, b.y, a, KV, deny\np, acme, b.*, a, KV, allow\n", []),
        # A namespace may always use its own.
        ("p, acme, a, a, KV, deny\np, acme, a.*, a.*, KV, deny\n", [1]),
        # b itself is left.
        ("p, acme, b.*.**, a, KV, deny\np, acme, b.**, a, KV, allow\n", []),
    ],
)
def test_reach_rows_that_the_rows_above_cover_together(rows: str, expected: list[int]) -> None:
    told = found(RuleId.NEVER_MATCHING, reach=rows)

    assert [f"acme/reach.csv:{line}:1" for line in expected] == [each.partition(" ")[0] for each in told]


def test_managed_rows_are_judged_over_all_tenants() -> None:
    root = (
        "p, role:viewer, *, **, FLOW, VIEW, allow\np, role:viewer, *, **, USER, VIEW, allow\n"
        "p, role:idle, *, **, FLOW, VIEW, allow\np, role:empty, *, **, FLOW, VIEW, allow\n"
        "p, role:viewer, *, **, FLOW, VIEW, allow\n"
    )
    partly = found(
        __roles=root,
        bindings="g, user:bob, role:viewer, acme/a.**\ng, group:nobody, role:empty, acme\n",
        __globex__bindings="g, user:eve, role:viewer, globex/b.**\n",
    )

    assert [
        "acme/bindings.csv:2:4 group-without-members",
        "roles.csv:2:4 never-matching",
        "roles.csv:3:4 unused-role",
        "roles.csv:4:4 role-nobody-holds",
        "roles.csv:5:1 redundant-row",
    ] == [each.partition(": ")[0] for each in partly]
    whole = found(RuleId.NEVER_MATCHING, __roles=root, __globex__bindings="g, user:eve, role:viewer, globex\n")
    assert [] == whole


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ("p, user:a, acme, x, FLOW, VIEW, allow\np, user:a, acme, x, FLOW, VIEW, allow\n", [2]),
        ("p, user:a, acme, x, FLOW, VIEW|UPDATE, allow\np, user:a, acme, x, FLOW, UPDATE|VIEW, allow\n", [2]),
        # A deny overrules; an allow does not cover a deny.
        ("p, user:a, acme, x, FLOW, VIEW, allow\np, user:a, acme, x.**, *, *, deny\n", [1]),
        ("p, user:a, acme, x, FLOW, VIEW, deny\np, user:a, acme, x.**, *, *, allow\n", []),
        # `*` goes on to mean more than the actions there are today.
        ("p, user:a, acme, x, SECRET, *, allow\np, user:a, acme, x, SECRET, VIEW|UPDATE, allow\n", [2]),
        ("p, user:a, acme, x, *, VIEW, allow\np, user:a, acme, x, FLOW|SECRET, VIEW, allow\n", [2]),
        ("p, user:a, acme, x, FLOW, VIEW, allow\np, user:b, acme, **, FLOW, VIEW, allow\n", []),
        ("p, user:a, acme, x.*, FLOW, VIEW, allow\np, user:a, acme, x.y, FLOW, VIEW, allow\n", [2]),
        ("g, user:a, group:b, acme\ng, user:a, group:b, acme/x.**\ng, user:a, group:b, acme\n", [2, 3]),
        ("g, user:a, group:b, acme/x.*\ng, user:a, group:b, acme/y.*\n", []),
    ],
)
def test_rows_that_another_row_covers(rows: str, lines: list[int]) -> None:
    told = found(RuleId.REDUNDANT_ROW, bindings=rows)

    assert [f"acme/bindings.csv:{line}:1" for line in lines] == [each.partition(" ")[0] for each in told]


@pytest.mark.parametrize(
    ("deny", "applies"),
    [
        ("p, user:bob, acme, a.b, FLOW, VIEW, deny", True),
        ("p, user:bob, acme, a.b, FLOW, UPDATE, deny", False),
        ("p, user:bob, acme, b, FLOW, VIEW, deny", False),
        ("p, group:g, acme, **, *, VIEW, deny", True),
        ("p, role:reader, acme, a.x, FLOW, *, deny", True),
        ("p, role:reader, acme, **, SECRET, *, deny", False),
        # Another principal's allow is no reason.
        ("p, user:eve, acme, **, FLOW, VIEW, deny", False),
    ],
)
def test_deny_applies_if_a_row_allows_it_to_a_matching_principal(deny: str, applies: bool) -> None:
    told = found(
        RuleId.DENY_NEVER_APPLIES,
        roles=READER,
        bindings=f"g, user:bob, group:g, acme\ng, group:g, role:reader, acme/a.**\n{deny}\n",
    )

    assert applies == (told == [])


def test_admin_of_everything_escalates_only_by_lifting_denies() -> None:
    admin = "p, role:admin, acme, **, *, *, allow\ng, user:alice, role:admin, acme\n"

    assert [] == found(RuleId.PRIVILEGE_ESCALATION, bindings=admin)
    told = found(RuleId.PRIVILEGE_ESCALATION, bindings=f"{admin}p, user:alice, acme, x, FLOW, UPDATE, deny\n")
    assert [
        (
            "acme/bindings.csv:2:4 privilege-escalation: `user:alice` may BINDING CREATE|DELETE, USER IMPERSONATE, "
            "and so change what they hold themselves"
        )
    ] == told


RUNTIME = """runtime:
  roles: [role:grantee]
  scopes: ["**"]
"""


@pytest.mark.parametrize(
    ("actions", "manifest", "told"),
    [
        ("CREATE|DELETE", RUNTIME, ""),
        ("CREATE|DELETE", "", "BINDING CREATE|DELETE"),
        ("GRANT_ANY", "", ""),
        ("CREATE|GRANT_ANY", RUNTIME, "BINDING GRANT_ANY"),
        ("CREATE|UPDATE", RUNTIME, "BINDING UPDATE"),
    ],
)
def test_the_gates_of_run_time_hold_a_granter_who_may_not_pass_them_by(actions: str, manifest: str, told: str) -> None:
    rows = f"p, role:grantee, acme, **, BINDING, {actions}, allow\ng, user:bob, role:grantee, acme\n"
    vocabulary = VOCABULARY.replace("[VIEW, CREATE, DELETE]", "[VIEW, CREATE, UPDATE, DELETE, GRANT_ANY]")
    given = {"tenant": manifest} if manifest else {}

    found_ = found(RuleId.PRIVILEGE_ESCALATION, bindings=rows, __vocabulary=vocabulary, **given)

    texts = [
        f"acme/bindings.csv:2:4 privilege-escalation: `user:bob` may {told}, and so change what they hold themselves"
    ]
    assert (texts if told else []) == found_


@pytest.mark.parametrize(
    "more",
    [
        "g, group:help, role:hr, acme/x.**\n",  # a kind of class tenant, bound on a part of it
        "g, group:help, role:hr, acme\np, user:bob, acme, **, USER, IMPERSONATE, deny\n",
        "g, group:help, role:hr, acme\np, role:hr, acme, **, USER, *, deny\n",
    ],
)
def test_escalation_needs_a_right_that_is_allowed(more: str) -> None:
    rows = f"p, role:hr, acme, **, USER, IMPERSONATE, allow\ng, user:bob, group:help, acme\n{more}"

    assert [] == found(RuleId.PRIVILEGE_ESCALATION, bindings=rows)


def test_an_escalation_names_everybody_at_the_binding_they_share() -> None:
    rows = (
        "p, role:hr, acme, **, USER, IMPERSONATE, allow\ng, role:clerk, role:hr, acme\ng, group:help, role:clerk, acme\n"
        "g, user:bob, group:help, acme\ng, service:bot, group:help, acme\n"
    )

    assert [
        (
            "acme/bindings.csv:3:4 privilege-escalation: `service:bot`, `user:bob` may USER IMPERSONATE, "
            "and so change what they hold themselves"
        )
    ] == found(RuleId.PRIVILEGE_ESCALATION, bindings=rows)


@pytest.mark.parametrize(
    ("bindings", "reach", "taken"),
    [
        ("g, user:bob, role:writer, acme/a.b.c.**", "", ["SECRET of `a` and SECRET of `a.b`"]),
        ("g, user:bob, role:writer, acme/a.*.c", "", ["SECRET of `a` and SECRET of `a.*`"]),
        # All of a, so nothing is inherited that is not theirs to use anyway.
        ("g, user:bob, role:writer, acme/a.**", "", []),
        ("g, user:bob, role:writer, acme", "", []),
        # Where they hold something on secrets.
        ("g, user:bob, role:writer, acme/a.b.**\np, user:bob, acme, a, SECRET, VIEW, allow", "", []),
        # Reach cuts the inheritance, wholly, or for one caller alone.
        ("g, user:bob, role:writer, acme/a.b.**", "p, acme, **, a, *, deny", []),
        ("g, user:bob, role:writer, acme/a.b.**", "p, acme, a.b, a, *, deny", ["SECRET of `a`"]),
        ("g, user:bob, role:writer, acme/a.b", "p, acme, a.b, a, *, deny", []),
        ("g, user:bob, role:writer, acme/a.b.**", "p, acme, a.b, a, *, deny\np, acme, a.b.*.**, a, SECRET, deny", []),
        (
            "g, user:bob, role:writer, acme/a.b.**",
            "p, acme, a.b.c, a, SECRET, allow\np, acme, **, a, *, deny",
            ["SECRET of `a`"],
        ),
        # A child squatted below a namespace where they are kept from writing.
        ("g, user:bob, role:writer, acme/a.**\np, user:bob, acme, a, FLOW, *, deny", "", ["SECRET of `a`"]),
        ("g, user:bob, role:writer, acme/a.**\np, user:bob, acme, a.**, FLOW, *, deny", "", []),
    ],
)
def test_inherited_secrets_names_principals_who_write_work_below(bindings: str, reach: str, taken: list[str]) -> None:
    told = found(RuleId.INHERITED_SECRETS, roles=WRITER, bindings=f"{bindings}\n", reach=f"{reach}\n" if reach else "")

    assert [
        f"acme/bindings.csv:1:4 inherited-secrets: `user:bob` may write work that inherits {each}, "
        f"where they hold nothing on it"
        for each in taken
    ] == told


def test_lint_reports_undecided_past_its_limit_of_scopes() -> None:
    literals = ("a", "b", "c", "d", "e")
    names = ["user:x", *(f"group:g{number}" for number in range(6)), "role:reader"]
    rows = [
        f"g, {names[depth]}, {names[depth + 1]}, acme/{'*.' * depth}{literal}.**\n"
        for depth, literal in product(range(6), literals)
    ]

    told = found(RuleId.UNDECIDED, roles=READER, bindings="".join([*rows, "g, group:g5, role:reader, acme\n"]))

    assert [
        "acme/bindings.csv:1:4 undecided: the chains from `user:x` have more than 4096 scopes: what it holds is not judged"
    ] == told
    assert [] == found(RuleId.UNDECIDED, roles=READER, bindings="g, user:x, role:reader, acme\n")


@pytest.mark.parametrize(
    ("one", "two", "similar"),
    [
        ("user:carol", "user:Carol", True),
        ("user:carol", "user:carols", True),
        ("user:carol", "user:karol", True),
        ("user:xabcd", "user:abcdy", False),
        ("user:abcde", "user:abced", False),
        ("user:team1", "user:team2", False),
        ("user:eu1", "user:eux1", False),
        ("user:data", "group:datax", False),
        ("role:editor", "role:editors", True),
    ],
)
def test_names_that_differ_in_case_or_by_one_letter(one: str, two: str, similar: bool) -> None:
    row = "p, {}, acme, **, FLOW, VIEW, allow\n"
    told = found(RuleId.SIMILAR_NAMES, roles=row.format(one) + row.format(two))

    assert similar == bool(told)
    assert not told or told[0].startswith(f"acme/roles.csv:2:4 similar-names: `{two}` is nearly `{one}`")


def test_words_of_the_vocabulary_and_namespaces_beside_one_another_are_compared() -> None:
    words = "kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n  Flow: {class: namespace, actions: [VIEW]}\n"
    told = found(
        RuleId.SIMILAR_NAMES,
        __vocabulary=words,
        roles="p, user:a, acme, x.orders, FLOW, VIEW, allow\np, user:b, acme, y.order, FLOW, VIEW, allow\n"
        "p, user:c, acme, x.order.**, FLOW, VIEW, allow\n",
    )

    assert [
        "acme/roles.csv:3:18 similar-names: namespace `x.order` is nearly `x.orders`, named elsewhere",
        "vocabulary.yaml:3:3 similar-names: `Flow` is nearly `FLOW`, declared too",
    ] == told


def test_a_suppression_covers_the_line_below_it_and_other_comments_may_stand_between() -> None:
    wild = "p, user:alice, acme, **, *, *, allow\n"
    both = (
        "# remit: ignore whole-tenant-wildcard: she runs the place\n# why: see the handbook\n"
        "# remit: ignore future-kinds: she is to run what comes\n"
    )

    assert [] == found(bindings=both + wild)
    assert ["whole-tenant-wildcard", "future-kinds", "bad-suppression", "bad-suppression"] == sorted(
        (each.split(" ")[1].rstrip(":") for each in found(bindings=f"{both}\n{wild}")),
        key=["whole-tenant-wildcard", "future-kinds", "bad-suppression"].index,
    )


def test_suppressions_work_in_yaml() -> None:
    manifest = "namespaces:\n  # remit: ignore dedicated-too-high: more is to come\n  a: {dedicated: {storage: s}}\n"
    files = {
        "__resources": "storage: {s: {tenants: [acme]}}\n",
        "bindings": "p, user:bob, acme, a.b, FLOW, VIEW, allow\n",
    }

    assert [] == found(tenant=manifest, **files)
    assert ["acme/tenant.yaml:2:19 dedicated-too-high"] == [
        each.partition(": ")[0]
        for each in found(
            tenant=manifest.replace("  # remit: ignore dedicated-too-high: more is to come\n", ""), **files
        )
    ]


@pytest.mark.parametrize(
    "comment",
    [
        "# remit: ignore",
        "# remit: ignore future-kinds",
        "# remit: ignore future-kinds:",
        "# remit: ignore future-kinds:   ",
        "# remit: ignore future_kinds: because",
        "# remit: ignore bad-suppression: because",
        "# remit: ignore does-not-load: because",
        "# remit: please be quiet",
        "# remit: ignore redundant-row: because",
        "# remit: ignore future-kinds: because\n# remit: ignore future-kinds: again",
    ],
)
def test_malformed_suppression_is_a_finding(comment: str) -> None:
    told = found(RuleId.BAD_SUPPRESSION, *RuleId, bindings=f"{comment}\np, user:a, acme, **, *, VIEW, allow\n")

    assert 1 == len([each for each in told if "bad-suppression" in each])


def test_suppression_of_a_rule_that_did_not_run_has_no_finding() -> None:
    rows = "# remit: ignore redundant-row: because\np, user:a, acme, **, FLOW, VIEW, allow\n"

    assert [] == found(RuleId.BAD_SUPPRESSION, RuleId.FUTURE_KINDS, bindings=rows)
    assert 1 == len(found(RuleId.BAD_SUPPRESSION, RuleId.REDUNDANT_ROW, bindings=rows))


def test_empty_group_is_reported_once() -> None:
    told = found(
        RuleId.GROUP_WITHOUT_MEMBERS,
        roles=READER,
        bindings="g, group:a, group:b, acme\ng, group:b, role:reader, acme\ng, group:c, role:reader, acme\n"
        "g, group:c, role:reader, acme/x\n",
        tenant="access: [group:a, group:d]\n",
    )

    assert [
        "acme/bindings.csv:1:4",
        "acme/bindings.csv:2:4",
        "acme/bindings.csv:3:4",
        "acme/tenant.yaml:1:19",
    ] == [each.partition(" ")[0] for each in told]


def test_the_instance_is_linted_by_its_own_kinds() -> None:
    told = found(___instance__bindings="p, role:owner, _instance, **, *, *, allow\ng, user:i, role:owner, _instance\n")

    assert ["_instance/bindings.csv:1:31 future-kinds", "_instance/bindings.csv:2:12 whole-tenant-wildcard"] == [
        each.partition(": ")[0] for each in told
    ]


CALLERS_ROLES = "p, role:enforcer, _callers, **, REMIT|REMIT_INSTANCE, CHECK, allow\n"


def test_roles_of_callers_may_wait_and_bind_no_managed_role() -> None:
    assert [] == found(roles="", ___callers__roles=CALLERS_ROLES)
    told = found(
        RuleId.UNUSED_ROLE,
        __roles="p, role:enforcer, *, **, FLOW, VIEW, allow\n",
        ___callers__roles=CALLERS_ROLES,
        ___callers__bindings="g, service:a, role:enforcer, _callers/acme\n",
    )
    assert ["roles.csv:1:4 unused-role: no tenant binds or includes `role:enforcer`"] == told


def test_tenants_that_are_named_alike_are_no_finding_and_unknown_ones_are() -> None:
    rows = (
        "g, service:a, role:enforcer, _callers/norths\n"
        "g, service:b, role:enforcer, _callers/north\n"
        "g, service:c, role:enforcer, _callers/*\n"
        "p, service:c, _callers, nort, REMIT, *, deny\n"
    )
    told = found(__north__roles="", __norths__roles="", ___callers__roles=CALLERS_ROLES, ___callers__bindings=rows)

    assert [
        "_callers/bindings.csv:4:25 unknown-tenant: there is no folder of a tenant `nort`; did you mean `north`?"
    ] == told


def test_a_wildcard_over_callers_is_a_finding() -> None:
    told = found(RuleId.WHOLE_TENANT_WILDCARD, ___callers__bindings="p, service:a, _callers, **, *, *, allow\n")

    assert [
        "_callers/bindings.csv:1:4 whole-tenant-wildcard: `service:a` gets every action on every kind in all of `_callers`"
    ] == told


WAITING = f"""{READER}{WRITER}p, role:frozen, acme, **, FLOW, *, deny
p, group:suspended, acme, **, *, *, deny
"""
WAITING_BINDINGS = "g, group:crew, role:writer, acme/a.**\ng, group:crew, role:frozen, acme/a.b.**\n"


def test_roles_and_groups_that_wait_for_members_at_run_time_are_in_order() -> None:
    """Without `runtime` each is a finding."""
    opened = "runtime: {roles: [role:reader], groups: ['group:c*'], scopes: [a.**], suspend: group:suspended}\n"
    idle = found(roles=WAITING, bindings=WAITING_BINDINGS)

    assert [] == found(roles=WAITING, bindings=WAITING_BINDINGS, tenant=opened)
    assert {"unused-role", "role-nobody-holds", "group-without-members"} == {each.split()[1][:-1] for each in idle}


@pytest.mark.parametrize(
    ("opened", "applies"),
    [
        ("roles: [role:writer], scopes: ['**']", True),
        ("groups: ['group:c*'], scopes: [a.b]", True),
        ("groups: ['group:c*'], scopes: [b]", False),
        ("roles: [role:reader], scopes: ['**']", False),
        ("suspend: group:suspended", False),
    ],
)
def test_deny_applies_to_what_its_principal_may_be_granted_at_run_time(opened: str, applies: bool) -> None:
    """A leaver who holds nothing else; `group:left` has another one."""
    bindings = (
        f"{WAITING_BINDINGS}p, user:leo, acme, **, FLOW, CREATE|UPDATE, deny\n"
        "g, user:lea, group:left, acme\np, group:left, acme, a.**, FLOW, UPDATE, deny\n"
    )
    told = found(RuleId.DENY_NEVER_APPLIES, roles=WAITING, bindings=bindings, tenant=f"runtime: {{{opened}}}\n")

    lines = [each.split()[0] for each in told if each.startswith("acme/bindings.csv")]
    assert ([] if applies else ["acme/bindings.csv:3:4", "acme/bindings.csv:5:4"]) == lines


@pytest.mark.parametrize("opened", ["groups: [group:in], scopes: [a.**]", "roles: [role:reader], scopes: ['**']"])
def test_rows_of_somebody_who_may_be_admitted_at_run_time_count(opened: str) -> None:
    told = found(
        RuleId.NEVER_MATCHING,
        RuleId.DENY_NEVER_APPLIES,
        roles=READER,
        bindings="g, group:in, role:reader, acme\ng, user:eve, role:reader, acme\n"
        "p, user:eve, acme, a.**, FLOW, *, deny\n",
        tenant=f"access: [group:in]\nruntime: {{{opened}}}\n",
    )

    assert ("groups" in opened) == (told == [])


def test_row_out_of_the_scopes_that_are_opened_matches_nothing() -> None:
    opened = "runtime: {groups: [group:crew], scopes: [a.**]}\n"
    row = "p, group:crew, acme, b.**, FLOW, VIEW, allow\n"

    assert ["acme/bindings.csv:1:4"] == [
        each.split()[0] for each in found(RuleId.NEVER_MATCHING, bindings=row, tenant=opened)
    ]


def test_managed_role_that_a_tenant_opens_is_used() -> None:
    opened = "runtime: {roles: ['role:v*'], scopes: ['**']}\n"

    assert ["unused-role:"] == [each.split()[1] for each in found(__roles=ROOT_VIEWER)]
    assert [] == found(__roles=ROOT_VIEWER, tenant=opened)
