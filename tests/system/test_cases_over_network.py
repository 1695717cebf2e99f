"""The stories of tests/cases once more, each question asked over gRPC, by a client and by the command line, and over
HTTP, in protobuf and in JSON.

Policies change here as a reload changes them, by an install into the live cell."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.http_api import JSON, HttpApi
from support.in_process import both_ways
from test_cases import EngineFace, Face, edges_of, nodes_of, opens, seen, seen_both_ways, test_case
from unit.cli.test_cases_over_cli import CliFace

from remit import wire
from remit.client import Client, DecisionUnavailable
from remit.clock import now_us
from remit.core.authzen import NAMESPACE_KIND
from remit.core.names import Tenant
from remit.core.namespace_set import NamespaceSet
from remit.core.policy import ResourceType
from remit.policy.live import TenantPolicy, TenantState
from remit.service.node import ServerNode
from remit.v1 import access_service_pb2 as access
from remit.v1 import decision_pb2
from remit.v1 import reach_service_pb2 as reach
from remit.v1 import resource_service_pb2 as resources
from remit.v1 import search_service_pb2 as search
from remit.v1 import visibility_service_pb2 as visibility

_LEVELS = {resources.RESOURCE_LEVEL_TENANT: "tenant", resources.RESOURCE_LEVEL_NONE: "none"}

__all__ = ["test_case"]


class RemoteFace(EngineFace):
    def __init__(self, node: ServerNode, client: Client | HttpApi) -> None:
        super().__init__()
        self._live = node.live
        self._client = client

    def load(self, directory: Path) -> Mapping[str, str]:
        refused = super().load(directory)
        for tenant in self._live.tenants.keys() - self._serving.keys():
            self._live.remove(tenant)
        self._live.put(*(self._policy(name, name in refused) for name in self._serving))
        return refused

    def access(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Sequence[str]:
        """By Check, BatchCheck, Explain, ListMatrix and over HTTP an evaluation of AuthZEN, which must agree; the rule is
        Explain's."""
        question = access.Question(principal=principal, action=action, kind=kind, namespace=namespace)
        check = access.CheckRequest(tenant=tenant, question=question)
        batch = access.BatchCheckRequest(tenant=tenant, questions=[question])
        told = self._explained(check, batch, access.ExplainRequest(tenant=tenant, question=question))
        if isinstance(self._client, HttpApi) and kind != NAMESPACE_KIND:
            assert told[: 1 if told[0] == "malformed" else 2] == self._evaluated(
                principal, action, kind, namespace, tenant
            )
        if len(told) == len(("effect", "reason", "rule")) and not told[1].startswith(("UNKNOWN_", "WRONG_")):
            people = search.PrincipalRows(namespace=namespace, principals=[principal])
            matrix = search.ListMatrixRequest(tenant=tenant, principals=people, kinds=[kind], actions=[action])
            assert told == self._told(matrix, _cell)
            if namespace:
                places = search.NamespaceRows(principal=principal, namespaces=[namespace])
                matrix = search.ListMatrixRequest(tenant=tenant, namespaces=places, kinds=[kind], actions=[action])
                assert told == self._told(matrix, _cell)
        return told

    def reach(self, caller: str, owner: str, relation: str, tenant: str) -> Sequence[str]:
        """By CheckReach, BatchCheckReach and ExplainReach, which must agree; the rule is ExplainReach's."""
        question = reach.ReachQuestion(caller=caller, owner=owner, relation=relation)
        check = reach.CheckReachRequest(tenant=tenant, question=question)
        batch = reach.BatchCheckReachRequest(tenant=tenant, questions=[question])
        return self._explained(check, batch, reach.ExplainReachRequest(tenant=tenant, question=question))

    def reach_all(self, caller: str, relation: str, owners: Sequence[str], tenant: str) -> Sequence[str]:
        request = reach.CheckReachAllRequest(tenant=tenant, caller=caller, relation=relation, owners=owners)

        def told(response: reach.CheckReachAllResponse) -> Sequence[str]:
            decision = response.decision
            refused = [each.owner for each in response.refused]
            return [wire.EFFECT_OF[decision.effect], wire.REASON_OF[decision.reason], *refused]

        return self._told(request, told)

    def reachable(self, namespace: str, relation: str, tenant: str) -> Sequence[str]:
        request = reach.ListReachableRequest(tenant=tenant, namespace=namespace, relations=[relation])

        def told(response: reach.ListReachableResponse) -> Sequence[str]:
            return [told for each in response.relations for told in opens(_sets(each.uses), _sets(each.used_by))]

        return self._told(request, told)

    def operations(self, principal: str, operation: str, namespace: str, tenant: str) -> Sequence[str]:
        request = access.CheckOperationRequest(
            tenant=tenant, principal=principal, operation=operation, namespace=namespace
        )
        return self._told(
            request,
            lambda told: [
                wire.EFFECT_OF[told.effect],
                *(wire.REASON_OF[part.decision.reason] for part in told.parts),
            ],
        )

    def dedicated(self, namespace: str, resource_type: str, service: str, tenant: str) -> Sequence[str]:
        types = [wire.RESOURCE_TYPES[ResourceType(resource_type)]]
        request = resources.ResolveDedicatedRequest(
            tenant=tenant, namespace=namespace, resources=types, service=service
        )

        def told(response: resources.ResolveDedicatedResponse) -> Sequence[str]:
            if response.receipt.reason:
                return [wire.REASON_OF[response.receipt.reason]]
            (found,) = response.resources
            level = found.level_namespace or _LEVELS[found.level]
            return [found.name, level, wire.EFFECT_OF[found.service] if found.service else ""]

        return self._told(request, told)

    def served(self, resource_type: str, name: str, tenant: str) -> Sequence[str]:
        request = resources.ListServedRequest(
            tenant=tenant, resource=wire.RESOURCE_TYPES[ResourceType(resource_type)], name=name
        )

        def told(response: resources.ListServedResponse) -> Sequence[str]:
            whole = ["tenant"] if response.serves_tenant else []
            return [*_sets(response.namespaces), *whole, *(f"open to {each}" for each in response.tenants)]

        return self._told(request, told)

    def who(self, action: str, kind: str, namespace: str, tenant: str) -> Sequence[str]:
        request = search.ListPrincipalsRequest(tenant=tenant, action=action, kind=kind, namespace=namespace)
        return self._told(request, lambda told: [each.principal for each in told.principals])

    def where(self, principal: str, action: str, kind: str, tenant: str) -> Sequence[str]:
        """By ListNamespaces, and where both action and kind are given by PlanFilter, which must agree."""
        request = search.ListNamespacesRequest(tenant=tenant, principal=principal, action=action, kind=kind)
        told = self._told(request, lambda response: _sets(response.sets))
        if action and kind:
            plan = search.PlanFilterRequest(tenant=tenant, principal=principal, action=action, kind=kind)
            assert told == self._told(plan, lambda response: [*filter(_anywhere, _sets([response.namespaces]))])
        return told

    def what(self, principal: str, namespace: str, tenant: str) -> Sequence[str]:
        request = search.ListActionsRequest(tenant=tenant, principal=principal, namespace=namespace)
        return self._told(request, lambda told: [f"{one.kind} {each}" for one in told.kinds for each in one.actions])

    def visible(
        self, principal: str, action: str, nodes: Mapping[str, str], edges: Sequence[str], tenant: str
    ) -> Sequence[str]:
        def told(response: visibility.VisibleGraphResponse) -> Sequence[str]:
            if response.receipt.reason:
                return [wire.REASON_OF[response.receipt.reason]]
            drawn = (
                (
                    each.edge.source,
                    each.edge.target,
                    each.edge.relation,
                    wire.EFFECT_OF[each.reach] if each.reach else "",
                )
                for each in response.edges
            )
            return seen((node.uid for node in response.nodes), drawn)

        def see(omit: bool) -> Sequence[str]:
            hidden = visibility.HIDDEN_NODES_OMIT if omit else visibility.HIDDEN_NODES_STUB
            request = visibility.VisibleGraphRequest(tenant=tenant, principal=principal, action=action, hidden=hidden)
            for uid, kind, namespace, thing in nodes_of(nodes):
                request.nodes.add(uid=uid, kind=kind, namespace=namespace, id=thing)
            for source, target, relation in edges_of(edges):
                request.edges.add(source=source, target=target, relation=relation)
            return self._told(request, told)

        return seen_both_ways(see)

    def _evaluated(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Sequence[str]:
        """The answer of AuthZEN to the same question."""
        assert isinstance(self._client, HttpApi)
        subject_type, _, subject_id = principal.partition(":")
        body = {
            "subject": {"type": subject_type, "id": subject_id},
            "action": {"name": action},
            "resource": {"type": kind, "id": "", "properties": {"namespace": namespace or None}},
        }
        response = self._client.http.post(f"/tenants/{tenant}/access/v1/evaluation", json=body)
        if response.status_code != 200:
            return [{400: "malformed", 404: "malformed", 503: "unavailable"}[response.status_code]]
        answer = response.json()
        return ["allow" if answer["decision"] else "deny", answer["context"]["reason"]]

    def _explained(self, check: Any, batch: Any, explain: Any) -> Sequence[str]:
        def decided(response: Any) -> Sequence[str]:
            return [wire.EFFECT_OF[response.decision.effect], wire.REASON_OF[response.decision.reason]]

        def alone(response: Any) -> Sequence[str]:
            (result,) = response.results
            if result.HasField("error"):
                return ["malformed", result.error.field_violations[0].field]
            return decided(result)

        def grounds(response: Any) -> Sequence[str]:
            row = response.rule.row
            return [*decided(response), f"{row.file}:{row.line}" if response.HasField("rule") else ""]

        told = self._told(explain, grounds)
        assert [told[:2]] * 2 == [self._told(check, decided), self._told(batch, alone)]
        return told

    def _told(self, request: Any, told: Callable[[Any], Sequence[str]]) -> Sequence[str]:
        try:
            return told(self._client.ask(request))
        except DecisionUnavailable as error:
            if error.code == "INVALID_ARGUMENT":
                return ["malformed", error.violations[0].field.removeprefix("question.")]
            return [{"UNAVAILABLE": "unavailable", "RESOURCE_EXHAUSTED": "too large"}[error.code]]

    def _policy(self, name: str, refused: bool) -> TenantPolicy:
        snapshot = self._serving[name]
        state = TenantState.STALE if refused else TenantState.SERVING
        return TenantPolicy(Tenant(name), state if snapshot else TenantState.UNAVAILABLE, now_us(), snapshot)


class RemoteCliFace(CliFace):
    """Commands that ask the server."""

    def __init__(self, copies: Path, server: RemoteFace, target: str) -> None:
        super().__init__(copies)
        self._server = server
        self._target = target

    def load(self, directory: Path) -> Mapping[str, str]:
        return self._server.load(directory)

    def _place(self, tenant: str) -> Sequence[str]:
        return ("--target", self._target, "--timeout", "3")


def _cell(response: search.ListMatrixResponse) -> Sequence[str]:
    """Of the matrix of one cell."""
    ((cell,),) = (row.cells for row in response.rows)
    return [wire.EFFECT_OF[cell.effect], wire.REASON_OF[cell.reason], cell.rule]


def _sets(sets: Iterable[decision_pb2.NamespaceSet]) -> Sequence[str]:
    return [str(wire.set_from(each)) for each in sets]


def _anywhere(told: str) -> bool:
    return told != str(NamespaceSet())


@pytest.fixture(params=["client", "command line", "HTTP in protobuf", "HTTP in JSON"])
def face(request: pytest.FixtureRequest, untested: Path, tmp_path: Path) -> Iterator[Face]:
    with both_ways(tmp_path, untested, authzen=True) as (node, server, web), ExitStack() as stack:
        target = f"127.0.0.1:{server.port}"
        match request.param:
            case "HTTP in protobuf":
                yield RemoteFace(node, stack.enter_context(HttpApi(web.port)))
            case "HTTP in JSON":
                yield RemoteFace(node, stack.enter_context(HttpApi(web.port, JSON)))
            case way:
                served = RemoteFace(node, stack.enter_context(Client(target, timeout_s=3.0)))
                yield served if way == "client" else RemoteCliFace(tmp_path, served, target)
