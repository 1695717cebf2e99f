"""Checks hold no thread while their records are on the way, and their answers leave once, after them."""

import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from support.load import Load
from support.locks import locked
from support.questions import ALLOWED, check
from support.server import DEADLINE_S, Server, access_of, remit, until

from remit.audit.ids import parse_id
from remit.rpc import inline_calls
from remit.v1 import access_service_pb2 as messages

BY_THREADS = (sys.executable, str(Path(__file__).parents[1] / "support" / "launcher_threads.py"))


def test_grpcio_has_the_private_parts_for_inline_calls() -> None:
    """Where it has not, every answer takes a thread and several times the time of a decision."""
    assert inline_calls.supported()


def test_one_thread_is_free_while_many_checks_wait_for_their_records(
    serve: Callable[..., Server], untested: Path
) -> None:
    server = serve("--threads", "1", policies=untested)
    batch = messages.BatchCheckRequest(tenant="acme", questions=[ALLOWED] * 10)
    with server.channel() as channel, server.client() as client:
        access = access_of(channel)
        with locked(server.database):
            waiting = [access.Check.future(check(), timeout=DEADLINE_S) for _ in range(40)]
            batches = [access.BatchCheck.future(batch, timeout=DEADLINE_S) for _ in range(4)]
            until(lambda: server.metric("remit_audit_queue") == 80, "all of them wait")
            assert "acme" in {each.tenant for each in client.status().tenants}
            assert not any(each.done() for each in (*waiting, *batches))
        told = {call.result().decision.decision_id for call in waiting}
        told |= {each.decision.decision_id for call in batches for each in call.result().results}
    assert 80 == len(told)
    with server.store() as store:
        assert {parse_id(each) for each in told} <= {each.id for each in store.decisions(limit=1000)}


def test_check_that_waits_too_long_is_refused_and_the_next_is_answered(
    serve: Callable[..., Server], untested: Path
) -> None:
    server = serve("--call-timeout-s", "0.3", policies=untested)
    with server.channel() as channel:
        access = access_of(channel)
        with locked(server.database), pytest.raises(grpc.RpcError, match="not on disk within") as refused:
            access.Check(check(), timeout=DEADLINE_S)
        assert grpc.StatusCode.UNAVAILABLE is refused.value.code()
        until(lambda: server.metric("remit_audit_queue") == 0, "its record is written after all")
        assert access.Check(check(), timeout=DEADLINE_S).decision.decision_id
    assert 1.0 == server.metric("remit_call_seconds_count", method="Check", code="UNAVAILABLE")
    assert 1.0 == server.metric("remit_call_seconds_count", method="Check", code="OK")


def test_check_waits_for_room_for_its_record(serve: Callable[..., Server], untested: Path) -> None:
    server = serve("--audit-queue", "2", "--audit-wait-s", "0.2", policies=untested)
    with server.channel() as channel:
        access = access_of(channel)
        with locked(server.database):
            waiting = [access.Check.future(check(), timeout=DEADLINE_S) for _ in range(2)]
            until(lambda: server.metric("remit_audit_queue") == 2, "the queue is full")
            with pytest.raises(grpc.RpcError, match="full") as refused:
                access.Check(check(), timeout=DEADLINE_S)
            assert grpc.StatusCode.UNAVAILABLE is refused.value.code()
        assert 2 == len({call.result().decision.decision_id for call in waiting})


def test_cancelled_calls_do_not_disturb_other_calls(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested)
    with server.channel() as channel:
        access = access_of(channel)
        with locked(server.database):
            calls = [access.Check.future(check(), timeout=DEADLINE_S) for _ in range(20)]
            until(lambda: server.metric("remit_audit_queue") == 20, "all of them wait")
            for call in calls[::2]:
                call.cancel()
        assert 10 == len({call.result().decision.decision_id for call in calls[1::2]})
        assert access.Check(check(), timeout=DEADLINE_S).decision.decision_id
    assert 0 == server.terminate()
    assert [] == [line for line in server.logs if line["level"] in {"warning", "error"}]


def test_server_without_inline_calls_gives_the_same_answers(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested, launcher=BY_THREADS)
    with Load(server) as load:
        load.until_acknowledged(300)
        load.stop()
    assert [] == load.failures
    told = remit("check", "acme", "user:carol", "UPDATE", "FLOW", "acme.finance", "--target", server.target)
    assert (1, "deny OUT_OF_SCOPE") == (told.returncode, told.stdout.strip())
    assert 0 == server.terminate()
    with server.store() as store:
        assert load.acknowledged <= {each.id for each in store.decisions(limit=100_000)}
