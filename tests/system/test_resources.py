"""Dedicated resources and compound operations, asked of a real server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from support.certificates import Authority
from support.server import DEADLINE_S, POLICIES, Server, access_of, remit
from support.violations import violations
from trustme import CA

from remit import wire
from remit.audit.ids import format_id
from remit.audit.record import DecisionRecord
from remit.client import Client, DecisionUnavailable
from remit.core.decision import Reason
from remit.core.names import INSTANCE
from remit.core.rows import Effect
from remit.engine.queries.dedicated import ServedBy, resolve
from remit.policy.load import load_tree
from remit.policy.testing.cases import DedicatedCase
from remit.v1 import access_service_pb2 as access
from remit.v1 import resource_service_pb2 as messages
from remit.v1.decision_pb2 import EFFECT_ALLOW, EFFECT_DENY, Origin
from remit.v1.resource_service_pb2_grpc import ResourceServiceStub

ORIGIN = Origin(on_behalf_of="user:alice", trace_id="trace-1")
STORAGE = messages.RESOURCE_TYPE_STORAGE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("resources"), policies=untested) as shared:
        yield shared


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as asking:
        yield asking


@pytest.fixture
def resources(server: Server) -> Iterator[ResourceServiceStub]:
    with server.channel() as channel:
        yield ResourceServiceStub(channel)


@pytest.fixture
def since(server: Server) -> Iterator[Callable[[], list[DecisionRecord]]]:
    """The decisions recorded during the test, in their order."""
    with server.store() as store:
        last = store.decisions(limit=1)
        yield lambda: store.decisions(after=last[0].id if last else None, newest_first=False)


def test_all_dedicated_cases_of_the_example_company_hold_over_grpc(client: Client) -> None:
    """And every field of each answer, settings too, is the engine's."""
    checked = 0
    for tenant, loaded in load_tree(POLICIES).tenants.items():
        assert loaded.snapshot is not None
        for case in loaded.cases:
            if not isinstance(case, DedicatedCase):
                continue
            (found,) = client.tenant(tenant).resolve_dedicated(case.namespace, (case.resource,), "WEBSERVER").resources
            levels = {messages.RESOURCE_LEVEL_NONE: "none", messages.RESOURCE_LEVEL_TENANT: "tenant"}
            assert case.level == (found.level_namespace or levels[found.level]), case
            local = resolve(loaded.snapshot.policy, case.namespace, case.resource)
            if local is not None:
                assert local.resource.name == found.name
                assert local.resource.config == MessageToDict(found.config)
                denied = "WEBSERVER" in local.resource.denied_services
                assert (EFFECT_DENY if denied else EFFECT_ALLOW) == found.service
            checked += 1
    assert checked > 25


def test_served_equals_the_answer_of_the_engine(client: Client, untested: Path) -> None:
    asked = 0
    loaded = load_tree(untested).tenants
    instance = loaded[INSTANCE].snapshot
    assert instance is not None
    for tenant, each in loaded.items():
        assert each.snapshot is not None
        for resource_type, names in instance.policy.opened.items():
            for name in names:
                response = client.tenant(tenant).list_served(resource_type, name)
                local = ServedBy(resource_type, name).answer(each.snapshot)
                assert local.namespaces == tuple(map(wire.set_from, response.namespaces))
                assert (local.whole_tenant, local.tenants) == (response.serves_tenant, tuple(response.tenants))
                assert each.snapshot.revision == response.receipt.revision
                asked += 1
    assert asked > 30


