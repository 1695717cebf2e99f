"""A position in every answer and record, and answers by no older policy than `at_least`, whoever asks and however."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from support.http_api import JSON, HttpApi
from support.in_process import both_ways
from support.questions import ALLOWED
from support.server import DEADLINE_S, POLICIES, remit, until

from remit.audit.record import DecisionRecord
from remit.client import Asked, AskedReach, AsyncClient, Client, DecisionUnavailable, Graph
from remit.client.stubs import METHODS
from remit.core.names import Tenant
from remit.core.position import Position
from remit.service.node import ServerNode
from remit.v1 import access_service_pb2 as access
from remit.v1 import policy_service_pb2 as policy
from remit.v1 import reach_service_pb2 as reach
from remit.v1 import resource_service_pb2 as resources
from remit.v1 import search_service_pb2 as search
from remit.v1 import visibility_service_pb2 as visibility

ACME: Final = Tenant("acme")
WAIT_S: Final = 0.2
QUESTION: Final = ("user:bob", "VIEW", "FLOW", "acme.finance")
REACHED: Final = {"caller": "acme.data.etl", "relation": "KV"}
UNRECORDED: Final = (
    policy.GetVocabularyRequest(),
    policy.ListNamesRequest(what=policy.NAME_TYPE_PRINCIPAL),
)
"""They say nothing of who may what."""
REQUESTS: Final = (
    *UNRECORDED,
    access.CheckRequest(question=ALLOWED),
    access.BatchCheckRequest(questions=[ALLOWED, ALLOWED]),
    access.ExplainRequest(question=ALLOWED),
    access.CheckOperationRequest(
        principal="user:bob", operation="create_flow_in_new_namespace", namespace="acme.finance.new"
    ),
    reach.CheckReachRequest(question=reach.ReachQuestion(owner="acme.data", **REACHED)),
    reach.BatchCheckReachRequest(questions=[reach.ReachQuestion(owner="acme.data", **REACHED)]),
    reach.CheckReachAllRequest(owners=["acme.data"], **REACHED),
    reach.ExplainReachRequest(question=reach.ReachQuestion(owner="acme.data", **REACHED)),
    reach.ListReachableRequest(namespace="acme.data"),
    search.ListActionsRequest(principal="user:bob", namespace="acme.finance"),
    search.ListNamespacesRequest(principal="user:bob"),
    search.ListPrincipalsRequest(action="VIEW", kind="FLOW", namespace="acme.finance"),
    search.ListHeldRequest(principal="user:bob"),
    search.ListMatrixRequest(principals=search.PrincipalRows(namespace="acme.finance"), kinds=["FLOW"]),
    search.PlanFilterRequest(principal="user:bob", action="VIEW", kind="FLOW"),
    visibility.VisibleGraphRequest(
        principal="user:bob", nodes=[visibility.GraphNode(uid="a", kind="FLOW", namespace="acme.finance")]
    ),
    resources.ResolveDedicatedRequest(namespace="acme.finance"),
    resources.ListServedRequest(resource=resources.RESOURCE_TYPE_STORAGE, name="acme-eu"),
)


def position(seq: int, digest: str = "0", tenant: str = "acme") -> str:
    return str(Position(Tenant(tenant), seq, digest * 16))


class Served:
    """A node whose policy of acme gets its positions from the test, as from a policy store."""

    def __init__(self, node: ServerNode, port: int, http_port: int) -> None:
        self.node = node
        self.target = f"127.0.0.1:{port}"
        self.http_port = http_port
        self.asked = 0
        node.live.wanted = self._wanted
        self.move(5)

    def _wanted(self) -> None:
        self.asked += 1

    def move(self, seq: int | None, digest: str = "0") -> None:
        """Serves the policy at this position; at none for None."""
        serving = self.node.live.tenants[ACME]
        assert serving.snapshot is not None
        at = None if seq is None else Position(ACME, seq, digest * 16)
        self.node.live.put(replace(serving, snapshot=serving.snapshot.at(at)))

    def records(self) -> list[DecisionRecord]:
        return list(self.node.records.all_decisions())


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("positions")
    with both_ways(folder, untested, revision_wait_s=WAIT_S, authzen=True) as (node, server, web):
        yield Served(node, server.port, web.port)


@pytest.fixture
def served(started: Served) -> Served:
    started.node.live.wanted = started._wanted
    started.move(5)
    return started


@pytest.fixture(params=["grpc", "http"])
def ask(request: pytest.FixtureRequest, served: Served) -> Iterator[Callable[[Any], Any]]:
    if request.param == "grpc":
        with Client(served.target, timeout_s=DEADLINE_S) as client:
            yield client.ask
    else:
        with HttpApi(served.http_port, JSON) as api:
            yield api.ask


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.target, timeout_s=DEADLINE_S) as made:
        yield made


def required(request: Any, at_least: str) -> Any:
    made = type(request)()
    made.CopyFrom(request)
    made.tenant, made.at_least = "acme", at_least
    return made


def answered_at(response: Any) -> str:
    found = response.receipt if "receipt" in response.DESCRIPTOR.fields_by_name else response
    return str(found.position)


def refused(ask: Callable[[Any], Any], request: Any) -> DecisionUnavailable:
    with pytest.raises(DecisionUnavailable) as caught:
        ask(request)
    return caught.value


def test_each_request_that_may_require_a_revision_is_asked_here() -> None:
    """Except those about pins, and about the past."""
    asked = {each.DESCRIPTOR.full_name for each in REQUESTS}
    fields = {
        name: set(each.response.DESCRIPTOR.file.message_types_by_name[name.rpartition(".")[2]].fields_by_name)
        for name, each in METHODS.items()
    }
    assert asked == {name for name, found in fields.items() if "at_least" in found}
    recorded = asked - {each.DESCRIPTOR.full_name for each in UNRECORDED}
    assert recorded == {name for name, found in fields.items() if {"origin", "revision"} <= found}


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: each.DESCRIPTOR.name)
def test_each_answer_and_record_has_the_position_of_its_policy(
    served: Served, ask: Callable[[Any], Any], request_: Any
) -> None:
    before = len(served.records())
    assert position(5) == answered_at(ask(required(request_, position(4))))
    records = served.records()[before:]
    assert bool(records) == (request_ not in UNRECORDED)
    assert {position(5) for _ in records[:1]} == {json.loads(each.detail)["position"] for each in records}
    refusal = refused(ask, required(request_, position(6)))
    assert ("FAILED_PRECONDITION", True) == (refusal.code, f"within {WAIT_S:g} s" in str(refusal))
    assert before + len(records) == len(served.records())


@pytest.mark.parametrize(
    ("at_least", "expected"),
    [
        (position(1, tenant="globex"), "is a position of tenant `globex`: expected one of `acme`"),
        ("latest", "`latest` is not a position: expected a position as an answer gives it"),
    ],
)
def test_a_position_of_another_tenant_and_a_text_that_is_none_are_malformed(
    ask: Callable[[Any], Any], at_least: str, expected: str
) -> None:
    refusal = refused(ask, required(REQUESTS[0], at_least))
    (violation,) = refusal.violations
    assert ("INVALID_ARGUMENT", "at_least") == (refusal.code, violation.field)
    assert expected in violation.description


def test_a_call_that_waits_is_answered_when_its_position_is_reached(client: Client, served: Served) -> None:
    served.node.live.wanted = lambda: served.move(7)
    assert position(7) == client.tenant("acme", at_least=position(6)).check(*QUESTION).position


def test_a_call_whose_position_is_reached_asks_no_policy_store(client: Client, served: Served) -> None:
    before = served.asked
    assert client.tenant("acme", at_least=position(5)).check(*QUESTION).allowed
    assert before == served.asked


def test_a_record_is_shown_with_its_position(client: Client, served: Served) -> None:
    decision_id = client.tenant("acme").check(*QUESTION).decision_id
    served.move(6)
    shown = client.get_record(decision_id)
    assert {"position": position(5)} == json.loads(shown.record.detail)
    assert position(5) == shown.explanation.access.position
    printed = remit("audit", "show", decision_id, "--target", served.target).stdout
    assert position(5) in printed
    listed = remit("audit", "list", "--target", served.target, "--json", "--limit", "1").stdout
    assert position(5) in listed


def test_another_history_is_refused_at_once(client: Client, served: Served) -> None:
    before = served.asked
    with pytest.raises(DecisionUnavailable, match="another history") as caught:
        client.tenant("acme", at_least=position(5, "1")).check(*QUESTION)
    assert ("FAILED_PRECONDITION", before) == (caught.value.code, served.asked)


def test_a_node_without_a_policy_store_has_no_positions(client: Client, served: Served) -> None:
    """Its records are as they were before there were positions."""
    served.node.live.wanted = None
    served.move(None)
    with pytest.raises(DecisionUnavailable, match="no policy store") as caught:
        client.tenant("acme", at_least=position(5)).check(*QUESTION)
    assert caught.value.code == "FAILED_PRECONDITION"
    before = len(served.records())
    assert client.tenant("acme").check(*QUESTION).position == ""
    client.tenant("acme").check_operation("user:bob", "create_flow_in_new_namespace", "acme.finance.new")
    checked, *parts = served.records()[before:]
    operation = '{"namespace":"acme.finance.new","operation":"create_flow_in_new_namespace"}'
    assert ("", {operation}) == (checked.detail, {each.detail for each in parts})


def test_an_unknown_tenant_has_no_position(client: Client, served: Served) -> None:
    answer = client.tenant("initech").check(*QUESTION)
    assert ("UNKNOWN_TENANT", "", "") == (answer.reason, answer.revision, answer.position)
    assert '{"tenant":"initech"}' == served.records()[-1].detail


def test_status_and_watch_show_the_position(client: Client, served: Served) -> None:
    def shown() -> dict[str, str]:
        return {each.tenant: each.position for each in client.status().tenants}

    assert {position(5), ""} == set(shown().values())
    assert position(5) == shown()["acme"]
    assert position(5) in remit("status", "--target", served.target).stdout
    served.move(None)
    assert "position" not in remit("status", "--target", served.target).stdout
    served.move(5)
    with HttpApi(served.http_port) as api:
        stream = api.stream(
            "/remit.v1.PolicyService/WatchRevision",
            policy.WatchRevisionRequest(tenant="acme"),
            policy.WatchRevisionResponse,
        )
        first = next(stream)
        served.move(6)
        second = next(stream)
    assert [position(5), position(6)] == [first.position, second.position]
    assert first.revision == second.revision


def test_methods_of_the_client_take_and_give_positions(client: Client) -> None:
    """One of each kind of answer; a batch in parts, too."""
    now, acme = position(5), client.tenant("acme", at_least=position(4))
    questions = [Asked(*QUESTION)] * 250
    assert {now} == {each.position for each in acme.batch_check(questions) if not is_error(each)}
    reached = [AskedReach("acme.data.etl", "acme.data", "KV")]
    assert {now} == {each.position for each in acme.batch_check_reach(reached) if not is_error(each)}
    assert now == acme.check_operation("user:bob", "create_flow_in_new_namespace", "acme.finance.new").position
    assert now == acme.check_reach_all("acme.data.etl", ["acme.data"], "KV").position
    assert now == acme.plan_filter("user:bob", "VIEW", "FLOW").position
    assert now == acme.visible_graph("user:bob", Graph((), ())).receipt.position
    assert list(acme.list_principals("VIEW", "FLOW", "acme.finance"))
    later = acme.with_terms(at_least=position(6))
    for at_once, too_late in ((acme.check, later.check), (acme.explain, later.explain)):
        assert now == at_once(*QUESTION).position
        with pytest.raises(DecisionUnavailable, match="did not become current"):
            too_late(*QUESTION)


def is_error(result: Any) -> bool:
    return isinstance(result, DecisionUnavailable)


def test_the_client_for_asyncio_takes_and_gives_positions(served: Served) -> None:
    async def asked() -> str:
        async with AsyncClient(served.target, timeout_s=DEADLINE_S) as client:
            with pytest.raises(DecisionUnavailable, match="did not become current"):
                await client.tenant("acme", at_least=position(6)).check(*QUESTION)
            return (await client.tenant("acme", at_least=position(5)).guard(*QUESTION)).position

    assert position(5) == asyncio.run(asked())


def test_a_cached_answer_is_asked_again_for_a_later_position(served: Served) -> None:
    with Client(served.target, timeout_s=DEADLINE_S, cache=10) as client:

        def cached() -> bool:
            before = len(served.records())
            client.tenant("acme").check(*QUESTION)
            return len(served.records()) == before

        until(cached, "the answer is in the cache")
        before = len(served.records())
        assert position(5) == client.tenant("acme", at_least=position(5)).check(*QUESTION).position
        assert before == len(served.records())
        served.move(6)
        assert position(6) == client.tenant("acme", at_least=position(6)).check(*QUESTION).position
        assert before + 1 == len(served.records())


def test_an_answer_of_a_server_that_reads_no_at_least_is_no_answer(client: Client, served: Served) -> None:
    """A server of an older version leaves out fields that it does not know."""
    old = client.ask(required(REQUESTS[0], position(5)))
    old.ClearField("position")
    client._transport._send = lambda *_: old  # type: ignore[method-assign]
    with pytest.raises(DecisionUnavailable, match="the answer has no position, and not") as caught:
        client.tenant("acme", at_least=position(5)).check(*QUESTION)
    assert caught.value.code == "FAILED_PRECONDITION"


def test_authzen_takes_and_gives_positions_in_headers(served: Served) -> None:
    body = {
        "subject": {"type": "user", "id": "bob"},
        "action": {"name": "VIEW"},
        "resource": {"type": "FLOW", "id": "f", "properties": {"namespace": "acme.finance"}},
    }
    kept = {name: body[name] for name in ("subject", "action")}
    calls = {
        "evaluation": body,
        "evaluations": {**kept, "evaluations": [{"resource": body["resource"]}] * 2},
        "search/action": {"subject": body["subject"], "resource": body["resource"]},
    }
    with httpx.Client(base_url=f"http://127.0.0.1:{served.http_port}/tenants/acme/access/v1/") as http:
        for path, sent in calls.items():
            given = http.post(path, json=sent, headers={"Remit-At-Least": position(5)})
            assert (200, position(5)) == (given.status_code, given.headers.get("remit-position")), given.text
            assert 412 == http.post(path, json=sent, headers={"Remit-At-Least": position(6)}).status_code
            for malformed in ("latest", position(1, tenant="globex")):
                answer = http.post(path, json=sent, headers={"Remit-At-Least": malformed})
                assert 400 == answer.status_code
                assert "Remit-At-Least: expected a position of this tenant" in answer.text
        served.move(None)
        assert "remit-position" not in http.post("evaluation", json=body).headers


def test_a_command_requires_a_position_of_a_server(served: Served) -> None:
    asked = ("check", "acme", *QUESTION, "--json")
    found = remit(*asked, "--target", served.target, "--at-least", position(5))
    assert (0, position(5)) == (found.returncode, json.loads(found.stdout)["position"])
    late = remit("who", "acme", "VIEW", "FLOW", "acme.finance", "--target", served.target, "--at-least", position(6))
    assert "did not become current" in late.stderr
    assert 3 == late.returncode
    assert 2 == remit(*asked, "--target", served.target, "--at-least", "latest").returncode
    files = remit(*asked, "--policies", str(POLICIES), "--at-least", position(5))
    assert 2 == files.returncode
    assert "--at-least needs a server: policy files have no positions" in files.stderr
