"""One PostgreSQL for several nodes, which goes away under load and comes back: with and without a spool."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
import trustme
from support.certificates import Authority
from support.editing import DENIED, GRANT, allows, append
from support.editing import QUICK as QUICK_EDITS
from support.load import Load
from support.postgres import Postgres
from support.power import Disk, compiled
from support.questions import check
from support.server import DEADLINE_S, NOT_SERVING, SERVING, Health, Server, access_of, remit, remit_process, until
from tools.faults.promise import expect_kept

from remit.audit.chain.signing import SigningKey
from remit.audit.store.store import AuditStore
from remit.client import Client, DecisionUnavailable, MutualTls, RecordFilter
from remit.v1 import audit_service_pb2, audit_service_pb2_grpc

QUICK = ("--audit-timeout-s", "1")
"""What a server waits for a database that says nothing."""


@pytest.fixture(scope="module")
def one_server() -> Iterator[Postgres]:
    with Postgres() as started:
        yield started


@pytest.fixture
def database(one_server: Postgres) -> Postgres:
    """With nothing in it."""
    one_server.new_database()
    return one_server


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "spool.db"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    SigningKey.new(tmp_path / "audit.pem")
    return tmp_path / "audit.pem"


@pytest.fixture
def spooling(serve: Callable[..., Server], untested: Path, database: Postgres, spool: Path) -> Callable[..., Server]:
    """Starts a server with a spool before the database."""

    def start(*flags: str, policies: Path = untested, **options: Any) -> Server:
        named = ("--audit-migrate", *QUICK, "--audit-spool", str(spool))
        return serve(*named, *flags, audit=database.url, policies=policies, **options)

    return start


def spooled(server: Server) -> Any:
    with server.client() as client:
        return client.status().audit.spool


def drained(server: Server) -> bool:
    return not spooled(server).spooling


def test_two_nodes_write_to_one_database(
    serve: Callable[..., Server], untested: Path, database: Postgres, tmp_path: Path
) -> None:
    """All that either acknowledged is there, each node's in chains of its own, and one list tells of both."""
    nodes = [
        serve("--audit-migrate", folder=tmp_path / name, node=name, audit=database.url, policies=untested)
        for name in ("node-1", "node-2")
    ]
    with Load(nodes[0], seed=1) as first, Load(nodes[1], seed=2) as second:
        for load in (first, second):
            load.until_acknowledged(1_000)
        for load in (first, second):
            load.stop()
    assert [] == first.failures + second.failures
    assert [0, 0] == [node.terminate() for node in nodes]
    expect_kept(database.url, first.acknowledged | second.acknowledged)
    verified = remit("audit", "verify", "--audit", database.url)
    assert 0 == verified.returncode, verified.stderr
    with AuditStore(database.url).open() as store:
        by_node: dict[str, set[bytes]] = {"node-1": set(), "node-2": set()}
        for record in store.all_decisions():
            by_node[record.node].add(record.id)
    assert by_node["node-1"] >= first.acknowledged
    assert by_node["node-2"] >= second.acknowledged


def test_server_without_its_database_refuses_and_recovers(
    serve: Callable[..., Server], untested: Path, database: Postgres
) -> None:
    server = serve("--audit-migrate", audit=database.url, policies=untested)
    assert "free unknown" in remit("status", "--target", server.target).stdout
    with server.channel() as channel:
        health = Health(channel)
        with Load(server) as load:
            load.until_acknowledged(500)
            database.take_away()
            load.join()
        assert {grpc.StatusCode.UNAVAILABLE} == set(load.failures)
        until(lambda: health.of() == NOT_SERVING, "NOT_SERVING")
        assert NOT_SERVING == health.of("audit/store")
        assert 0.0 == server.metric("remit_audit_healthy")
        with server.client() as client:
            assert (False, 0) == ((audit := client.status().audit).healthy, audit.store_bytes)
        assert 1 == remit("status", "--target", server.target).returncode
        audit_reads = audit_service_pb2_grpc.AuditServiceStub(channel)
        with pytest.raises(grpc.RpcError) as unread:
            audit_reads.ListRecords(audit_service_pb2.ListRecordsRequest(), timeout=DEADLINE_S)
        assert grpc.StatusCode.UNAVAILABLE is unread.value.code()
        database.bring_back()
        until(lambda: health.of() == SERVING, "SERVING again, without traffic")
        assert SERVING == health.of("audit/store")
        with Load(server) as again:
            again.until_acknowledged(200)
            again.stop()
        assert [] == again.failures
    assert 0 == server.terminate()
    expect_kept(database.url, load.acknowledged | again.acknowledged)