def test_a_resolution_is_one_record_without_a_decision(
    resources: ResourceServiceStub, since: Callable[[], list[DecisionRecord]]
) -> None:
    """Which resources, for which service, and which it may not touch: no row decided that, so no effect is recorded."""
    request = messages.ResolveDedicatedRequest(
        tenant="acme", namespace="acme.finance.payroll.eu", service="WEBSERVER", origin=ORIGIN
    )
    receipt = resources.ResolveDedicated(request, timeout=DEADLINE_S).receipt
    (record,) = since()
    assert ("DEDICATED", "", "", "") == (record.question, record.effect, record.reason, record.rule)
    assert receipt.decision_id == format_id(record.id)
    assert (receipt.revision, "acme", "acme.finance.payroll.eu") == (record.revision, record.tenant, record.namespace)
    assert ("user:alice", "trace-1") == (record.on_behalf_of, record.trace_id)
    assert {
        "storage": "payroll-eu-s3",
        "secrets": "finance-sm",
        "worker_group": "payroll",
        "service": "WEBSERVER",
        "refused": ["storage", "secrets"],
    } == json.loads(record.detail)


def test_list_served_leaves_one_record(client: Client, since: Callable[[], list[DecisionRecord]]) -> None:
    client.tenant("acme").list_served("storage", "acme-default")
    client.tenant("_instance").list_served("worker_group", "burst")
    first, second = since()
    assert ["SERVED", "SERVED"] == [first.question, second.question]
    assert {"resource": "storage/acme-default", "patterns": 2, "tenants": 0} == json.loads(first.detail)
    assert {"resource": "worker_group/burst", "patterns": 0, "tenants": 2} == json.loads(second.detail)


def test_resource_of_another_tenant_is_answered_like_an_unknown_one(client: Client) -> None:
    """Byte for byte, but for the receipt's id."""
    told = [client.tenant("globex").list_served("storage", name) for name in ("acme-default", "nobody-s-own")]
    for response in told:
        response.receipt.decision_id = ""
    assert told[0].SerializeToString() == told[1].SerializeToString()
    assert not told[0].namespaces


def test_an_unknown_tenant_is_answered_with_its_reason_and_recorded(
    client: Client, since: Callable[[], list[DecisionRecord]]
) -> None:
    resolved = client.tenant("initech").resolve_dedicated("a", service="ANY")
    listed = client.tenant("initech").list_served("storage", "x")
    unknown = wire.REASONS["UNKNOWN_TENANT"]
    assert [(unknown, ""), (unknown, "")] == [
        (each.receipt.reason, each.receipt.revision) for each in (resolved, listed)
    ]
    assert not resolved.resources
    assert ["UNKNOWN_TENANT"] * 2 == [record.reason for record in since()]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (messages.ResolveDedicatedRequest(tenant="acme", namespace="Acme"), "namespace"),
        (messages.ResolveDedicatedRequest(tenant="_instance", namespace="acme"), "namespace"),
        (messages.ResolveDedicatedRequest(tenant="acme", service="web server"), "service"),
        (messages.ResolveDedicatedRequest(tenant="acme", service="WEBSEVER"), "service"),
        (messages.ResolveDedicatedRequest(tenant="acme", resources=[STORAGE, STORAGE]), "resources[1]"),
        (messages.ResolveDedicatedRequest(tenant="acme", resources=[STORAGE, 0]), "resources[1]"),
        (messages.ListServedRequest(tenant="acme", name="x"), "resource"),
        (messages.ListServedRequest(tenant="acme", resource=STORAGE), "name"),
        (messages.ListServedRequest(tenant="acme", resource=STORAGE, name="a b"), "name"),
        (messages.ListServedRequest(resource=STORAGE, name="a"), "tenant"),
    ],
    ids=range(10),
)
def test_a_malformed_question_names_its_field_and_is_not_recorded(
    resources: ResourceServiceStub,
    since: Callable[[], list[DecisionRecord]],
    request_: messages.ResolveDedicatedRequest | messages.ListServedRequest,
    expected: str,
) -> None:
    lists = isinstance(request_, messages.ListServedRequest)
    ask: Any = resources.ListServed if lists else resources.ResolveDedicated
    with pytest.raises(grpc.RpcError) as caught:
        ask(request_, timeout=DEADLINE_S)
    assert [expected] == [field for field, _ in violations(caught.value)]
    assert [] == since()


