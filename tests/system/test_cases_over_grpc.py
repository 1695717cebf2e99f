"""The stories of tests/cases once more, each question asked over gRPC.

Policies change here as a reload will change them, by an install into the live cell; the reach plane has no RPC yet, so its
questions go to the engine."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest
from system.server import DEADLINE_S, access_of
from system.violations import violations
from test_cases import Answer, Drawn, EngineFace, Face, Graph, drawn, test_case

from remit import wire
from remit.core.names import Tenant
from remit.faces.rpc.server import Server
from remit.policy.cell import TenantPolicy, TenantState
from remit.service.node import Node, now_us
from remit.service.settings import read_settings
from remit.v1 import access_service_pb2 as messages
from remit.v1 import decision_pb2, visibility_service_pb2, visibility_service_pb2_grpc

__all__ = ["test_case"]


class GrpcFace(EngineFace):
    def __init__(self, node: Node, channel: grpc.Channel) -> None:
        super().__init__()
        self._cell = node.cell
        self._access = access_of(channel)
        self._visibility = visibility_service_pb2_grpc.VisibilityServiceStub(channel)

    def load(self, directory: Path) -> Mapping[str, str]:
        refused = super().load(directory)
        self._cell.install({Tenant(name): self._policy(name, name in refused) for name in self._serving}, "")
        return refused

    def check(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Answer:
        """By Check, with the rule that Explain names."""
        question = messages.Question(principal=principal, action=action, kind=kind, namespace=namespace)
        check = messages.CheckRequest(tenant=tenant, question=question)
        explain = messages.ExplainRequest(tenant=tenant, question=question)
        try:
            decision = self._access.Check(check, timeout=DEADLINE_S).decision
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return Answer("unavailable")
            return Answer("malformed", violations(error)[0][0].removeprefix("question."))
        told = self._access.Explain(explain, timeout=DEADLINE_S)
        assert (decision.effect, decision.reason) == (told.decision.effect, told.decision.reason)
        rule = f"{told.rule.row.file}:{told.rule.row.line}" if told.HasField("rule") else ""
        return Answer(wire.EFFECT_OF[decision.effect], wire.REASON_OF[decision.reason], rule)

    def visible(self, principal: str, action: str, tenant: str, graph: Graph, *, omit: bool) -> Drawn | Answer:
        request = visibility_service_pb2.VisibleGraphRequest(tenant=tenant, principal=principal, action=action)
        request.hidden = visibility_service_pb2.HIDDEN_NODES_OMIT if omit else 0
        for uid, kind, namespace, thing in graph.nodes:
            request.nodes.add(uid=uid, kind=kind, namespace=namespace, id=thing)
        for source, target, relation in graph.edges:
            request.edges.add(source=source, target=target, relation=relation)
        try:
            answer = self._visibility.VisibleGraph(request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return Answer("unavailable")
            return Answer("malformed", violations(error)[0][0])
        if answer.receipt.reason:
            return Answer("deny", wire.REASON_OF[answer.receipt.reason])
        edges = ((each.edge.source, each.edge.target, each.edge.relation, _effect(each.reach)) for each in answer.edges)
        return drawn((node.uid for node in answer.nodes), edges)

    def _policy(self, name: str, refused: bool) -> TenantPolicy:
        snapshot = self._serving[name]
        state = TenantState.STALE if refused else TenantState.SERVING
        return TenantPolicy(Tenant(name), state if snapshot else TenantState.UNAVAILABLE, now_us(), snapshot)


def _effect(number: int) -> str:
    return wire.EFFECT_OF[number] if number != decision_pb2.EFFECT_UNSPECIFIED else ""


@pytest.fixture
def face(untested: Path, tmp_path: Path) -> Iterator[Face]:
    audit = f"sqlite:///{tmp_path / 'audit.db'}"
    node = Node.start(read_settings({"policies": untested, "audit": audit, "listen": "127.0.0.1:0", "metrics": ""}))
    server = Server(node).start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield GrpcFace(node, channel)
    server.stop()
