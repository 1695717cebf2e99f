"""The audit over gRPC: what is told of records is what stands in the store."""

import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from support.clients import CONNECTS, patiently
from support.editing import DENIED, GRANT, QUICK, append, statuses, until_status
from support.load import Load
from support.server import DEADLINE_S, Server
from support.violations import violations

from remit.audit.ids import DecisionIds, format_id, parse_id
from remit.audit.store.store import AuditStore
from remit.client import Client, DecisionUnavailable, RecordFilter
from remit.core.names import Tenant
from remit.policy.read.limits import Limits
from remit.policy.revisions.explainer import ArchivedPolicy, snapshot_of
from remit.rpc.encode_records import lifecycle_from, record_from
from remit.v1 import audit_service_pb2 as messages
from remit.v1 import audit_service_pb2_grpc, decision_pb2
from remit.v1.policy_service_pb2 import PinRevisionRequest

VIEW = {"principal": "user:bob", "action": "VIEW", "kind": "FLOW", "namespace": "acme"}
BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[Server]:
    """Some questions of each plane have been asked."""
    with Server(tmp_path_factory.mktemp("auditing"), policies=untested) as started:
        with started.client() as client:
            for principal in ("user:bob", "user:carol", "user:otto"):
                for namespace in ("acme.finance", "acme.data.etl", "acme.people"):
                    client.tenant("acme", trace_id="t1").check(
                        principal, "UPDATE", "FLOW", namespace, resource_id="flow-7"
                    )
            client.tenant("acme").check_reach("acme.data", "acme.finance", "SUBFLOW")
            client.tenant("acme").list_actions("user:carol", "acme.finance")
            client.tenant("globex").check("user:gina", "VIEW", "FLOW", "globex.ops")
            client.tenant("hooli").check("user:bob", "VIEW", "FLOW", "acme.finance")
        yield started


@pytest.fixture(params=CONNECTS)
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Client]:
    with patiently(CONNECTS[request.param])(server.target) as connected:
        yield connected


@pytest.fixture
def edited(untested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untested, tmp_path / "policies"))


def audit_of(channel: grpc.Channel) -> audit_service_pb2_grpc.AuditServiceStub:
    return audit_service_pb2_grpc.AuditServiceStub(channel)


def test_each_field_of_a_record_is_printed(client: Client, store: AuditStore) -> None:
    assert store.decisions() == [record_from(each) for each in client.list_records()]
    assert store.decisions(newest_first=False) == [record_from(each) for each in client.list_records(oldest_first=True)]
    assert store.lifecycle() == [lifecycle_from(each) for each in client.list_lifecycle()]


def test_every_filter_selects_its_records(client: Client, store: AuditStore) -> None:
    records = store.decisions(newest_first=False)
    like = records[4]
    names = ("tenant", "namespace", "principal", "effect", "reason", "question", "caller", "node", "revision")
    for name in names:
        found = client.list_records(RecordFilter(**{name: getattr(like, name)}), oldest_first=True)
        expected = [each for each in records if getattr(each, name) == getattr(like, name)]
        assert expected == [record_from(each) for each in found], name
    ids = [format_id(each.id) for each in records[2:5]]
    assert ids == [each.id for each in client.list_records(RecordFilter(ids=ids), oldest_first=True)]
    since = RecordFilter(since_us=like.time_us, until_us=records[8].time_us)
    assert records[4:8] == [record_from(each) for each in client.list_records(since, oldest_first=True)]
    after = client.list_records(oldest_first=True, after=format_id(like.id))
    assert records[5:] == [record_from(each) for each in after]


def test_lifecycle_records_are_printed_by_type_tenant_and_time(client: Client, store: AuditStore) -> None:
    loaded = store.lifecycle(type_="POLICY_LOADED", tenant="acme")
    assert loaded == [lifecycle_from(each) for each in client.list_lifecycle("acme", type="POLICY_LOADED")]
    (started,) = client.list_lifecycle(type="SERVER_STARTED", node="node-1")
    assert [] == list(client.list_lifecycle(node="node-2"))
    later = client.list_lifecycle(since_us=started.time_us + 1, oldest_first=True, page_size=1)
    assert {"POLICY_LOADED"} == {each.type for each in later}


