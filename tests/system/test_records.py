"""What stands in the audit store, and in the metrics, of what was asked."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.questions import ALLOWED, check
from support.server import DEADLINE_S, Server, access_of, remit

from remit.audit.ids import format_id, id_time_ms, parse_id
from remit.audit.record import DecisionRecord
from remit.v1 import access_service_pb2 as messages
from remit.v1 import decision_pb2

ORIGIN = decision_pb2.Origin(on_behalf_of="user:alice", trace_id="4bf92f3577b34da6a3ce929d0e0e4736")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("records"), policies=untested) as shared:
        yield shared


@pytest.fixture
def fresh(serve: Callable[..., Server], untested: Path) -> Server:
    return serve(policies=untested)


def question(principal: str, resource_id: str = "") -> messages.Question:
    return messages.Question(
        principal=principal, action="VIEW", kind="FLOW", namespace="acme.finance", resource_id=resource_id
    )


def test_each_field_of_a_decision_is_recorded(server: Server, since: Callable[[], list[DecisionRecord]]) -> None:
    before_us = time.time_ns() // 1000
    with server.channel() as channel:
        request = check(question("user:bob", "flow-7 ü"), origin=ORIGIN)
        answer = access_of(channel).Check(request, timeout=DEADLINE_S)
    (record,) = since()
    after_us = time.time_ns() // 1000
    assert before_us - 1000 <= record.time_us <= after_us + 1000
    assert record.time_us // 1000 == id_time_ms(record.id)
    assert record.latency_ns > 0
    assert record.call_id not in {record.id, bytes(16)}
    expected = DecisionRecord(
        id=parse_id(answer.decision.decision_id),
        time_us=record.time_us,
        node="node-1",
        caller="anonymous",
        on_behalf_of="user:alice",
        tenant="acme",
        namespace="acme.finance",
        principal="user:bob",
        action="VIEW",
        kind="FLOW",
        resource_id="flow-7 ü",
        effect="allow",
        reason="ALLOWED_BY_RULE",
        rule=record.rule,
        revision=answer.revision,
        latency_ns=record.latency_ns,
        call_id=record.call_id,
        batch_index=-1,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    )
    assert expected == record


def test_the_rule_recorded_is_the_one_explained(server: Server, since: Callable[[], list[DecisionRecord]]) -> None:
    with server.channel() as channel:
        request = messages.ExplainRequest(tenant="acme", question=question("user:otto"), origin=ORIGIN)
        told = access_of(channel).Explain(request, timeout=DEADLINE_S)
    (record,) = since()
    assert ("deny", "DENIED_BY_RULE") == (record.effect, record.reason)
    assert f"{told.rule.row.file}:{told.rule.row.line}" == record.rule
    assert ("user:alice", ORIGIN.trace_id) == (record.on_behalf_of, record.trace_id)


def test_the_items_of_a_batch_share_a_call_and_keep_their_positions(
    server: Server, since: Callable[[], list[DecisionRecord]]
) -> None:
    """The malformed one is not recorded and leaves its position free."""
    questions = [question(""), question("bob"), question("user:sam", "flow-2"), question("user:otto")]
    request = messages.BatchCheckRequest(tenant="acme", questions=questions, principal="user:bob", origin=ORIGIN)
    with server.channel() as channel:
        results = access_of(channel).BatchCheck(request, timeout=DEADLINE_S).results
    records = since()
    assert [
        (0, "user:bob", "", "ALLOWED_BY_RULE"),
        (2, "user:sam", "flow-2", "NO_BINDING"),
        (3, "user:otto", "", "DENIED_BY_RULE"),
    ] == [(record.batch_index, record.principal, record.resource_id, record.reason) for record in records]
    told = [each.decision.decision_id for each in results if each.HasField("decision")]
    assert told == [format_id(record.id) for record in records]
    assert 1 == len({record.call_id for record in records})
    assert {("user:alice", ORIGIN.trace_id)} == {(record.on_behalf_of, record.trace_id) for record in records}


TRACEPARENT = ("traceparent", f"00-{'ab' * 16}-00f067aa0ba902b7-01")


@pytest.mark.parametrize(
    ("named", "metadata", "expected"),
    [
        ("", [TRACEPARENT], "ab" * 16),
        ("request-7", [TRACEPARENT], "request-7"),
        ("", [("traceparent", "00-nonsense")], ""),
        ("", [], ""),
    ],
    ids=range(4),
)
def test_trace_id_comes_from_the_request_or_the_traceparent(
    server: Server,
    since: Callable[[], list[DecisionRecord]],
    named: str,
    metadata: list[tuple[str, str]],
    expected: str,
) -> None:
    """Of every kind of call."""
    origin = decision_pb2.Origin(trace_id=named)
    explain = messages.ExplainRequest(tenant="acme", question=ALLOWED, origin=origin)
    with server.channel() as channel:
        access = access_of(channel)
        access.Check(check(origin=origin), metadata=metadata, timeout=DEADLINE_S)
        access.Explain(explain, metadata=metadata, timeout=DEADLINE_S)
    assert [expected] * 2 == [record.trace_id for record in since()]


def test_a_question_about_an_unknown_tenant_is_recorded_without_a_revision(
    server: Server, since: Callable[[], list[DecisionRecord]]
) -> None:
    with server.channel() as channel:
        access_of(channel).Check(check(tenant="initech"), timeout=DEADLINE_S)
    (record,) = since()
    assert ("", "initech", "deny", "UNKNOWN_TENANT", "", "") == (
        record.tenant,
        record.asked_tenant,
        record.effect,
        record.reason,
        record.rule,
        record.revision,
    )


def test_malformed_questions_are_not_recorded(server: Server, since: Callable[[], list[DecisionRecord]]) -> None:
    with server.channel() as channel:
        call = access_of(channel).Check.future(check(question("bob")), timeout=DEADLINE_S)
        assert "INVALID_ARGUMENT" == call.code().name
    assert [] == since()


def test_the_metrics_count_decisions_calls_and_records(fresh: Server) -> None:
    """A tenant that is not configured has no label of its own: its name is the caller's invention."""
    with fresh.channel() as channel:
        access = access_of(channel)
        for _ in range(3):
            access.Check(check(ALLOWED), timeout=DEADLINE_S)
        access.Check(check(tenant="initech"), timeout=DEADLINE_S)
        batch = messages.BatchCheckRequest(tenant="acme", questions=[ALLOWED, question("user:sam")])
        access.BatchCheck(batch, timeout=DEADLINE_S)
        access.Check.future(check(question("bob")), timeout=DEADLINE_S).code()
    decisions = "remit_decisions_total"
    assert 4 == fresh.metric(decisions, tenant="acme", effect="allow", reason="ALLOWED_BY_RULE")
    assert 1 == fresh.metric(decisions, tenant="acme", effect="deny", reason="NO_BINDING")
    assert 1 == fresh.metric(decisions, tenant="", effect="deny", reason="UNKNOWN_TENANT")
    assert 6 == fresh.metric(decisions)
    assert 4 == fresh.metric("remit_call_seconds_count", method="Check", code="OK")
    assert 1 == fresh.metric("remit_call_seconds_count", method="Check", code="INVALID_ARGUMENT")
    assert 1 == fresh.metric("remit_call_seconds_count", method="BatchCheck", code="OK")
    # Six decisions, the start of the server and the load of three tenants.
    assert 10 == fresh.metric("remit_audit_records_total")
    assert 1 == fresh.metric("remit_audit_healthy")
    assert fresh.metric("remit_audit_commit_seconds_count") >= 5
    assert fresh.metric("remit_audit_store_bytes") > 0


def test_starts_loads_and_stops_are_recorded(fresh: Server) -> None:
    with fresh.client() as client:
        revisions = {each.tenant: each.revision for each in client.status().tenants}
    assert 0 == fresh.terminate()
    with fresh.store() as store:
        records = store.lifecycle(newest_first=False)
    assert ["SERVER_STARTED", *["POLICY_LOADED"] * 3, "SERVER_STOPPED"] == [record.type for record in records]
    assert revisions == {record.tenant: record.revision for record in records if record.tenant}
    assert {"node-1"} == {record.node for record in records}


def test_the_command_line_finds_a_decision_of_a_running_server(server: Server) -> None:
    with server.client() as client:
        decision_id = client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance").decision_id
    shown = remit("audit", "show", decision_id, "--audit", server.audit)
    assert (0, "") == (shown.returncode, shown.stderr)
    assert decision_id in shown.stdout
    assert "user:bob" in shown.stdout