def test_unknown_type_of_resource_is_refused(client: Client) -> None:
    with pytest.raises(DecisionUnavailable, match="INVALID_ARGUMENT"):
        client.tenant("acme").list_served("disk", "x")


def test_each_part_of_an_operation_is_a_record_that_names_it(
    server: Server, since: Callable[[], list[DecisionRecord]]
) -> None:
    """One call, one revision, the namespace of the part and, in its detail, that of the operation."""
    request = access.CheckOperationRequest(
        tenant="acme",
        principal="user:bob",
        operation="create_flow_in_new_namespace",
        namespace="acme.finance.audit",
        resource_id="flow-7",
        origin=ORIGIN,
    )
    with server.channel() as channel:
        response = access_of(channel).CheckOperation(request, timeout=DEADLINE_S)
    records = since()
    assert EFFECT_ALLOW == response.effect
    assert [
        ("OPERATION", "CREATE", "FLOW", "acme.finance.audit", 0),
        ("OPERATION", "CREATE", "NAMESPACE", "acme.finance", 1),
    ] == [(each.question, each.action, each.kind, each.namespace, each.batch_index) for each in records]
    assert [part.decision.decision_id for part in response.parts] == [format_id(each.id) for each in records]
    assert ["allow"] * 2 == [each.effect for each in records]
    assert all(each.rule for each in records)
    assert {("user:bob", "flow-7", "user:alice", "trace-1", response.revision)} == {
        (each.principal, each.resource_id, each.on_behalf_of, each.trace_id, each.revision) for each in records
    }
    assert 1 == len({each.call_id for each in records})
    detail = {"operation": "create_flow_in_new_namespace", "namespace": "acme.finance.audit"}
    assert [detail] * 2 == [json.loads(each.detail) for each in records]


def test_malformed_operation_is_not_recorded(client: Client, since: Callable[[], list[DecisionRecord]]) -> None:
    for operation, namespace, field in (("promote", "a", "operation"), ("promote_flow", "", "namespace")):
        with pytest.raises(DecisionUnavailable) as caught:
            client.tenant("acme").check_operation("user:bob", operation, namespace)
        assert [field] == [each.field for each in caught.value.violations]
    assert [] == since()


def test_an_operation_in_an_unknown_tenant_is_denied(client: Client) -> None:
    response = client.tenant("initech").check_operation("user:bob", "anything", "a")
    (part,) = response.parts
    assert (Effect.DENY, "", "") == (response.effect, part.kind, part.action)
    assert Reason.UNKNOWN_TENANT is part.answer.reason


@pytest.mark.parametrize(
    "words",
    [
        ("resolve", "acme", "acme.finance.payroll", "--service", "WEBSERVER"),
        ("served", "acme", "storage/acme-default"),
        ("served", "_instance", "worker_group/burst"),
        ("operation", "acme", "user:bob", "promote_flow", "acme.finance"),
    ],
    ids=range(4),
)
def test_command_line_prints_the_same_for_a_server_and_its_files(server: Server, words: tuple[str, ...]) -> None:
    asked = remit(*words, "--target", server.target)
    local = remit(*words, "--policies", str(POLICIES))
    assert asked.stdout
    assert ("", local.stdout, local.returncode) == (asked.stderr, asked.stdout, asked.returncode)


def test_the_command_line_asks_over_mutual_tls(serve: Callable[..., Server], untested: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, CA())
    cert, key = authority.signed("server", "127.0.0.1")
    flags = authority.server_flags(cert, key)
    server = serve(*flags, policies=untested)
    mine = authority.caller(authority.signed("caller", "web.acme.example"))
    tls = ("--tls-server-ca", str(mine.server_ca), "--tls-cert", str(mine.cert), "--tls-key", str(mine.key))
    done = remit("resolve", "acme", "--target", server.target, *tls)
    assert (0, "") == (done.returncode, done.stderr)
    assert "acme-default" in done.stdout
