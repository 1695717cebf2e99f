"""Answers that are lists: their pages, their limits, and the one record that each leaves."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.server import DEADLINE_S, POLICIES, Server

from remit.audit.ids import format_id
from remit.audit.record import DecisionRecord
from remit.client import Client, DecisionUnavailable
from remit.core.names import Tenant
from remit.core.question import QuestionType
from remit.policy.live import TenantPolicy, TenantState
from remit.policy.load import load_tree
from remit.rpc.server import Server as InProcess
from remit.service.node import ServerNode
from remit.service.settings_reader import read_settings
from remit.service.workers.process_settings import ProcessSettings
from remit.v1 import access_service_pb2 as access
from remit.v1 import decision_pb2
from remit.v1 import reach_service_pb2 as reach
from remit.v1 import search_service_pb2 as search


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as shared:
        yield shared


def who(**fields: Any) -> search.ListPrincipalsRequest:
    return search.ListPrincipalsRequest(
        **{"tenant": "acme", "action": "VIEW", "kind": "FLOW", "namespace": "acme.finance", **fields}
    )


def matrix(**fields: Any) -> search.ListMatrixRequest:
    rows = search.PrincipalRows(namespace="acme.finance")
    return search.ListMatrixRequest(**{"tenant": "acme", "principals": rows, "kinds": ["FLOW"], **fields})


def of_bob(**fields: Any) -> search.ListMatrixRequest:
    rows = search.NamespaceRows(**{"principal": "user:bob", **fields})
    return search.ListMatrixRequest(tenant="acme", namespaces=rows, kinds=["FLOW"])


def test_pages_put_together_are_the_whole(client: Client) -> None:
    whole = client.ask(who(page_size=1_000))
    assert whole.next_page_token == ""
    assert len(whole.principals) == whole.total > 5
    pages = [client.ask(who(page_size=2))]
    while pages[-1].next_page_token:
        pages.append(client.ask(who(page_size=2, page_token=pages[-1].next_page_token)))
    assert list(whole.principals) == [each for page in pages for each in page.principals]
    assert {2} == {len(page.principals) for page in pages[:-1]}
    assert {whole.total} == {page.total for page in pages}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (who(page_token="nonsense"), "page_token"),
        (who(page_token="WzEsIDIsIDNd"), "page_token"),
        (who(page_size=1_001), "page_size"),
        (who(action=""), "action"),
        (who(namespace=""), "namespace"),
        (who(kind="USER"), "namespace"),
        (search.ListNamespacesRequest(tenant="acme", principal="user:bob", among=["a"] * 10_001), "among"),
        (search.ListNamespacesRequest(tenant="acme", principal="user:bob", among=["a", "A"]), "among[1]"),
        (search.ListNamespacesRequest(tenant="acme", principal="bob"), "principal"),
        (search.ListNamespacesRequest(tenant="acme", principal="user:bob", kind="BLUEPRINT"), "kind"),
        (search.ListActionsRequest(tenant="acme", principal="user:bob", kinds=["FLOW", "FLOWS"]), "kinds[1]"),
        (search.PlanFilterRequest(tenant="acme", principal="user:bob", kind="FLOW"), "action"),
        (search.ListMatrixRequest(tenant="acme"), "rows"),
        (matrix(page_size=101), "page_size"),
        (matrix(page_token="nonsense"), "page_token"),
        (matrix(kinds=["FLOW", "FLOWS"]), "kinds[1]"),
        (matrix(kinds=["USER"]), "kinds[0]"),
        (matrix(kinds=["FLOW", "FLOW"]), "kinds[1]"),
        (matrix(kinds=["FLOW"], actions=["VIEW", "FLY"]), "actions[1]"),
        (matrix(tenant="_instance"), "principals.namespace"),
        (matrix(principals=search.PrincipalRows(namespace="A")), "principals.namespace"),
        (matrix(principals=search.PrincipalRows(principals=["user:a", "bob"])), "principals.principals[1]"),
        (matrix(principals=search.PrincipalRows(principals=["user:a", "user:a"])), "principals.principals[1]"),
        (matrix(principals=search.PrincipalRows(principals=["user:a"] * 10_001)), "principals.principals"),
        (matrix(principals=search.PrincipalRows(principals=["user:a"], holding="group:b")), "principals.holding"),
        (matrix(principals=search.PrincipalRows(holding="user:bob")), "principals.holding"),
        (of_bob(principal=""), "namespaces.principal"),
        (of_bob(namespaces=["a", "a..b"]), "namespaces.namespaces[1]"),
        (of_bob(namespaces=["a"] * 10_001), "namespaces.namespaces"),
        (of_bob(namespaces=["a"], below="b"), "namespaces.below"),
        (of_bob(below="B"), "namespaces.below"),
        (reach.ListReachableRequest(tenant="acme", namespace="a..b"), "namespace"),
        (reach.ListReachableRequest(tenant="acme", namespace="a", relations=["KV", "FILES", "KV"]), "relations[2]"),
        (reach.ListReachableRequest(tenant="acme", namespace="a", among=["a"] * 10_001), "among"),
        (reach.CheckReachAllRequest(tenant="acme", caller="a", relation="KV", owners=["a"] * 10_001), "owners"),
        (reach.BatchCheckReachRequest(tenant="acme", questions=[reach.ReachQuestion()] * 101), "questions"),
        (reach.CheckReachAllRequest(tenant="acme", caller="a", relation="KV"), "owners"),
        (reach.BatchCheckReachRequest(tenant="acme"), "questions"),
        (
            access.CheckOperationRequest(tenant="acme", principal="user:bob", operation="upsert_flow", namespace="a"),
            "operation",
        ),
        (
            access.CheckOperationRequest(tenant="acme", principal="user:bob", operation="upsert_flows"),
            "namespace",
        ),
    ],
)
def test_a_malformed_question_names_its_field(
    client: Client, since: Callable[[], list[DecisionRecord]], request_: Any, field: str
) -> None:
    """And leaves no record."""
    with pytest.raises(DecisionUnavailable) as caught:
        client.ask(request_)
    assert ("INVALID_ARGUMENT", field) == (caught.value.code, caught.value.violations[0].field)
    assert [] == since()


def test_a_page_token_belongs_to_its_request(client: Client) -> None:
    token = client.ask(who(page_size=1)).next_page_token
    with pytest.raises(DecisionUnavailable, match="another request"):
        client.ask(who(page_size=1, action="UPDATE", page_token=token))
    # The size of a page is no part of what is asked.
    assert client.ask(who(page_size=3, page_token=token)).principals


def test_a_page_of_another_revision_is_refused(untested: Path, tmp_path: Path) -> None:
    """The pages of one list are of one policy, or the caller begins again."""
    audit = f"sqlite:///{tmp_path / 'audit.db'}"
    node = ServerNode.start(
        ProcessSettings.single(
            read_settings({"policies": untested, "audit": audit, "listen": "127.0.0.1:0", "metrics": ""})
        )
    )
    server = InProcess(node).start()
    try:
        with Client(f"127.0.0.1:{server.port}", timeout_s=DEADLINE_S) as client:
            token = client.ask(who(page_size=1)).next_page_token
            other = load_tree(POLICIES).tenants[Tenant("acme")].snapshot
            assert other is not None
            policy = TenantPolicy(other.tenant, TenantState.SERVING, 0, other)
            node.live.put(policy)
            with pytest.raises(DecisionUnavailable, match="begin again") as caught:
                client.ask(who(page_size=1, page_token=token))
            assert caught.value.code == "FAILED_PRECONDITION"
    finally:
        server.stop()


RECORDED = [
    (who(), ("PRINCIPALS", "", "VIEW", "FLOW", "acme.finance"), {"principals"}),
    (
        search.ListNamespacesRequest(tenant="acme", principal="user:bob", among=["acme.finance", "x"]),
        ("NAMESPACES", "user:bob", "", "", ""),
        {"patterns", "among", "matching"},
    ),
    (
        search.ListActionsRequest(tenant="acme", principal="user:bob", namespace="acme.finance"),
        ("ACTIONS", "user:bob", "", "", "acme.finance"),
        {"kinds", "actions"},
    ),
    (
        search.PlanFilterRequest(tenant="acme", principal="user:bob", action="VIEW", kind="FLOW"),
        ("FILTER", "user:bob", "VIEW", "FLOW", ""),
        {"patterns"},
    ),
    (
        matrix(principals=search.PrincipalRows(namespace="acme.finance", holding="group:finance")),
        ("MATRIX", "", "", "FLOW", "acme.finance"),
        {"of", "holding", "columns", "rows", "total", "allowed"},
    ),
    (
        of_bob(below="acme.data"),
        ("MATRIX", "user:bob", "", "FLOW", ""),
        {"of", "below", "columns", "rows", "total", "allowed"},
    ),
    (
        reach.ListReachableRequest(tenant="acme", namespace="acme.data"),
        ("REACHABLE", "namespace:acme.data", "", "", ""),
        {"among", "relations"},
    ),
]


@pytest.mark.parametrize(("request_", "columns", "detail"), RECORDED)
def test_a_list_leaves_one_record(
    client: Client,
    since: Callable[[], list[DecisionRecord]],
    request_: Any,
    columns: tuple[str, ...],
    detail: set[str],
) -> None:
    """Without effect and reason, under the id in the receipt, with counts and without listed names."""
    answer = client.ask(request_)
    (record,) = since()
    assert answer.receipt.decision_id == format_id(record.id)
    assert answer.receipt.revision == record.revision
    assert columns == (record.question, record.principal, record.action, record.kind, record.namespace)
    assert ("", "", "", -1) == (record.effect, record.reason, record.rule, record.batch_index)
    assert detail == set(json.loads(record.detail))


def test_reach_all_leaves_one_record_that_names_the_refusing_owners(
    client: Client, since: Callable[[], list[DecisionRecord]]
) -> None:
    owners = ["acme.finance", "acme.legal", "acme.finance.payroll"]
    answer = client.ask(
        reach.CheckReachAllRequest(tenant="acme", caller="acme.data", relation="SUBFLOW", owners=owners)
    )
    (record,) = since()
    assert owners[1:] == [each.owner for each in answer.refused]
    assert ("REACH_ALL", "namespace:acme.data", "SUBFLOW", "deny", "DENIED_BY_RULE") == (
        record.question,
        record.principal,
        record.action,
        record.effect,
        record.reason,
    )
    assert {"owners": 3, "refused": owners[1:], "other_refused": 0} == json.loads(record.detail)


def where(**fields: Any) -> search.ListNamespacesRequest:
    return search.ListNamespacesRequest(**{"tenant": "acme", "principal": "user:bob", **fields})


def filter_by(**fields: Any) -> search.PlanFilterRequest:
    asked = {"tenant": "acme", "principal": "user:bob", "action": "VIEW", "kind": "FLOW", **fields}
    return search.PlanFilterRequest(**asked)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (who(tenant="initech"), "UNKNOWN_TENANT"),
        (matrix(tenant="initech"), "UNKNOWN_TENANT"),
        (where(kind="FLOWS"), "UNKNOWN_KIND"),
        (where(action="FLY"), "UNKNOWN_ACTION"),
        (where(kind="FLOW", action="FLY"), "UNKNOWN_ACTION"),
        (where(tenant="_instance", kind="FLOW"), "WRONG_CLASS"),
        (filter_by(kind="FLOWS"), "UNKNOWN_KIND"),
        (filter_by(action="FLY"), "UNKNOWN_ACTION"),
        (filter_by(tenant="_instance"), "WRONG_CLASS"),
    ],
    ids=range(9),
)
def test_an_empty_list_says_why(
    client: Client, since: Callable[[], list[DecisionRecord]], request_: Any, reason: str
) -> None:
    """In its receipt and in its record."""
    answer = client.ask(request_)
    (record,) = since()
    listed = {field.name for field, _ in answer.ListFields()}
    assert {"receipt"} == listed
    assert reason == decision_pb2.Reason.Name(answer.receipt.reason).removeprefix("REASON_")
    assert (reason, "") == (record.reason, record.effect)


def test_the_reach_plane_is_recorded_as_asked(client: Client, since: Callable[[], list[DecisionRecord]]) -> None:
    question = reach.ReachQuestion(caller="acme.data", owner="acme.legal", relation="KV", resource_id="key-1")
    client.ask(reach.CheckReachRequest(tenant="acme", question=question))
    client.ask(reach.BatchCheckReachRequest(tenant="acme", questions=[question]))
    client.ask(reach.ExplainReachRequest(tenant="acme", question=question))
    records = since()
    assert ["REACH", "REACH", "REACH_EXPLAIN"] == [record.question for record in records]
    assert [-1, 0, -1] == [record.batch_index for record in records]
    assert {("namespace:acme.data", "KV", "", "acme.legal", "key-1", "deny")} == {
        (each.principal, each.action, each.kind, each.namespace, each.resource_id, each.effect) for each in records
    }
    assert {QuestionType.REACH, QuestionType.REACH_EXPLAIN} == {QuestionType(each.question) for each in records}
