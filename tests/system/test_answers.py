"""What comes over gRPC is what the engine says, with nothing added and nothing lost."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.questions import check
from support.server import DEADLINE_S, POLICIES, Server, access_of

from remit import wire
from remit.core.decision import Reason
from remit.core.names import Tenant
from remit.core.question import Question
from remit.core.rows import Effect
from remit.engine.explain.access import explain, summary
from remit.engine.snapshot import Snapshot
from remit.policy.load import LoadedTree, load_tree
from remit.policy.testing.cases import ACCESS_REASONS, REACH_REASONS, AccessCase, ReachCase
from remit.rpc.server import ASKING_SERVICES
from remit.v1 import access_service_pb2 as messages
from remit.v1 import decision_pb2
from remit.v1 import reach_service_pb2 as reach_messages
from remit.v1.access_service_pb2_grpc import AccessServiceStub as Access
from remit.v1.reach_service_pb2_grpc import ReachServiceStub as Reach

BATCH = 100
EXAMPLES = {
    Reason.UNKNOWN_TENANT: ("initech", "user:bob VIEW FLOW acme.finance"),
    Reason.UNKNOWN_KIND: ("acme", "user:bob VIEW FLOWS acme.finance"),
    Reason.UNKNOWN_ACTION: ("acme", "user:bob LOOK FLOW acme.finance"),
    Reason.WRONG_CLASS: ("acme", "user:alice VIEW TENANT"),
    Reason.NO_ACCESS: ("globex", "user:mira@northbridge.example VIEW FLOW shop.orders"),
    Reason.DENIED_BY_RULE: ("acme", "user:otto VIEW FLOW acme.finance"),
    Reason.ALLOWED_BY_RULE: ("acme", "user:bob VIEW FLOW acme.finance"),
    Reason.OUT_OF_SCOPE: ("acme", "user:carol UPDATE FLOW acme.finance"),
    Reason.NOT_GRANTED: ("acme", "user:nadia UPDATE NAMESPACE acme.people"),
    Reason.NO_BINDING: ("acme", "user:sam VIEW FLOW acme.finance"),
}
REACH_EXAMPLES = {
    Reason.UNKNOWN_TENANT: ("initech", "acme.data acme.finance SUBFLOW"),
    Reason.UNKNOWN_RELATION: ("acme", "acme.data acme.data SUBFLOWS"),
    Reason.SAME_NAMESPACE: ("acme", "acme.data acme.data SUBFLOW"),
    Reason.DENIED_BY_RULE: ("acme", "acme.data shared.lib SECRET"),
    Reason.ALLOWED_BY_RULE: ("acme", "acme.data.reporting acme.data.etl.sales KV"),
    Reason.INHERITED: ("acme", "acme.data.etl acme.data KV"),
    Reason.NO_MATCHING_RULE: ("acme", "acme.datax acme.finance SUBFLOW"),
}
ALLOWING = {Reason.ALLOWED_BY_RULE, Reason.SAME_NAMESPACE, Reason.INHERITED}


@pytest.fixture(scope="module")
def access(server: Server) -> Iterator[Access]:
    with server.channel() as channel:
        yield access_of(channel)


@pytest.fixture(scope="module")
def reach(server: Server) -> Iterator[Reach]:
    with server.channel() as channel:
        yield Reach(channel)


@pytest.fixture(scope="module")
def tree() -> LoadedTree:
    return load_tree(POLICIES)


def cases(tree: LoadedTree) -> Iterator[tuple[Tenant, Snapshot, list[AccessCase]]]:
    for tenant, loaded in tree.tenants.items():
        assert loaded.snapshot is not None
        yield tenant, loaded.snapshot, [case for case in loaded.cases if isinstance(case, AccessCase)]


def asked(question: Question) -> messages.Question:
    return messages.Question(**question._asdict())


def named(text: str) -> messages.Question:
    principal, action, kind, *namespace = text.split()
    return messages.Question(principal=principal, action=action, kind=kind, namespace="".join(namespace))


def test_every_reason_has_an_example_and_a_number_in_the_api() -> None:
    assert {*ACCESS_REASONS, Reason.UNKNOWN_TENANT} == set(EXAMPLES)
    assert {*REACH_REASONS, Reason.UNKNOWN_TENANT} == set(REACH_EXAMPLES)
    # Only a gateway's request has no route: see `test_envoy`.
    assert {*EXAMPLES, *REACH_EXAMPLES, Reason.NO_ROUTE} == set(wire.REASONS)
    assert len(wire.REASONS) == len(decision_pb2.Reason.keys()) - 1


@pytest.mark.parametrize("reason", EXAMPLES)
def test_each_reason_is_answered(access: Access, reason: Reason) -> None:
    """By Check, BatchCheck and Explain."""
    tenant, text = EXAMPLES[reason]
    question = named(text)
    effect = Effect.ALLOW if reason is Reason.ALLOWED_BY_RULE else Effect.DENY
    expected = (wire.EFFECTS[effect], wire.REASONS[reason])
    single = access.Check(check(question, tenant=tenant), timeout=DEADLINE_S)
    batch = access.BatchCheck(messages.BatchCheckRequest(tenant=tenant, questions=[question]), timeout=DEADLINE_S)
    told = access.Explain(messages.ExplainRequest(tenant=tenant, question=question), timeout=DEADLINE_S)
    decisions = [single.decision, batch.results[0].decision, told.decision]
    assert [expected] * 3 == [(each.effect, each.reason) for each in decisions]
    assert len({each.decision_id for each in decisions}) == 3
    revisions = {single.revision, batch.revision, told.revision}
    assert (reason is Reason.UNKNOWN_TENANT) == (revisions == {""})
    assert len(revisions) == 1


@pytest.mark.parametrize("reason", REACH_EXAMPLES)
def test_each_reason_of_the_reach_plane_is_answered(reach: Reach, reason: Reason) -> None:
    """By CheckReach, BatchCheckReach, CheckReachAll and ExplainReach."""
    tenant, text = REACH_EXAMPLES[reason]
    caller, owner, relation = text.split()
    question = reach_messages.ReachQuestion(caller=caller, owner=owner, relation=relation)
    effect = Effect.ALLOW if reason in ALLOWING else Effect.DENY
    expected = (wire.EFFECTS[effect], wire.REASONS[reason])
    single = reach.CheckReach(reach_messages.CheckReachRequest(tenant=tenant, question=question), timeout=DEADLINE_S)
    batch = reach.BatchCheckReach(
        reach_messages.BatchCheckReachRequest(tenant=tenant, questions=[question]), timeout=DEADLINE_S
    )
    every = reach.CheckReachAll(
        reach_messages.CheckReachAllRequest(tenant=tenant, caller=caller, relation=relation, owners=[owner]),
        timeout=DEADLINE_S,
    )
    told = reach.ExplainReach(reach_messages.ExplainReachRequest(tenant=tenant, question=question), timeout=DEADLINE_S)
    decisions = [single.decision, batch.results[0].decision, every.decision, told.decision]
    assert [expected] * 4 == [(each.effect, each.reason) for each in decisions]
    assert len({each.decision_id for each in decisions}) == 4
    refused = [] if effect is Effect.ALLOW or reason is Reason.UNKNOWN_TENANT else [(owner, expected[1])]
    assert refused == [(each.owner, each.reason) for each in every.refused]
    assert (reason in {Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE}) == told.HasField("rule")


def test_all_reach_cases_of_the_example_company_hold_over_grpc(reach: Reach, tree: LoadedTree) -> None:
    checked = 0
    for tenant, loaded in tree.tenants.items():
        some = [case for case in loaded.cases if isinstance(case, ReachCase)]
        questions = [reach_messages.ReachQuestion(**case.question._asdict()) for case in some]
        for case, question in zip(some, questions, strict=True):
            request = reach_messages.CheckReachRequest(tenant=tenant, question=question)
            decision = reach.CheckReach(request, timeout=DEADLINE_S).decision
            assert wire.EFFECTS[case.expect] == decision.effect, case
            assert case.reason is None or wire.REASONS[case.reason] == decision.reason, case
            checked += 1
    assert checked > 50


def test_all_cases_of_the_example_company_hold_over_grpc(access: Access, tree: LoadedTree) -> None:
    """One by one and in batches."""
    checked = 0
    for tenant, _, access_cases in cases(tree):
        for start in range(0, len(access_cases), BATCH):
            some = access_cases[start : start + BATCH]
            questions = [asked(case.question) for case in some]
            request = messages.BatchCheckRequest(tenant=tenant, questions=questions)
            together = access.BatchCheck(request, timeout=DEADLINE_S)
            alone = [access.Check(check(each, tenant=tenant), timeout=DEADLINE_S).decision for each in questions]
            for case, one, other in zip(some, alone, together.results, strict=True):
                answers = [(each.effect, each.reason) for each in (one, other.decision)]
                assert answers[0] == answers[1], case
                assert wire.EFFECTS[case.expect] == answers[0][0], case
                assert case.reason is None or wire.REASONS[case.reason] == answers[0][1], case
                checked += 1
    assert checked > 500


def test_explanation_over_grpc_equals_the_local_one(access: Access, tree: LoadedTree) -> None:
    """Rule, chain, near misses, remedy and summary, for every case that names its reason."""
    explained = 0
    for tenant, snapshot, access_cases in cases(tree):
        for case in access_cases:
            if case.reason is None:
                continue
            request = messages.ExplainRequest(tenant=tenant, question=asked(case.question))
            response = access.Explain(request, timeout=DEADLINE_S)
            local = explain(snapshot, case.question)
            decision_id = response.decision.decision_id
            assert wire.explanation_to(local, decision_id, snapshot.revision, summary(local)) == response
            explained += 1
    assert explained > 100


def test_reflection_lists_the_services_and_shows_their_protos(server: Server) -> None:
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="remit.v1.AccessService"),
    ]
    with server.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        services, file = stub.ServerReflectionInfo(iter(requests), timeout=DEADLINE_S)
    assert {
        *ASKING_SERVICES,
        "remit.v1.AuditService",
        "remit.v1.BindingService",
        "remit.v1.PolicyService",
        "remit.v1.StatusService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    } == {each.name for each in services.list_services_response.service}
    assert [messages.DESCRIPTOR.serialized_pb] == list(file.file_descriptor_response.file_descriptor_proto)[:1]


def test_an_unknown_method_is_unimplemented(server: Server) -> None:
    with server.channel() as channel:
        guess: Any = channel.unary_unary("/remit.v1.AccessService/Guess")
        with pytest.raises(grpc.RpcError) as caught:
            guess(b"", timeout=DEADLINE_S)
    assert grpc.StatusCode.UNIMPLEMENTED is caught.value.code()


def test_status_prints_node_version_tenants_and_audit(server: Server, tree: LoadedTree) -> None:
    with server.client() as client:
        told = client.status()
        assert {"acme"} == {each.tenant for each in client.status("acme").tenants}
        assert [] == list(client.status("initech").tenants)
    assert ("node-1", tree.tree_revision) == (told.node, told.tree_revision)
    expected = {tenant: (loaded.revision, len(loaded.diagnostics)) for tenant, loaded in tree.tenants.items()}
    assert expected == {each.tenant: (each.revision, len(each.diagnostics)) for each in told.tenants}
    assert ("before_answer", True, "") == (told.audit.delivery, told.audit.healthy, told.audit.error)
    assert told.audit.store_bytes > 0
    assert told.audit.free_bytes > 0
    assert told.audit.committed > 0