def test_start_refuses_a_database_that_was_emptied(
    serve: Callable[..., Server], untested: Path, database: Postgres
) -> None:
    server = serve("--audit-migrate", audit=database.url, policies=untested)
    assert 0 == server.terminate()
    with psycopg.connect(database.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    for workers in ("1", "2"):
        server = Server(server.folder, "--audit-migrate", "--workers", workers, audit=database.url, policies=untested)
        server.launch()
        assert 3 == server.exit_code()
        assert "which is gone: this node had one there" in server.log_text()
    assert 0 == serve("--audit-migrate", "--audit-new", audit=database.url, policies=untested).terminate()


READS: dict[str, Callable[[Client], Any]] = {
    "ListRecords": lambda client: list(client.list_records(RecordFilter(tenant="acme"))),
    "GetRecord": lambda client: client.get_record("01a20ab6-2458-7f26-90da-4fb3fbb0d492"),
    "FollowRecords": lambda client: next(client.follow_records(RecordFilter(tenant="acme", since_us=1))),
    "CountRecords": lambda client: list(client.count_records(group_by=["tenant"])),
    "ListLifecycle": lambda client: list(client.list_lifecycle("acme")),
    "ExplainPast": lambda client: client.tenant("acme").explain_past(*ASKED, time_us=time.time_ns() // 1000),
}
ASKED = ("user:bob", "VIEW", "FLOW", "acme.finance")


def refusals(server: Server, tls: MutualTls | None = None) -> dict[str, str]:
    """What each call that reads the audit ends with."""
    found = {}
    with Client(server.target, timeout_s=2.0, tls=tls) as client:
        for name, read in READS.items():
            # The client tries again while the server is unavailable; the last try may be cut short by the deadline.
            while (code := refusal(client, read)) == "DEADLINE_EXCEEDED":
                pass
            found[name] = code
    return found


def refusal(client: Client, read: Callable[[Client], Any]) -> str:
    with pytest.raises(DecisionUnavailable) as caught:
        read(client)
    return caught.value.code


@pytest.mark.parametrize(
    ("named", "spooled"),
    [
        pytest.param(False, False, id="on loopback, without a spool"),
        pytest.param(True, True, id="by a named caller, with a spool"),
        pytest.param(False, True, id="on loopback, with a spool", marks=pytest.mark.long),
        pytest.param(True, False, id="by a named caller, without a spool", marks=pytest.mark.long),
    ],
)
def test_reads_of_the_audit_are_unavailable_while_the_database_is_away(
    serve: Callable[..., Server],
    untested: Path,
    database: Postgres,
    spool: Path,
    tmp_path: Path,
    *,
    named: bool,
    spooled: bool,
) -> None:
    """Also where the record of the read has a place to go to. A stream that is under way ends; all are answered once it is
    back."""
    tls = None
    flags: tuple[str, ...] = ("--audit-migrate", *QUICK, *(("--audit-spool", str(spool)) if spooled else ()))
    if named:
        authority = Authority(tmp_path, trustme.CA())
        cert, key = authority.signed("server", "127.0.0.1")
        flags += authority.server_flags(cert, key)
        flags += ("--auditors", "auditor.example.org")
        tls = authority.caller(authority.signed("auditor.example.org", "auditor.example.org"))
    server = serve(*flags, audit=database.url, policies=untested)
    with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client:
        client.tenant("acme").check(*ASKED)
        stub = audit_service_pb2_grpc.AuditServiceStub(client._transport._links.enter().channel)
        followed = stub.FollowRecords(audit_service_pb2.FollowRecordsRequest(), timeout=DEADLINE_S)
        assert next(followed).cursor
        database.take_away()
        try:
            with pytest.raises(grpc.RpcError) as ended:
                next(followed)
            refused = refusals(server, tls)
        finally:
            database.bring_back()
        assert grpc.StatusCode.UNAVAILABLE is ended.value.code()
        assert dict.fromkeys(READS, "UNAVAILABLE") == refused

        def answered() -> bool:
            try:
                return bool(READS["ListRecords"](client))
            except DecisionUnavailable:
                return False

        until(answered, "the audit is read again")
        for name, read in READS.items():
            if name != "GetRecord":
                assert read(client)
    assert 0 == server.terminate()


def test_database_that_does_not_answer_delays_only_the_first_call(
    serve: Callable[..., Server], untested: Path, database: Postgres
) -> None:
    """The first call waits as long as the setting says; the next ones are refused at once, and are not in its queue."""
    server = serve("--audit-migrate", *QUICK, audit=database.url, policies=untested)
    with server.channel() as channel:
        access = access_of(channel)
        acknowledged = access.Check(check()).decision.decision_id
        with database.frozen():
            first = access.Check.future(check(), timeout=DEADLINE_S)
            assert grpc.StatusCode.UNAVAILABLE is first.code()
            assert "the audit store takes no records" == first.details()
            assert "did not answer within 1.0 s" in server.wait_for("the audit store fails")["event"]
            began = time.monotonic()
            for _ in range(200):
                late = access.Check.future(check(), timeout=DEADLINE_S)
                assert grpc.StatusCode.UNAVAILABLE is late.code()
            assert time.monotonic() - began < 20, "two hundred waits would take minutes"
            with server.client(timeout_s=5) as client:
                assert not client.status().audit.healthy
        until(lambda: Health(channel).of() == SERVING, "SERVING again")
        assert acknowledged < access.Check(check()).decision.decision_id


def test_spool_lets_no_call_fail_while_the_database_is_away(
    spooling: Callable[..., Server], database: Postgres
) -> None:
    """Status, metrics, health and log tell; afterwards all is in the database, and the spool is empty."""
    server = spooling()
    with server.channel() as channel, Load(server) as load:
        health = Health(channel)
        load.until_acknowledged(500)
        database.take_away()
        load.until_acknowledged(len(load.acknowledged) + 1_000)
        assert [] == load.failures
        until(lambda: health.of("audit/store") == NOT_SERVING, "the store is said to be away")
        assert SERVING == health.of()
        assert SERVING == health.of("tenant/acme")
        told = spooled(server)
        assert (True, True) == (told.spooling, told.bytes > 0)
        assert told.records >= 900
        assert told.error
        assert (1.0, 1.0) == (server.metric("remit_audit_spooling"), server.metric("remit_audit_healthy"))
        assert server.metric("remit_audit_spool_records") >= 900
        status = remit("status", "--target", server.target)
        assert (1, True) == (status.returncode, "audit spool SPOOLING: " in status.stdout)
        assert "error" == server.wait_for("audit records go to the spool")["level"]
        database.bring_back()
        until(lambda: drained(server), "the spool is empty, under load")
        server.wait_for("the audit store writes again, the spool is empty")
        load.stop()
        assert [] == load.failures
        until(lambda: health.of("audit/store") == SERVING, "the store is said to be back")
    assert (0.0, 0.0) == (server.metric("remit_audit_spooling"), server.metric("remit_audit_spool_records"))
    status = remit("status", "--target", server.target)
    assert (0, True) == (status.returncode, "audit spool idle; 0 records wait" in status.stdout)
    assert 0 == server.terminate()
    expect_kept(database.url, load.acknowledged)


def test_frozen_database_sends_records_to_the_spool_and_writes_none_twice(
    spooling: Callable[..., Server], database: Postgres
) -> None:
    """A commit that was in progress at the freeze may still succeed afterwards."""
    server = spooling()
    acknowledged: set[bytes] = set()
    for _ in range(3):
        with Load(server) as load:
            load.until_acknowledged(300)
            with database.frozen():
                load.until_acknowledged(len(load.acknowledged) + 500)
            until(lambda: drained(server), "the spool is empty")
            load.stop()
        assert [] == load.failures
        acknowledged |= load.acknowledged
    assert 0 == server.terminate()
    expect_kept(database.url, acknowledged)


def test_server_without_its_database_spools_until_the_database_answers(
    spooling: Callable[..., Server], database: Postgres
) -> None:
    """Also one that finds a spool which another, killed, has left."""
    database.take_away()
    server = spooling()
    assert spooled(server).spooling
    acknowledged: set[bytes] = set()
    for _ in range(2):
        with Load(server) as load:
            load.until_acknowledged(300)
            assert [] == load.failures
            server.kill()
            load.join()
        acknowledged |= load.acknowledged
        server.start()
    assert spooled(server).records >= len(acknowledged)
    database.bring_back()
    until(lambda: drained(server), "the spool is empty")
    assert 0 == server.terminate()
    expect_kept(database.url, acknowledged)
    with AuditStore(database.url).open() as store:
        happened = [record.type for record in store.lifecycle(newest_first=False)]
    assert 3 == happened.count("SERVER_STARTED")
    assert ("SERVER_STARTED", "SERVER_STOPPED") == (happened[0], happened[-1])


def test_power_cut_loses_no_acknowledged_record_of_the_spool(
    spooling: Callable[..., Server], database: Postgres, spool: Path, tmp_path: Path
) -> None:
    """On a disk that takes 20 ms for a sync."""
    disk = Disk(compiled(tmp_path), tmp_path / "disk", delay_ms=20)
    database.take_away()
    flags = ("--audit-spool", str(disk.live / spool.name))
    server = spooling(*flags, extra=disk.environment)
    with Load(server) as load:
        load.until_acknowledged(500)
        assert [] == load.failures
        server.kill()
        load.join()
    left = disk.after_power_cut(tmp_path / "left")
    database.bring_back()
    again = spooling("--audit-spool", str(left / spool.name), folder=tmp_path / "again")
    until(lambda: drained(again), "the spool is empty")
    assert 0 == again.terminate()
    expect_kept(database.url, load.acknowledged)


def test_full_spool_refuses_until_the_database_is_back(spooling: Callable[..., Server], database: Postgres) -> None:
    server = spooling("--audit-spool-max-bytes", str(1 << 20))
    with Load(server) as load:
        load.until_acknowledged(100)
        database.take_away()
        load.until_acknowledged(1 << 40)  # that is: until a call fails
        load.join()
    assert {grpc.StatusCode.UNAVAILABLE} == set(load.failures)
    with server.channel() as channel:
        health = Health(channel)
        until(lambda: health.of() == NOT_SERVING, "NOT_SERVING")
        with server.client() as client:
            assert "spool.db`: database or disk is full" in client.status().audit.error
        database.bring_back()
        until(lambda: health.of() == SERVING and drained(server), "SERVING again")
    with Load(server) as again:
        again.until_acknowledged(100)
        again.stop()
    assert [] == again.failures
    assert 0 == server.terminate()
    expect_kept(database.url, load.acknowledged | again.acknowledged)


def test_stop_without_the_database_leaves_the_spool_for_the_next_start(
    spooling: Callable[..., Server], database: Postgres
) -> None:
    server = spooling()
    database.take_away()
    with Load(server) as load:
        load.until_acknowledged(100)
        load.stop()
    assert [] == load.failures
    assert 0 == server.terminate()
    assert server.wait_for("records are left in the spool")["records"] >= len(load.acknowledged)
    database.bring_back()
    server.start()
    until(lambda: drained(server), "the spool is empty")
    assert 0 == server.terminate()
    expect_kept(database.url, load.acknowledged)


def test_stop_does_not_wait_for_a_database_that_does_not_answer(
    spooling: Callable[..., Server], database: Postgres, key: Path
) -> None:
    """Neither its last records nor its last signatures are waited for longer than the settings say."""
    server = spooling("--audit-key", str(key), "--audit-checkpoint-s", "1", "--grace-s", "1")
    with Load(server) as load:
        load.until_acknowledged(100)
        with database.frozen():
            load.until_acknowledged(len(load.acknowledged) + 100)
            load.stop()
            assert 0 == server.terminate()
    assert [] == load.failures
    server.start()
    until(lambda: drained(server), "the spool is empty")
    assert 0 == server.terminate()
    expect_kept(database.url, load.acknowledged)
    verified = remit("audit", "verify", "--audit", database.url, "--key", f"{key}.pub")
    assert 0 == verified.returncode, verified.stdout
    assert "0 records come after the last signature of their chain" in verified.stdout


def test_policies_are_reloaded_while_the_database_is_away(
    spooling: Callable[..., Server], database: Postgres, policies: Path
) -> None:
    """The revision and its record wait in the spool, and what was decided by it can be explained afterwards."""
    shutil.rmtree(policies / "acme" / "tests")
    server = spooling(*QUICK_EDITS, policies=policies)
    database.take_away()
    assert not allows(server, "acme", *DENIED)
    append(policies / "acme" / "bindings.csv", GRANT)
    until(lambda: allows(server, "acme", *DENIED), "the edit serves")
    with server.client() as client:
        decided = client.tenant("acme").check(*DENIED)
    database.bring_back()
    until(lambda: drained(server), "the spool is empty")
    assert 0 == server.terminate()
    explained = remit("audit", "show", decided.decision_id, "--audit", database.url)
    assert (0, True) == (explained.returncode, "acme/bindings.csv" in explained.stdout), explained


def test_spool_of_a_removed_node_is_drained_by_hand(
    spooling: Callable[..., Server], database: Postgres, spool: Path
) -> None:
    """Not while its server has it, and not without the database."""
    server = spooling()
    database.take_away()
    command = ("audit", "drain", str(spool), "--audit", database.url)
    with Load(server) as load:
        load.until_acknowledged(200)
        load.stop()
    server.kill()
    away = remit(*command)
    assert (3, True) == (away.returncode, "cannot open the audit database" in away.stderr)
    server.start()
    database.bring_back()
    until(lambda: drained(server), "the spool is empty")
    taken = remit(*command)
    assert (3, True) == (taken.returncode, "another process has it open" in taken.stderr)
    database.take_away()
    with Load(server) as more:
        more.until_acknowledged(200)
        more.stop()
    server.kill()
    database.bring_back()
    done = remit(*command)
    assert (0, True) == (done.returncode, "records forwarded" in done.stdout), done
    assert "0 records forwarded" in remit(*command).stdout
    expect_kept(database.url, load.acknowledged | more.acknowledged)


def test_a_start_without_database_and_spool_is_refused(database: Postgres, untested: Path, tmp_path: Path) -> None:
    database.take_away()
    try:
        named = ("--listen", "127.0.0.1:0", "--metrics", "", "--revisions", str(tmp_path / "revisions"))
        refused = remit_process("serve", *named, "--policies", str(untested), "--audit", database.url)
        assert 3 == refused.returncode
        assert "remit does not start: cannot open the audit database" in refused.stderr
    finally:
        database.bring_back()


def test_unmigrated_database_refuses_the_start_also_with_a_spool(
    database: Postgres, untested: Path, tmp_path: Path
) -> None:
    named = ("--listen", "127.0.0.1:0", "--metrics", "", "--revisions", str(tmp_path / "revisions"))
    named += ("--audit-spool", str(tmp_path / "spool.db"))
    refused = remit_process("serve", *named, "--policies", str(untested), "--audit", database.url)
    assert (3, True) == (refused.returncode, "has no audit tables" in refused.stderr)
