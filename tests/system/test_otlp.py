"""A copy of each committed record goes to an OpenTelemetry collector, and never in the way of an answer."""

from collections.abc import Callable
from pathlib import Path

from support.collector import Collector, told
from support.load import Load
from support.questions import check
from support.server import DEADLINE_S, Server, access_of, free_port, until

from remit.audit.ids import format_id
from remit.v1 import access_service_pb2 as messages
from remit.v1 import decision_pb2

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = "remit_audit_otlp_sent_total"
DROPPED = "remit_audit_otlp_dropped_total"


def test_each_committed_record_arrives_as_a_log_record(serve: Callable[..., Server], untested: Path) -> None:
    """Of decisions and of what happened, down to the stop; redacted as in the store, linked to its trace."""
    with Collector() as collector:
        server = serve("--audit-otlp", collector.endpoint, "--audit-redact", "on_behalf_of=drop", policies=untested)
        with server.channel() as channel:
            access = access_of(channel)
            for trace_id in (TRACE, "request-7", ""):
                origin = decision_pb2.Origin(on_behalf_of="user:eve", trace_id=trace_id)
                access.Check(check(origin=origin), timeout=DEADLINE_S)
            batch = messages.BatchCheckRequest(tenant="acme", questions=[check().question] * 20)
            access.BatchCheck(batch, timeout=DEADLINE_S)
        # A stop waits 3 s for the last records: the process that sends them has to be up.
        until(lambda: len(collector.records) > 0, "the first records arrive")
        assert 0 == server.terminate()
        with server.store() as store:
            decided = {each.id: each for each in store.decisions()}
            happened = {each.id: each for each in store.lifecycle()}
    assert 23 == len(decided)
    assert "SERVER_STOPPED" in {each.type for each in happened.values()}
    arrived = {told(each)["remit.id"]: each for each in collector.records}
    assert {format_id(id_) for id_ in (*decided, *happened)} == {*arrived}
    assert len(collector.records) == len(arrived)
    for id_, record in decided.items():
        log = arrived[format_id(id_)]
        attributes = told(log)
        kept = {f"remit.{name}": value for name, value in record._asdict().items() if value != "" and name != "time_us"}
        kept |= {"remit.id": format_id(record.id), "remit.call_id": format_id(record.call_id)}
        assert kept == attributes
        assert ("remit.decision", record.time_us * 1_000) == (log.event_name, log.time_unix_nano)
        assert (bytes.fromhex(TRACE) if record.trace_id == TRACE else b"") == log.trace_id
        assert log.body.string_value.startswith("allow ALLOWED_BY_RULE acme user:bob VIEW FLOW")
    assert {"remit.lifecycle"} == {arrived[format_id(id_)].event_name for id_ in happened}
    assert {("remit", "node-1")} == {
        (each["service.name"], each["service.instance.id"]) for each in collector.resources
    }


def test_collector_that_is_away_delays_no_answer_and_loses_no_record(
    serve: Callable[..., Server], untested: Path
) -> None:
    """Missed records are counted and logged once; a collector that returns gets new records."""
    port = free_port()
    server = serve(
        "--audit-otlp",
        f"http://127.0.0.1:{port}/v1/logs",
        policies=untested,
        extra={"OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"},
    )
    with Load(server, threads=4) as load:
        until(lambda: server.metric(DROPPED) > 500 or load.failures, "records are dropped")
        load.stop()
        assert [] == load.failures
    line = server.wait_for("records are not sent to the collector")
    assert "warning" == line["level"]
    assert "export" in line["error"]
    assert 0 == server.metric(SENT)
    with Collector(port) as collector, server.client() as client:

        def arrives() -> bool:
            client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
            return bool(collector.records)

        until(arrives, "records arrive")
        server.wait_for("records are sent to the collector again")
        until(lambda: server.metric(SENT) > 0, "what arrives is counted")
        assert 0 == server.terminate()
    assert 1 == sum(line["event"].startswith("records are not sent") for line in server.logs)
    with server.store() as store:
        assert load.acknowledged <= {each.id for each in store.decisions(limit=1 << 20)}