@pytest.mark.parametrize("oldest_first", [True, False])
def test_pages_hold_each_record_once_while_others_are_written(server: Server, *, oldest_first: bool) -> None:
    with Load(server) as load:
        load.until_acknowledged(300)
        load.stop()
    until_us = time.time_ns() // 1000
    with server.client() as client, server.store() as store, Load(server, seed=9) as load:
        load.until_acknowledged(10)
        where = RecordFilter(tenant="acme", until_us=until_us, effect="allow")
        listed = [each.id for each in client.list_records(where, oldest_first=oldest_first, page_size=7)]
        everything = [each.id for each in client.list_records(RecordFilter(until_us=until_us), page_size=100)]
        load.stop()
        kept = [each for each in store.all_decisions() if each.time_us < until_us]
    assert len(listed) > 50
    allowed = [format_id(each.id) for each in kept if (each.tenant, each.effect) == ("acme", "allow")]
    assert (allowed if oldest_first else allowed[::-1]) == listed
    assert [format_id(each.id) for each in kept][::-1] == everything


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (messages.ListRecordsRequest(filter={"effect": "maybe"}), "filter.effect"),
        (messages.ListRecordsRequest(filter={"reason": "NO_REASON"}), "filter.reason"),
        (messages.ListRecordsRequest(filter={"question": "check"}), "filter.question"),
        (messages.ListRecordsRequest(filter={"tenant": "Acme"}), "filter.tenant"),
        (messages.ListRecordsRequest(filter={"namespace": "a..b"}), "filter.namespace"),
        (messages.ListRecordsRequest(filter={"revision": "latest"}), "filter.revision"),
        (messages.ListRecordsRequest(filter={"principal": "user:\x00"}), "filter.principal"),
        (messages.ListRecordsRequest(filter={"principal": "jim"}), "filter.principal"),
        (messages.CountRecordsRequest(filter={"principal": "user:j*"}), "filter.principal"),
        (messages.FollowRecordsRequest(filter={"principal": f"user:{'x' * 257}"}), "filter.principal"),
        (messages.ListRecordsRequest(filter={"caller": "x" * 513}), "filter.caller"),
        (messages.CountRecordsRequest(filter={"node": "a b"}), "filter.node"),
        (messages.FollowRecordsRequest(filter={"node": "x" * 65}), "filter.node"),
        (messages.ListLifecycleRequest(type="POLICY_LOADD"), "type"),
        (messages.ListLifecycleRequest(node="x" * 65), "node"),
        (messages.ExplainPastRequest(tenant="acme", access=VIEW, time_us=1, node="a b"), "node"),
        (messages.CountRecordsRequest(group_by=["COUNT_GROUPING_TENANT"] * 2), "group_by[1]"),
        (messages.ListRecordsRequest(filter={"ids": ["7"]}), "filter.ids[0]"),
        (messages.ListRecordsRequest(filter={"ids": [format_id(DecisionIds().next())] * 1001}), "filter.ids"),
        (messages.ListRecordsRequest(after="7"), "after"),
        (messages.ListRecordsRequest(page_size=1001), "page_size"),
        (messages.ListRecordsRequest(page_token="7"), "page_token"),
        (messages.GetRecordRequest(id="7"), "id"),
        (messages.FollowRecordsRequest(cursor="7"), "cursor"),
        (messages.FollowRecordsRequest(after="7"), "after"),
        (messages.CountRecordsRequest(group_by=[99]), "group_by[0]"),  # type: ignore[list-item]
        (messages.CountRecordsRequest(group_by=["COUNT_GROUPING_PRINCIPAL", "COUNT_GROUPING_CALLER"]), "group_by"),
        (messages.CountRecordsRequest(filter={"ids": [format_id(DecisionIds().next())]}), "filter.ids"),
        (messages.ListLifecycleRequest(tenant="Acme"), "tenant"),
        (messages.ExplainPastRequest(tenant="acme", time_us=1), "question"),
        (messages.ExplainPastRequest(tenant="acme", access={"principal": "bob"}, time_us=1), "access.principal"),
        (
            messages.ExplainPastRequest(
                tenant="acme", access={"principal": "user:bob", "action": "VIEW", "kind": "FLOW", "namespace": "a"}
            ),
            "at",
        ),
        (
            messages.ExplainPastRequest(
                tenant="acme",
                access={"principal": "user:bob", "action": "VIEW", "kind": "FLOW", "namespace": "a"},
                revision="latest",
            ),
            "revision",
        ),
        (messages.ExplainPastRequest(access={"principal": "user:bob"}, time_us=1), "tenant"),
    ],
    ids=range(34),
)
def test_malformed_request_names_its_field(server: Server, request_: messages.ListRecordsRequest, field: str) -> None:
    with server.channel() as channel:
        call = getattr(audit_of(channel), type(request_).__name__.removesuffix("Request"))
        with pytest.raises(grpc.RpcError) as caught:
            next(call(request_, timeout=DEADLINE_S))
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert field in [name for name, _ in violations(caught.value)]


