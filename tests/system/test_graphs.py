"""A graph over gRPC: its limits, its errors, its record."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from support.server import DEADLINE_S, ROOT, Server, remit
from support.violations import violations

from remit.audit.ids import format_id
from remit.v1 import decision_pb2
from remit.v1 import visibility_service_pb2 as messages
from remit.v1.visibility_service_pb2_grpc import VisibilityServiceStub as Visibility

LIMIT = 8192
GRAPH = ROOT / "docs" / "graphs" / "close.json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("visibility"), "--max-message-bytes", str(LIMIT)) as started:
        yield started


@pytest.fixture(scope="module")
def see(server: Server) -> Iterator[Callable[..., Any]]:
    with server.channel() as channel:
        stub = Visibility(channel)
        yield lambda request: stub.VisibleGraph(request, timeout=DEADLINE_S)


def example(principal: str = "user:bob", **fields: Any) -> messages.VisibleGraphRequest:
    return messages.VisibleGraphRequest(
        tenant="acme", principal=principal, **{**json.loads(GRAPH.read_text()), **fields}
    )


def refused(see: Callable[..., Any], request: messages.VisibleGraphRequest) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        see(request)
    return caught.value


def test_hidden_nodes_are_stubs_unless_left_out(see: Callable[..., Any]) -> None:
    stubbed, omitted = see(example()), see(example(hidden=messages.HIDDEN_NODES_OMIT))
    assert ["close", "payslips", "mail", "?1", "?2"] == [node.uid for node in stubbed.nodes]
    assert ["close", "payslips", "mail"] == [node.uid for node in omitted.nodes]
    assert ["close", "payslips"] == [each.edge.source for each in omitted.edges]
    assert list(omitted.edges) == list(stubbed.edges)[:2]
    assert {decision_pb2.EFFECT_UNSPECIFIED} == {each.reach for each in list(stubbed.edges)[2:]}


def test_stubs_get_new_numbers_in_each_answer(see: Callable[..., Any]) -> None:
    """Which of the two hidden nodes is `?1` changes from answer to answer."""

    def user_of_two(answer: messages.VisibleGraphResponse) -> str:
        # The forecast uses two of the others, the sales load is used.
        return next(each.edge.source for each in answer.edges if each.edge.source.startswith("?"))

    seen = {user_of_two(see(example())) for _ in range(60)}
    assert {"?1", "?2"} == seen


def test_record_of_a_graph_names_groups_and_no_node(server: Server, see: Callable[..., Any]) -> None:
    answer = see(example(action="EXECUTE", origin=decision_pb2.Origin(on_behalf_of="user:alice", trace_id="t1")))
    with server.store() as store:
        (record,) = store.decisions(limit=1)
    assert format_id(record.id) == answer.receipt.decision_id
    assert ("GRAPH", "acme", "user:bob", "EXECUTE", "", "") == (
        record.question, record.tenant, record.principal, record.action, record.kind, record.namespace,
    )  # fmt: skip
    assert (answer.receipt.revision, "user:alice", "t1") == (record.revision, record.on_behalf_of, record.trace_id)
    group = {"kind": "FLOW", "nodes": 1, "reason": "OUT_OF_SCOPE"}
    assert {
        "nodes": 5,
        "edges": 5,
        "hidden": 3,
        "hidden_as": "STUB",
        "hidden_groups": [
            group | {"namespace": "acme.data.etl.sales"},
            group | {"namespace": "acme.data.reporting"},
            group | {"namespace": "shared.lib"},
        ],
        "other_hidden_groups": {"groups": 0, "nodes": 0},
    } == json.loads(record.detail)


def test_an_answer_larger_than_a_message_says_what_to_do(see: Callable[..., Any]) -> None:
    """A request below the limit, whose answer with its verdicts is above it; what is left out makes room."""
    edges = [messages.GraphEdge(source="close", target="payslips", relation="SUBFLOW")] * 275
    request = example("user:alice", edges=edges)
    assert request.ByteSize() < LIMIT
    error: Any = refused(see, request)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is error.code()
    assert "`max_message_bytes`" in error.details()
    assert see(example("user:sam", edges=edges, hidden=messages.HIDDEN_NODES_OMIT)).receipt.decision_id


def test_a_malformed_graph_names_its_places(see: Callable[..., Any]) -> None:
    nodes = [messages.GraphNode(uid="?", kind="FLOW", namespace="A"), messages.GraphNode(uid="a", kind="FLOW")]
    error: Any = refused(see, example(nodes=nodes))
    assert grpc.StatusCode.INVALID_ARGUMENT is error.code()
    assert ["nodes[0].namespace", "nodes[0].uid"] == [field for field, _ in violations(error)]
    error = refused(
        see, example(nodes=nodes[1:] * 1 + [messages.GraphNode(uid="b", kind="USER", namespace="x")], edges=[])
    )
    assert ["nodes[0].namespace", "nodes[1].namespace"] == [field for field, _ in violations(error)]
    for field, request in (
        ("principal", example("bob")),
        ("action", example(action="view it")),
        ("hidden", example(hidden=7)),
    ):
        assert [field] == [named for named, _ in violations(refused(see, request))]


def test_an_unknown_tenant_has_a_reason_and_no_nodes(see: Callable[..., Any]) -> None:
    request = example()
    request.tenant = "initech"
    answer = see(request)
    assert (decision_pb2.REASON_UNKNOWN_TENANT, 0, 0) == (
        answer.receipt.reason, len(answer.nodes), len(answer.edges),
    )  # fmt: skip


def test_the_command_line_draws_what_the_server_says(server: Server) -> None:
    drawn = [
        remit("graph", "acme", "user:carol", str(GRAPH), *where)
        for where in (("--target", server.target), ("--policies", str(ROOT / "policies")))
    ]
    assert [0, 0] == [each.returncode for each in drawn], drawn[0].stderr
    assert drawn[0].stdout == drawn[1].stdout
    assert "FORBIDDEN DENIED_BY_RULE" in drawn[0].stdout
