"""The stories of tests/cases once more, each question asked over gRPC.

Policies change here as a reload changes them, by an install into the live cell."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from test_cases import Answer, EngineFace, Face, test_case

from remit import wire
from remit.client import Client, DecisionUnavailable
from remit.core.names import Tenant
from remit.faces.rpc.server import Server
from remit.policy.cell import TenantPolicy, TenantState
from remit.service.node import Node, now_us
from remit.service.settings import read_settings
from remit.v1 import access_service_pb2 as access
from remit.v1 import reach_service_pb2 as reach
from remit.v1 import search_service_pb2 as search

__all__ = ["test_case"]


class GrpcFace(EngineFace):
    def __init__(self, node: Node, client: Client) -> None:
        super().__init__()
        self._cell = node.cell
        self._client = client

    def load(self, directory: Path) -> Mapping[str, str]:
        refused = super().load(directory)
        self._cell.install({Tenant(name): self._policy(name, name in refused) for name in self._serving}, "")
        return refused

    def check(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Answer:
        """By Check, with the rule that Explain names."""
        question = access.Question(principal=principal, action=action, kind=kind, namespace=namespace)
        check = access.CheckRequest(tenant=tenant, question=question)
        return self._answer_of(check, access.ExplainRequest(tenant=tenant, question=question))

    def check_reach(self, caller: str, owner: str, relation: str, tenant: str) -> Answer:
        """By CheckReach, with the rule that ExplainReach names."""
        question = reach.ReachQuestion(caller=caller, owner=owner, relation=relation)
        check = reach.CheckReachRequest(tenant=tenant, question=question)
        return self._answer_of(check, reach.ExplainReachRequest(tenant=tenant, question=question))

    def who(self, action: str, kind: str, namespace: str, tenant: str) -> list[str]:
        request = search.ListPrincipalsRequest(tenant=tenant, action=action, kind=kind, namespace=namespace)
        return self._list_of(request, lambda told: [each.principal for each in told.principals])

    def where(self, principal: str, action: str, kind: str, tenant: str) -> list[str]:
        request = search.ListNamespacesRequest(tenant=tenant, principal=principal, action=action, kind=kind)
        return self._list_of(request, lambda told: [str(wire.set_from(each)) for each in told.sets])

    def what(self, principal: str, namespace: str, tenant: str) -> list[str]:
        request = search.ListActionsRequest(tenant=tenant, principal=principal, namespace=namespace)
        return self._list_of(request, lambda told: [f"{one.kind} {each}" for one in told.kinds for each in one.actions])

    def _answer_of(self, check: Any, explain: Any) -> Answer:
        try:
            decision = self._client.ask(check).decision
        except DecisionUnavailable as error:
            if error.code == "UNAVAILABLE":
                return Answer("unavailable")
            return Answer("malformed", error.violations[0].field.removeprefix("question."))
        told = self._client.ask(explain)
        assert (decision.effect, decision.reason) == (told.decision.effect, told.decision.reason)
        rule = f"{told.rule.row.file}:{told.rule.row.line}" if told.HasField("rule") else ""
        return Answer(wire.EFFECT_OF[decision.effect], wire.REASON_OF[decision.reason], rule)

    def _list_of(self, request: Any, told: Callable[[Any], list[str]]) -> list[str]:
        try:
            return told(self._client.ask(request))
        except DecisionUnavailable as error:
            if error.code == "INVALID_ARGUMENT":
                return ["malformed", error.violations[0].field]
            return [{"UNAVAILABLE": "unavailable", "RESOURCE_EXHAUSTED": "too large"}[error.code]]

    def _policy(self, name: str, refused: bool) -> TenantPolicy:
        snapshot = self._serving[name]
        state = TenantState.STALE if refused else TenantState.SERVING
        return TenantPolicy(Tenant(name), state if snapshot else TenantState.UNAVAILABLE, now_us(), snapshot)


@pytest.fixture
def face(untested: Path, tmp_path: Path) -> Iterator[Face]:
    audit = f"sqlite:///{tmp_path / 'audit.db'}"
    node = Node.start(read_settings({"policies": untested, "audit": audit, "listen": "127.0.0.1:0", "metrics": ""}))
    server = Server(node).start()
    with Client(f"127.0.0.1:{server.port}", timeout_s=0.5) as client:
        yield GrpcFace(node, client)
    server.stop()
