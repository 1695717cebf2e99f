"""What `remit import kestra` tells, refuses and writes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trees import rows_in, snapshot_of

from remit.core.names import Tenant
from remit.core.question import parse_question
from remit.core.rows import Effect
from remit.migrate.finding import KESTRA, FindingId, FindingSeverity
from remit.migrate.kestra import permissions as words
from remit.migrate.kestra.translate import KestraFiles, KestraOptions, import_kestra
from remit.migrate.options import Imported

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "kestra"


def role(permissions: dict[str, list[str]] | None, **more: Any) -> dict[str, Any]:
    return {"id": "r", "name": "dev", "permissions": permissions, **more}


def bound(namespace: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "USER", "externalId": "ada", "roleId": "r", "namespaceId": namespace, **more}


def imported(
    roles: Any,
    bindings: Any = (),
    *,
    edition: int = 2,
    groups: Any = None,
    users: Any = None,
    access: Any = None,
    keep: bool = False,
) -> Imported:
    def file(name: str, document: Any) -> tuple[str, bytes] | None:
        return None if document is None else (name, json.dumps(document).encode())

    files = KestraFiles(
        ("roles.json", json.dumps(roles).encode()),
        ("bindings.json", json.dumps(list(bindings)).encode()),
        file("groups.json", groups),
        file("users.json", users),
        file("access.json", access),
    )
    return import_kestra(files, KestraOptions(Tenant("acme"), edition, keep_tenant_wide=keep, cases=300))


FLOW = {"FLOW": ["VIEW"]}
FIRST, SECOND = "bindings.json: [0]", "roles.json: [0]"
# for each finding: what is imported, and where it is found
CASES: dict[FindingId, tuple[dict[str, Any], str]] = {
    FindingId.MALFORMED_RECORD: ({"roles": [role(FLOW)], "bindings": [bound(roleId=7)]}, FIRST),
    FindingId.RECORD_DELETED: ({"roles": [role(FLOW, deleted=True)]}, SECOND),
    FindingId.MIXED_CLASS_ROLE: ({"roles": [role({**FLOW, "USER": ["VIEW"]})], "bindings": [bound("a.b")]}, FIRST),
    FindingId.TENANT_ONLY_KIND: ({"roles": [role({"BLUEPRINT": ["VIEW"]})], "bindings": [bound("a.b")]}, FIRST),
    FindingId.BINDING_DELEGATION: ({"roles": [role({"BINDING": ["CREATE"]})], "bindings": [bound("a.b")]}, FIRST),
    FindingId.NAMESPACE_PARENT: ({"roles": [role({"NAMESPACE": ["CREATE"]})], "bindings": [bound("a.b")]}, FIRST),
    FindingId.EXECUTION_CREATE: ({"roles": [role({"EXECUTION": ["CREATE"]})], "edition": 1}, SECOND),
    FindingId.FLOW_UPDATE_EXECUTES: ({"roles": [role({"FLOW": ["UPDATE"]})], "edition": 1}, SECOND),
    FindingId.PERMISSION_MERGED: ({"roles": [role({"APPEXECUTION": ["UPDATE"]})], "edition": 1}, SECOND),
    FindingId.PERMISSION_SPLIT: ({"roles": [role({"FLOW": ["READ"]})], "edition": 1}, SECOND),
    FindingId.READ_ALIAS: ({"roles": [role({"FLOW": ["READ"]})]}, SECOND),
    FindingId.PERMISSION_DROPPED: ({"roles": [role({"TEMPLATE": ["READ"]})], "edition": 1}, SECOND),
    FindingId.ACTION_UNCHECKED: ({"roles": [role({"EXECUTION": ["CREATE"]})]}, SECOND),
    FindingId.INSTANCE_PERMISSION: ({"roles": [role({"TENANT": ["CREATE"]})]}, SECOND),
    FindingId.UNKNOWN_PERMISSION: ({"roles": [role({"FLOW": ["VEIW"]})]}, SECOND),
    FindingId.UNKNOWN_ROLE: ({"roles": [role(FLOW)], "bindings": [bound(roleId="gone")]}, FIRST),
    FindingId.UNKNOWN_GROUP: ({"roles": [role(FLOW)], "bindings": [bound(type="GROUP")]}, FIRST),
    FindingId.ROLE_WITHOUT_PERMISSIONS: ({"roles": [role(None, isManaged=True)]}, SECOND),
    FindingId.DEFAULT_ROLE: ({"roles": [role(FLOW, isDefault=True)]}, SECOND),
    FindingId.TENANT_ACCESS: ({"roles": [role(FLOW)]}, "bindings.json"),
    FindingId.GROUP_OWNER: (
        {"roles": [], "groups": [{"id": "g", "name": "g", "members": [{"id": "ada", "membership": "OWNER"}]}]},
        "groups.json: [0].members[0]",
    ),
    FindingId.INSTANCE_OWNER: (
        {"roles": [], "users": [{"id": "ada", "username": "ada", "superAdmin": True}]},
        "users.json: [0]",
    ),
}


@pytest.mark.parametrize("finding", CASES)
def test_each_trap_names_its_place(finding: FindingId) -> None:
    given, place = CASES[finding]
    found = imported(**given)

    assert (finding, place) in {(each.id, each.place) for each in found.findings}
    assert any(each.severity is FindingSeverity.REFUSED for each in found.findings) == (not found.files)


def test_each_trap_has_its_case() -> None:
    assert set(KESTRA) == set(CASES)


def allows(found: Imported, *question: str) -> bool:
    assert found.files, found.findings
    return snapshot_of({**found.files}, "acme").decide(parse_question(*question)).effect is Effect.ALLOW


def test_a_binding_on_a_namespace_covers_its_subtree() -> None:
    found = imported([role(FLOW)], [bound("a.b")])

    asked = {
        namespace: allows(found, "user:ada", "VIEW", "FLOW", namespace) for namespace in ("a.b", "a.b.c", "a.bx", "a")
    }
    assert {"a.b": True, "a.b.c": True, "a.bx": False, "a": False} == asked


@pytest.mark.parametrize("keep", [False, True])
def test_admin_of_one_namespace_gets_tenant_kinds_only_with_an_option(keep: bool) -> None:
    """Kestra grants USER in the whole tenant; here that takes the option, and then FLOW stays in the namespace."""
    found = imported([role({**FLOW, "USER": ["UPDATE"]})], [bound("a.b")], keep=keep)

    assert keep == allows(found, "user:ada", "UPDATE", "USER", "")
    assert not allows(found, "user:ada", "VIEW", "FLOW", "a")


def test_a_role_of_the_first_edition_is_migrated_by_kestras_table() -> None:
    permissions = {"FLOW": ["READ", "UPDATE"], "EXECUTION": ["CREATE", "READ"], "SETTING": ["READ"], "TEST": ["CREATE"]}
    found = imported([role(permissions)], [bound()], edition=1)

    assert rows_in(found.files["acme/roles.csv"]) == {
        "p, role:dev, acme, **, FLOW, DISABLE|ENABLE|EXECUTE|EXPORT|LIST|UPDATE|VALIDATE|VIEW, allow",
        "p, role:dev, acme, **, EXECUTION, ACCESS_FILES|ACCESS_LOGS|ACCESS_OUTPUTS|EXPORT|FOLLOW|LIST|VIEW, allow",
        "p, role:dev, acme, **, SYSTEM_SETTINGS, VIEW, allow",
        "p, role:dev, acme, **, TENANT_SETTINGS, VIEW, allow",
        "p, role:dev, acme, **, TESTSUITE, CREATE, allow",
    }


# Kestra's table, in its words: 1.x permission and verb, what 2.0 makes of it. `+` begins a further kind, `-` what 2.0 checks
# nowhere.
MIGRATION = """\
FLOW READ: FLOW VIEW LIST EXPORT
FLOW CREATE: FLOW CREATE IMPORT
FLOW UPDATE: FLOW UPDATE EXECUTE DISABLE ENABLE VALIDATE
FLOW DELETE: FLOW DELETE
EXECUTION READ: EXECUTION VIEW LIST ACCESS_LOGS ACCESS_OUTPUTS ACCESS_FILES EXPORT FOLLOW
EXECUTION CREATE:
EXECUTION UPDATE: EXECUTION UPDATE RESTART KILL REPLAY PAUSE RESUME CHANGE_LABELS UNQUEUE FORCE_RUN
EXECUTION DELETE: EXECUTION DELETE
TRIGGER READ: TRIGGER VIEW LIST EXPORT
TRIGGER CREATE: - CREATE
TRIGGER UPDATE: TRIGGER UNLOCK RESTART DISABLE ENABLE BACKFILL
TRIGGER DELETE: TRIGGER DELETE
NAMESPACE READ: NAMESPACE VIEW LIST - EXPORT_PLUGIN_DEFAULTS
NAMESPACE UPDATE: NAMESPACE UPDATE MANAGE_FILES - IMPORT_PLUGIN_DEFAULTS
APP UPDATE: APP UPDATE EXECUTE ACCESS_FILES ACCESS_LOGS
APPEXECUTION READ: APP VIEW LIST
APPEXECUTION UPDATE: APP UPDATE EXECUTE ACCESS_FILES ACCESS_LOGS
AUDITLOG READ: AUDITLOG VIEW LIST EXPORT
AUDITLOG DELETE:
SETTING READ: SYSTEM_SETTINGS VIEW + TENANT_SETTINGS VIEW
SETTING UPDATE: SYSTEM_SETTINGS UPDATE + TENANT_SETTINGS UPDATE
AI_COPILOT READ: COPILOT USE
AI_COPILOT UPDATE:
USER UPDATE: USER UPDATE MANAGE_GROUP_MEMBERSHIP
GROUP UPDATE: GROUP UPDATE MANAGE_MEMBERS
TENANT_ACCESS READ: USER VIEW LIST
GROUP_MEMBERSHIP UPDATE: GROUP UPDATE MANAGE_MEMBERS
TEST READ: TESTSUITE VIEW LIST
TEST CREATE: TESTSUITE CREATE
TEMPLATE READ:
IMPERSONATE READ:
SECRET CREATE: - CREATE
SECRET UPDATE: SECRET UPDATE
KVSTORE READ: KVSTORE VIEW LIST
KVSTORE CREATE: KVSTORE CREATE
BLUEPRINT DELETE: BLUEPRINT DELETE
BINDING READ: BINDING VIEW LIST
BINDING CREATE: BINDING CREATE
BINDING UPDATE: - UPDATE
ROLE UPDATE: ROLE UPDATE
INVITATION CREATE: INVITATION CREATE
"""


@pytest.mark.parametrize("line", MIGRATION.splitlines())
def test_permission_of_the_first_edition_is_mapped_by_the_table(line: str) -> None:
    """A permission without a mapping, or with one that 2.0 never checks, is reported."""
    asked, _, becomes = line.partition(":")
    given, _, unchecked = becomes.partition("-")
    permission, verb = asked.split(" ")
    found = imported([role({permission: [verb]})], [bound()], edition=1)

    expected = {kind: frozenset(actions) for kind, *actions in map(str.split, filter(str.strip, given.split("+")))}
    rows = (row.split(", ") for row in rows_in(found.files["acme/roles.csv"]))
    told = {kind: frozenset(actions.split("|")) for _, _, _, _, kind, actions, _ in rows}
    assert expected == told
    left_out = [each.message.split(" ")[-1] for each in found.findings if each.id is FindingId.ACTION_UNCHECKED]
    assert unchecked.split() == left_out
    nothing = {FindingId.EXECUTION_CREATE, FindingId.PERMISSION_DROPPED}
    assert bool(expected or unchecked) != bool(nothing & {each.id for each in found.findings})


def test_changed_rights_of_the_migration_are_reported_by_permission() -> None:
    permissions = {"TENANT_ACCESS": ["UPDATE"], "TEST": ["READ", "CREATE"], "AI_COPILOT": ["READ"]}
    found = imported([role(permissions)], [bound()], edition=1)

    assert {
        FindingId.PERMISSION_MERGED: "TENANT_ACCESS UPDATE of role `dev`: USER UPDATE, MANAGE_GROUP_MEMBERSHIP",
        FindingId.PERMISSION_SPLIT: "TEST CREATE of role `dev`: running tests (TESTSUITE EXECUTE)",
    } == {each.id: each.message for each in found.findings if each.id is not FindingId.TENANT_ACCESS}


def test_unlisted_principal_is_denied() -> None:
    bindings = [bound(), bound(externalId="bob")]
    found = imported([role(FLOW)], bindings, access=["ada"])

    assert allows(found, "user:ada", "VIEW", "FLOW", "a")
    assert not allows(found, "user:bob", "VIEW", "FLOW", "a")


def test_two_records_of_one_name_are_refused() -> None:
    found = imported([role(FLOW), {**role(FLOW), "id": "other"}])

    assert found.refused
    assert [FindingId.NAME_COLLISION] == [
        each.id for each in found.findings if each.severity is FindingSeverity.REFUSED
    ]


@pytest.mark.parametrize(
    "roles",
    [7, "x", [7], {"results": 7}, [{}], [role({"FLOW": "VIEW"})], [role(7)], {"results": [], "total": 4}],  # type: ignore[arg-type]
    ids=range(8),
)
def test_document_of_another_shape_is_refused(roles: Any) -> None:
    found = imported(roles)

    assert FindingId.MALFORMED_RECORD in {each.id for each in found.findings}
    assert not found.files


def test_kinds_of_kestra_equal_the_example_vocabulary() -> None:
    declared = yaml.load((ROOT / "policies" / "vocabulary.yaml").read_text(), yaml.BaseLoader)["kinds"]
    expected = {
        name: (kind["class"], frozenset(kind["actions"]))
        for name, kind in declared.items()
        if kind["class"] != "instance" and name != "SUPPORT"
    }

    assert expected == {kind.name: (kind.kind_class.value, kind.actions) for kind in words.kinds()}


permissions = st.dictionaries(
    st.sampled_from(sorted(words.ACTIONS)),
    st.lists(st.sampled_from(("VIEW", "LIST", "CREATE", "UPDATE", "EXECUTE", "USE")), max_size=3).filter(bool),
    max_size=4,
)
namespaces = st.sampled_from((None, "a", "a.b", "a.bx", "prod", "prod2"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(permissions, min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(("u1", "u2", "g1")), st.integers(0, 2), namespaces), max_size=5),
    st.booleans(),
)
def test_imported_policy_answers_like_kestra(
    roles: list[dict[str, list[str]]], bindings: list[tuple[str, int, str | None]], keep: bool
) -> None:
    """Whatever the roles and bindings: the files load, and hold each of Kestra's answers, or the import is refused."""
    found = imported(
        [{"id": str(number), "name": f"role {number}", "permissions": each} for number, each in enumerate(roles)],
        [
            {"type": "GROUP" if who == "g1" else "USER", "externalId": who, "roleId": str(number), "namespaceId": where}
            for who, number, where in bindings
            if number < len(roles)
        ],
        groups=[{"id": "g1", "name": "team", "members": ["u2", "u3"]}],
        keep=keep,
    )

    assert [] == [str(each) for each in found.findings if each.severity is FindingSeverity.REFUSED]


def test_the_documented_example_is_accepted() -> None:
    files = {path.stem: ("", path.read_bytes()) for path in EXAMPLE.glob("*.json")}
    found = import_kestra(KestraFiles(**files), KestraOptions(Tenant("acme"), 2))

    assert not found.refused