def test_token_belongs_to_one_request(server: Server) -> None:
    """Of its filter and order; the size of the page may change."""
    with server.channel() as channel:
        audit = audit_of(channel)
        request = messages.ListRecordsRequest(filter={"tenant": "acme"}, page_size=2)
        first = audit.ListRecords(request, timeout=DEADLINE_S)
        request.page_token = first.next_page_token
        request.page_size = 3
        assert 3 == len(audit.ListRecords(request, timeout=DEADLINE_S).records)
        for change in ({"oldest_first": True}, {"filter": {"tenant": "globex"}}, {"filter": {}}):
            other = messages.ListRecordsRequest(
                **{"filter": {"tenant": "acme"}, **change}, page_token=request.page_token
            )
            with pytest.raises(grpc.RpcError) as caught:
                audit.ListRecords(other, timeout=DEADLINE_S)
            assert ["page_token"] == [name for name, _ in violations(caught.value)]


def test_counts_equal_the_sums_of_the_records(client: Client, store: AuditStore) -> None:
    records = list(store.all_decisions())
    for groups in (["tenant", "effect"], ["namespace"], ["question", "reason"], ["caller", "node"], ["revision"], []):
        expected = Counter(tuple(getattr(each, group) for group in groups) for each in records)
        counts = client.count_records(group_by=groups, page_size=2)
        assert dict(expected) == {tuple(getattr(each, group) for group in groups): each.recorded for each in counts}
    (top,) = client.count_records(RecordFilter(tenant="acme"), ["principal"], most_first=True, page_size=1)
    ((name, number),) = Counter(each.principal for each in records if each.tenant == "acme").most_common(1)
    assert (name, number) == (top.principal, top.recorded)
    hours = client.count_records(group_by=["hour"])
    assert len(records) == sum(each.recorded for each in hours)


def test_record_is_shown_with_its_place_and_explanation(client: Client, store: AuditStore) -> None:
    record = store.decisions()[-3]
    shown = client.get_record(format_id(record.id))
    assert record == record_from(shown.record)
    place = store.place(record.id)
    assert place == (shown.place.seq, shown.place.hash, shown.place.head)
    assert 0 < shown.place.seq <= shown.place.head
    assert shown.agrees
    grounds = shown.explanation.access
    assert (record.revision, format_id(record.id)) == (grounds.revision, grounds.decision.decision_id)
    assert f"{record.reason}" in grounds.summary


def test_record_of_reach_is_explained_and_a_list_is_not(client: Client) -> None:
    (reach,) = client.list_records(RecordFilter(question="REACH"))
    shown = client.get_record(reach.id)
    assert shown.agrees
    assert reach.rule == f"{shown.explanation.reach.rule.row.file}:{shown.explanation.reach.rule.row.line}"
    (listed,) = client.list_records(RecordFilter(question="ACTIONS"))
    shown = client.get_record(listed.id)
    assert (False, "its answer is more than one decision") == (shown.agrees, shown.unexplained)
    (unknown,) = client.list_records(RecordFilter(reason="UNKNOWN_TENANT"))
    assert client.get_record(unknown.id).agrees


def test_unknown_record_is_not_found(client: Client) -> None:
    with pytest.raises(DecisionUnavailable, match="there is no decision") as caught:
        client.get_record(format_id(DecisionIds().next()))
    assert "NOT_FOUND" == caught.value.code


def test_explanation_of_an_old_record_needs_only_the_store(serve: Callable[..., Server], edited: Path) -> None:
    """The policy has changed, and this node has no stored revisions."""
    server = serve(*QUICK, "--revisions", "", policies=edited)
    with server.client() as client:
        then = client.tenant("acme").check(*DENIED)
        append(edited / "acme" / "bindings.csv", GRANT)
        until_status(server, lambda acme: acme.revision != then.revision)
        now = client.tenant("acme").check(*DENIED)
        assert [False, True] == [then.allowed, now.allowed]
        shown = {each.decision_id: client.get_record(each.decision_id) for each in (then, now)}
    assert 0 == server.terminate()
    server.start()
    with server.client() as client:
        shown_again = {each.decision_id: client.get_record(each.decision_id) for each in (then, now)}
    assert shown.keys() == shown_again.keys()
    for decision_id, each in shown.items():
        assert each.agrees
        assert each.explanation == shown_again[decision_id].explanation
    assert "NOT_GRANTED" in shown[then.decision_id].explanation.access.summary or (
        "OUT_OF_SCOPE" in shown[then.decision_id].explanation.access.summary
    )
    assert GRANT.strip() in shown[now.decision_id].explanation.access.summary


