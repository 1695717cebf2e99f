import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
from support.load import Load
from support.locks import locked
from support.questions import check
from support.server import DEADLINE_S, NOT_SERVING, REMIT, SERVING, Health, Server, access_of, until
from tools.faults.disk import decision_ids

from remit.audit.ids import format_id


def listens(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S).close()
    except ConnectionError:
        return False
    return True


def test_sigterm_under_load_loses_nothing(serve: Callable[..., Server], untested: Path) -> None:
    """Health turns NOT_SERVING, calls end with an answer or UNAVAILABLE, exit code 0, nothing is lost, and the stop is
    recorded."""
    server = serve(policies=untested)
    with server.channel() as channel, Load(server) as load:
        watched = Health(channel).watch()
        assert SERVING == next(watched).status
        load.until_acknowledged(500)
        server.ask_to_stop()
        assert [NOT_SERVING] == [told.status for told in watched]
        assert 0 == server.exit_code()
        load.join()
    assert {grpc.StatusCode.UNAVAILABLE} == set(load.failures)
    assert set() == load.acknowledged - decision_ids(server.folder)
    with server.store() as store:
        happened = [record.type for record in store.lifecycle(newest_first=False)]
        kept = sum(1 for _ in store.all_decisions())
    assert ("SERVER_STARTED", "SERVER_STOPPED") == (happened[0], happened[-1])
    drained = server.wait_for("audit drained")
    assert (kept + len(happened), 0) == (drained["committed"], drained["unwritten"])
    assert [] == [line for line in server.logs if line["level"] in {"warning", "error"}]


def test_hangup_drains_as_sigterm_does(serve: Callable[..., Server], untested: Path) -> None:
    """Of the terminal, or by hand; the processes beside the server leave it to the server."""
    server = serve("--audit-delivery", "after_answer", policies=untested)
    with Load(server) as load:
        load.until_acknowledged(200)
        for pid in (*server.children(), server.pid):
            os.kill(pid, signal.SIGHUP)
        assert 0 == server.exit_code(), server.log_text()
        load.join()
    assert set() == load.acknowledged - decision_ids(server.folder)
    assert 0 == server.wait_for("audit drained")["unwritten"]
    assert [] == [line for line in server.logs if line["level"] in {"warning", "error"}]


def test_ignored_hangup_stays_ignored(serve: Callable[..., Server], untested: Path) -> None:
    """As `nohup` starts a program."""
    server = serve(policies=untested, launcher=("nohup", REMIT))
    status = Path(f"/proc/{server.pid}/status").read_text()
    (ignored,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    assert ignored >> (signal.SIGHUP - 1) & 1
    assert 0 == server.terminate()


def test_a_call_in_flight_is_answered_while_new_ones_are_refused(serve: Callable[..., Server], untested: Path) -> None:
    server = serve("--audit-timeout-s", "60", "--call-timeout-s", "60", policies=untested)
    with server.channel() as channel:
        access = access_of(channel)
        with locked(server.database):
            waiting = access.Check.future(check())
            until(lambda: server.metric("remit_audit_queue") == 1, "the call waits for its record")
            server.ask_to_stop()
            server.wait_for("stopping")
            late = access.Check.future(check())
            assert grpc.StatusCode.UNAVAILABLE is late.code()
            until(lambda: not listens(server), "it listens no more")
            assert not waiting.done()
        decision_id = waiting.result().decision.decision_id
    assert 0 == server.exit_code()
    with server.store() as store:
        assert [decision_id] == [format_id(record.id) for record in store.decisions()]


def test_after_answer_writes_all_acknowledged_records_before_the_stop(
    serve: Callable[..., Server], untested: Path
) -> None:
    """What is still queued when the stop begins, because the store is held up, included."""
    server = serve("--audit-delivery", "after_answer", policies=untested)
    with Load(server) as load:
        load.until_acknowledged(100)
        with locked(server.database):
            load.until_acknowledged(len(load.acknowledged) + 1_000)
            assert server.metric("remit_audit_queue") > 0
            server.ask_to_stop()
            server.wait_for("stopping")
        load.join()
    assert 0 == server.exit_code()
    assert set() == load.acknowledged - decision_ids(server.folder)
    assert 0 == server.wait_for("audit drained")["unwritten"]
