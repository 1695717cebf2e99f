"""The stories of tests/cases once more, each question asked over gRPC.

Policies change here as a reload changes them, in the live cell; the reach plane has no RPC yet, so its
questions go to the engine."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest
from system.server import DEADLINE_S, access_of
from system.violations import violations
from test_cases import Answer, EngineFace, Face, test_case

from remit import wire
from remit.core.names import Tenant
from remit.faces.rpc.server import Server
from remit.policy.cell import TenantPolicy, TenantState
from remit.service.node import Node, now_us
from remit.service.settings import read_settings
from remit.v1 import access_service_pb2 as messages

__all__ = ["test_case"]


class GrpcFace(EngineFace):
    def __init__(self, node: Node, channel: grpc.Channel) -> None:
        super().__init__()
        self._cell = node.cell
        self._access = access_of(channel)

    def load(self, directory: Path) -> Mapping[str, str]:
        refused = super().load(directory)
        for tenant in self._cell.tenants.keys() - self._serving.keys():
            self._cell.remove(tenant)
        self._cell.put(*(self._policy(name, name in refused) for name in self._serving))
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

    def _policy(self, name: str, refused: bool) -> TenantPolicy:
        snapshot = self._serving[name]
        state = TenantState.STALE if refused else TenantState.SERVING
        return TenantPolicy(Tenant(name), state if snapshot else TenantState.UNAVAILABLE, now_us(), snapshot)


@pytest.fixture
def face(untested: Path, tmp_path: Path) -> Iterator[Face]:
    audit = f"sqlite:///{tmp_path / 'audit.db'}"
    flags = {"policies": untested, "audit": audit, "listen": "127.0.0.1:0", "metrics": "", "revisions": ""}
    node = Node.start(read_settings({**flags, "watch": False}))
    server = Server(node).start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield GrpcFace(node, channel)
    server.stop()
