"""The stories of tests/cases once more, each question asked over gRPC.

Policies change here as a reload will change them, by an install into the live cell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import grpc
import pytest
from system.server import DEADLINE_S, access_of
from system.violations import violations
from test_cases import Answer, EngineFace, Face, test_case

from remit import wire
from remit.core.names import Tenant
from remit.core.policy import ResourceType
from remit.faces.rpc.server import Server
from remit.policy.cell import TenantPolicy, TenantState
from remit.service.node import Node, now_us
from remit.service.settings import read_settings
from remit.v1 import access_service_pb2 as messages
from remit.v1 import reach_service_pb2 as reach
from remit.v1 import resource_service_pb2 as resources
from remit.v1.decision_pb2 import Decision
from remit.v1.reach_service_pb2_grpc import ReachServiceStub
from remit.v1.resource_service_pb2_grpc import ResourceServiceStub

_LEVELS = {resources.RESOURCE_LEVEL_TENANT: "tenant", resources.RESOURCE_LEVEL_NONE: "none"}

__all__ = ["test_case"]


class GrpcFace(EngineFace):
    def __init__(self, node: Node, channel: grpc.Channel) -> None:
        super().__init__()
        self._cell = node.cell
        self._access = access_of(channel)
        self._reach = ReachServiceStub(channel)
        self._resources = ResourceServiceStub(channel)

    def load(self, directory: Path) -> Mapping[str, str]:
        refused = super().load(directory)
        self._cell.install({Tenant(name): self._policy(name, name in refused) for name in self._serving}, "")
        return refused

    def check(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Answer:
        """By Check, with the rule that Explain names."""
        question = messages.Question(principal=principal, action=action, kind=kind, namespace=namespace)

        def ask() -> Sequence[str]:
            decision = self._access.Check(
                messages.CheckRequest(tenant=tenant, question=question), timeout=DEADLINE_S
            ).decision
            told = self._access.Explain(messages.ExplainRequest(tenant=tenant, question=question), timeout=DEADLINE_S)
            return _explained(decision, told)

        return Answer(*_told(ask))

    def check_reach(self, caller: str, owner: str, relation: str, tenant: str) -> Answer:
        """By CheckReach, with the rule that ExplainReach names."""
        question = reach.ReachQuestion(caller=caller, owner=owner, relation=relation)

        def ask() -> Sequence[str]:
            decision = self._reach.CheckReach(
                reach.CheckReachRequest(tenant=tenant, question=question), timeout=DEADLINE_S
            ).decision
            told = self._reach.ExplainReach(
                reach.ExplainReachRequest(tenant=tenant, question=question), timeout=DEADLINE_S
            )
            return _explained(decision, told)

        return Answer(*_told(ask))

    def check_operation(self, principal: str, operation: str, namespace: str, tenant: str) -> Sequence[str]:
        request = messages.CheckOperationRequest(
            tenant=tenant, principal=principal, operation=operation, namespace=namespace
        )

        def ask() -> Sequence[str]:
            response = self._access.CheckOperation(request, timeout=DEADLINE_S)
            reasons = [wire.REASON_OF[part.decision.reason] for part in response.parts]
            return [wire.EFFECT_OF[response.effect], *reasons]

        return _told(ask)

    def resolve(self, namespace: str, resource_type: str, service: str, tenant: str) -> Sequence[str]:
        types = [wire.RESOURCE_TYPES[ResourceType(resource_type)]]
        request = resources.ResolveDedicatedRequest(
            tenant=tenant, namespace=namespace, resources=types, service=service
        )

        def ask() -> Sequence[str]:
            response = self._resources.ResolveDedicated(request, timeout=DEADLINE_S)
            if response.receipt.reason:
                return [wire.REASON_OF[response.receipt.reason]]
            (found,) = response.resources
            level = found.level_namespace or _LEVELS[found.level]
            return [found.name, level, wire.EFFECT_OF[found.service] if found.service else ""]

        return _told(ask)

    def served(self, resource_type: str, name: str, tenant: str) -> Sequence[str]:
        request = resources.ListServedRequest(
            tenant=tenant, resource=wire.RESOURCE_TYPES[ResourceType(resource_type)], name=name
        )

        def ask() -> Sequence[str]:
            response = self._resources.ListServed(request, timeout=DEADLINE_S)
            if response.receipt.reason:
                return [wire.REASON_OF[response.receipt.reason]]
            whole = ["tenant"] if response.serves_tenant else []
            sets = [str(wire.set_from(each)) for each in response.namespaces]
            return [*sets, *whole, *(f"open to {each}" for each in response.tenants)]

        return _told(ask)

    def _policy(self, name: str, refused: bool) -> TenantPolicy:
        snapshot = self._serving[name]
        state = TenantState.STALE if refused else TenantState.SERVING
        return TenantPolicy(Tenant(name), state if snapshot else TenantState.UNAVAILABLE, now_us(), snapshot)


def _explained(decision: Decision, told: messages.ExplainResponse | reach.ExplainReachResponse) -> Sequence[str]:
    assert (decision.effect, decision.reason) == (told.decision.effect, told.decision.reason)
    rule = f"{told.rule.row.file}:{told.rule.row.line}" if told.HasField("rule") else ""
    return [wire.EFFECT_OF[decision.effect], wire.REASON_OF[decision.reason], rule]


def _told(ask: Callable[[], Sequence[str]]) -> Sequence[str]:
    try:
        return ask()
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return ("unavailable",)
        return ("malformed", violations(error)[0][0].removeprefix("question."))


@pytest.fixture
def face(untested: Path, tmp_path: Path) -> Iterator[Face]:
    audit = f"sqlite:///{tmp_path / 'audit.db'}"
    node = Node.start(read_settings({"policies": untested, "audit": audit, "listen": "127.0.0.1:0", "metrics": ""}))
    server = Server(node).start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield GrpcFace(node, channel)
    server.stop()
