import pytest
from support.trees import snapshot_of

from remit.core.errors import MalformedQuestionError
from remit.core.names import Namespace, Principal, Word
from remit.engine.queries.operations import Compound
from remit.engine.snapshot import Snapshot

KINDS = b"""\
kinds:
  FLOW: {class: namespace, actions: [CREATE]}
  NAMESPACE: {class: namespace, actions: [CREATE]}
  TARGET: {class: tenant, actions: [VIEW]}
  TENANT: {class: instance, actions: [CREATE]}
"""
OPERATIONS = b"""\
operations:
  create_flow: [{kind: FLOW, action: CREATE}, {kind: NAMESPACE, action: CREATE, at: parent}]
  promote: [{kind: TARGET, action: VIEW}, {kind: FLOW, action: CREATE}]
  look: [{kind: TARGET, action: VIEW}]
  found: [{kind: TENANT, action: CREATE}]
"""
TOP = b"  TENANT_NAMESPACE: {class: tenant, actions: [CREATE]}\n"
OWNER = b"p, user:a, acme, **, *, *, allow\n"


def snapshot(kinds: bytes) -> Snapshot:
    return snapshot_of({"vocabulary.yaml": kinds + OPERATIONS, "acme/bindings.csv": OWNER}, "acme")


def parts(operation: str, namespace: str, kinds: bytes = KINDS + TOP) -> list[tuple[str, str]]:
    compound = Compound(Principal("user:a"), Word(operation), Namespace(namespace))
    return [(part.kind, part.namespace) for part in compound.parts(snapshot(kinds).policy)]


@pytest.mark.parametrize(
    ("operation", "namespace", "expected"),
    [
        ("create_flow", "a.b.c", [("FLOW", "a.b.c"), ("NAMESPACE", "a.b")]),
        ("create_flow", "a.b", [("FLOW", "a.b"), ("NAMESPACE", "a")]),
        ("create_flow", "a", [("FLOW", "a"), ("TENANT_NAMESPACE", "")]),
        ("promote", "a.b", [("TARGET", ""), ("FLOW", "a.b")]),
        ("look", "", [("TARGET", "")]),
        ("found", "", [("TENANT", "")]),
    ],
)
def test_each_part_is_asked_where_its_kind_lives(
    operation: str, namespace: str, expected: list[tuple[str, str]]
) -> None:
    """In the vocabulary's order: in the namespace, at its parent, or in the tenant itself."""
    assert expected == parts(operation, namespace)


def test_top_level_operation_is_denied_without_a_tenant_kind() -> None:
    """Where the vocabulary declares no TENANT_NAMESPACE, the part is of an unknown kind, and denied to its owner too."""
    bare = snapshot(KINDS)
    compound = Compound(Principal("user:a"), Word("create_flow"), Namespace("a"))
    assert ["ALLOWED_BY_RULE", "UNKNOWN_KIND"] == [bare.decide(part).reason for part in compound.parts(bare.policy)]


@pytest.mark.parametrize(
    ("operation", "namespace", "field", "told"),
    [
        ("create_flow", "", "namespace", "is missing: `create_flow` is done in a namespace"),
        ("look", "a", "namespace", "is superfluous: `look` is done in the tenant itself"),
        ("create", "a", "operation", "declares no `create`: it declares `create_flow`, `promote`, `look`, `found`"),
    ],
)
def test_malformed_question_names_the_field(operation: str, namespace: str, field: str, told: str) -> None:
    with pytest.raises(MalformedQuestionError) as caught:
        parts(operation, namespace)
    (violation,) = caught.value.violations
    assert field == violation.field
    assert told in violation.description