def test_altered_record_disagrees_with_its_explanation(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested)
    with server.client() as client:
        answer = client.tenant("acme").check(*BOB_VIEWS)
        with closing(sqlite3.connect(server.database)) as connection:
            connection.execute(
                "UPDATE decisions SET effect = 'deny', reason = 'NO_BINDING' WHERE id = ?",
                [parse_id(answer.decision_id)],
            )
            connection.commit()
        shown = client.get_record(answer.decision_id)
        assert ("deny", False) == (shown.record.effect, shown.agrees)
        assert decision_pb2.EFFECT_ALLOW == shown.explanation.access.decision.effect
        with closing(sqlite3.connect(server.database)) as connection:
            connection.execute("UPDATE decisions SET revision = ?", ["0" * 64])
            connection.commit()
        shown = client.get_record(answer.decision_id)
        assert not shown.HasField("explanation")
        assert "is not kept" in shown.unexplained


def test_each_revision_is_in_the_store_before_it_serves(serve: Callable[..., Server], edited: Path) -> None:
    """Those that were loaded at the start, by an edit, and pinned: whole, and of the hash that names them."""
    server = serve(*QUICK, policies=edited)
    first = statuses(server)["acme"].revision
    append(edited / "acme" / "bindings.csv", GRANT)
    second = until_status(server, lambda acme: acme.revision != first).revision
    with closing(sqlite3.connect(server.database)) as connection:
        connection.execute("DELETE FROM revisions WHERE revision = ?", [first])
        connection.commit()
    with server.client() as client:
        client.ask(PinRevisionRequest(tenant="acme", revision=first))
    with server.store() as store:
        for revision in (first, second):
            archive = store.revision("acme", revision, 10_000_000)
            assert archive is not None
            assert (
                revision == snapshot_of(ArchivedPolicy(archive, revision), Tenant("acme"), revision, Limits()).revision
            )


def test_a_question_is_answered_as_it_would_have_been(serve: Callable[..., Server], edited: Path) -> None:
    """By time, before and after an edit, and by revision; nothing of it is recorded as a decision."""
    server = serve(*QUICK, policies=edited)
    first = statuses(server)["acme"]
    append(edited / "acme" / "bindings.csv", GRANT)
    second = until_status(server, lambda acme: acme.revision != first.revision)
    now_us = time.time_ns() // 1000
    with server.client() as client:
        (event, _) = client.list_lifecycle("acme", type="POLICY_LOADED")
        told = {}
        for time_us in (event.time_us - 1, event.time_us, now_us):
            (told[time_us],) = client.tenant("acme").explain_past(*DENIED, time_us=time_us).answers
        assert [first.revision, second.revision, second.revision] == [each.revision for each in told.values()]
        deny, allow = decision_pb2.EFFECT_DENY, decision_pb2.EFFECT_ALLOW
        assert [deny, allow, allow] == [each.access.decision.effect for each in told.values()]
        assert [("node-1", event.time_us)] == [(each.node, each.since_us) for each in told[now_us].nodes]
        (answer,) = client.tenant("acme", revision=first.revision).explain_past(*DENIED).answers
        assert (deny, []) == (answer.access.decision.effect, list(answer.nodes))
        (answer,) = (
            client.tenant("acme").explain_past_reach("acme.data", "acme.finance", "SUBFLOW", time_us=now_us).answers
        )
        assert "SUBFLOW" in answer.reach.summary
        for revision, asked in (
            ("", {"time_us": 1}),
            ("", {"time_us": now_us, "node": "node-9"}),
            ("0" * 64, {}),
            (statuses(server)["globex"].revision, {}),
        ):
            with pytest.raises(DecisionUnavailable) as caught:
                client.tenant("acme", revision=revision).explain_past(*DENIED, **asked)
            assert "NOT_FOUND" == caught.value.code, (revision, asked)
        with pytest.raises(DecisionUnavailable, match="either"):
            client.tenant("acme").explain_past(*DENIED)
        assert [] == list(client.list_records())


def test_readers_are_bounded_and_wait_their_turn(server: Server) -> None:
    """Many at once are all answered, and so are decisions meanwhile."""
    with server.client() as client, server.channel() as channel:
        request = messages.ListRecordsRequest(page_size=1000)
        calls = [audit_of(channel).ListRecords.future(request, timeout=DEADLINE_S) for _ in range(40)]
        assert client.tenant("acme").check(*BOB_VIEWS).allowed
        assert {grpc.StatusCode.OK} == {each.code() for each in calls}
