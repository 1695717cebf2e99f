"""Several workers on one machine: one address, one stop, one audit, whichever of them answers."""

import json
import os
import re
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from pathlib import Path
from threading import Event
from typing import Self

import grpc
import pytest
from support.editing import DENIED, GRANT, PINNED, QUICK, SERVING, allows, append
from support.load import Load
from support.locks import locked
from support.questions import check
from support.server import DEADLINE_S, NOT_SERVING, Health, Server, access_of, remit, until
from tools.faults.disk import decision_ids

from remit.audit.ids import parse_id
from remit.audit.store.shards import ShardedStore
from remit.server import worker
from remit.service.settings import Settings
from remit.service.version import VERSION
from remit.service.workers import supervisor
from remit.v1 import status_service_pb2_grpc
from remit.v1.status_service_pb2 import GetStatusRequest, GetStatusResponse, TenantStatus, WorkerStatus

NODES = ["node-1.w1", "node-1.w2", "node-1.w3"]
THREE = ("--workers", "3")
EACH = 3
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def edited(untested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untested, tmp_path / "policies"))


@pytest.fixture
def server(serve: Callable[..., Server], edited: Path) -> Server:
    return serve(*THREE, *QUICK, policies=edited)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[tuple[Server, set[bytes]]]:
    """A server whose three workers have answered, and what they acknowledged."""
    with Server(tmp_path_factory.mktemp("workers"), *THREE, policies=untested) as shared:
        with Loads(shared) as loads:
            loads.until_acknowledged(600)
            loads.stop()
        yield shared, loads.acknowledged


class Loads:
    """Load over many connections, as many to each worker."""

    def __init__(self, server: Server) -> None:
        self._loads: list[Load] = []
        self._stack = ExitStack()
        told = status(server)
        wanted = Counter(dict.fromkeys([each.node for each in told.workers] or [told.node], EACH))

        def enough() -> bool:
            load = Load(server, threads=3, seed=100 * len(self._loads))
            node = status_over(load._way._channel).node
            if wanted[node]:
                wanted[node] -= 1
                self._loads.append(load)
            else:
                load._way.close()
            return not wanted.total()

        until(enough, f"connections to {wanted}")

    def __enter__(self) -> Self:
        for each in self._loads:
            self._stack.enter_context(each)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def acknowledged(self) -> set[bytes]:
        return set().union(*(each.acknowledged for each in self._loads))

    @property
    def failures(self) -> list[grpc.StatusCode]:
        return [code for each in self._loads for code in each.failures]

    def until_acknowledged(self, count: int) -> None:
        until(lambda: len(self.acknowledged) >= count, f"{count} decisions")

    def stop(self) -> None:
        for each in self._loads:
            each.stop()

    def join(self) -> None:
        for each in self._loads:
            each.join()


def status(server: Server) -> GetStatusResponse:
    """Of whichever worker a new connection leads to; one that was just killed may still be in the way."""
    found: list[GetStatusResponse] = []

    def answered() -> bool:
        with server.channel() as channel:
            with suppress(grpc.RpcError):
                found.append(status_over(channel))
            return bool(found)

    until(answered, "a status")
    return found[0]


def status_over(channel: grpc.Channel) -> GetStatusResponse:
    return status_service_pb2_grpc.StatusServiceStub(channel).GetStatus(GetStatusRequest(), timeout=DEADLINE_S)


def of_each_worker(server: Server) -> dict[str, GetStatusResponse]:
    found: dict[str, GetStatusResponse] = {}

    def all_of_them() -> bool:
        told = status(server)
        found[told.node] = told
        return len(found) == len(NODES)

    until(all_of_them, f"connections to {NODES}")
    return found


def until_each(server: Server, holds: Callable[[TenantStatus], object], tenant: str = "acme") -> list[TenantStatus]:
    """The tenant's status with each worker, once it is so with all of them."""
    found: list[TenantStatus] = []

    def so() -> bool:
        found[:] = [each for told in of_each_worker(server).values() for each in told.tenants if each.tenant == tenant]
        return all(map(holds, found))

    until(so, f"the status of {tenant} with each worker\n{server.log_text()}")
    return found


def until_workers(server: Server, holds: Callable[[dict[str, WorkerStatus]], object]) -> None:
    """What one worker says of all."""
    until(lambda: holds({each.node: each for each in status(server).workers}), f"of the workers\n{server.log_text()}")


def pid_of(server: Server, number: int) -> int:
    """The process that has the worker's audit file open."""
    file = str(server.folder / f"audit.w{number}.db")
    for child in server.children():
        descriptors = Path(f"/proc/{child}/fd").iterdir()
        if any(str(each.readlink()) == file for each in descriptors if each.is_symlink()):
            return child
    raise AssertionError(f"no process has {file} open")


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_calls_are_spread_over_the_workers_and_read_as_one(busy: tuple[Server, set[bytes]]) -> None:
    """Each writes chains of its own, without a gap, to a file of its own."""
    server, acknowledged = busy
    assert acknowledged == decision_ids(server.folder)
    assert ["audit.w1.db", "audit.w2.db", "audit.w3.db"] == sorted(each.name for each in server.folder.glob("*.db"))
    for number, node in enumerate(NODES, start=1):
        with closing(sqlite3.connect(server.folder / f"audit.w{number}.db")) as connection:
            rows = connection.execute("SELECT node, tenant, seq FROM decisions ORDER BY tenant, seq").fetchall()
        assert rows
        assert [(node, "acme", seq) for seq in range(1, len(rows) + 1)] == rows
    listed = remit("audit", "list", "--json", "--limit", "10000", "--audit", server.audit)
    told = json.loads(listed.stdout)["records"]
    assert len(acknowledged) == len(told)
    assert sorted((each["id"] for each in told), reverse=True) == [each["id"] for each in told]
    assert set(NODES) == {each["node"] for each in told}
    shown = remit("audit", "show", told[-1]["id"], "--json", "--audit", server.audit)
    assert told[-1].items() <= json.loads(shown.stdout).items()


def test_replay_decides_the_records_of_all_workers(busy: tuple[Server, set[bytes]], untested: Path) -> None:
    server, acknowledged = busy
    done = remit("replay", "--policies", str(untested), "--audit", server.audit)
    assert 0 == done.returncode, done.stderr
    assert f"{len(acknowledged)} decisions decided again: 0 would change" in done.stderr


def test_one_endpoint_has_the_metrics_of_all_workers(busy: tuple[Server, set[bytes]]) -> None:
    server, acknowledged = busy
    assert len(acknowledged) == server.metric("remit_decisions_total")
    with server.store() as store:
        by_node = Counter(each.node for each in store.all_decisions())
    assert by_node == {node: server.metric("remit_decisions_total", worker=node) for node in NODES}
    assert 3.0 == server.metric("remit_worker_serving")
    assert 0.0 == server.metric("remit_worker_restarts_total")
    assert 3.0 == server.metric("remit_build_info", version=VERSION)
    assert 1.0 == server.metric("remit_tenant_state", tenant="acme", state="SERVING", worker="node-1.w2")


def test_each_worker_reports_the_state_of_all(busy: tuple[Server, set[bytes]]) -> None:
    server, _ = busy
    serving = [(node, True) for node in NODES]

    def knows(told: GetStatusResponse) -> bool:
        one = 1 == len({each.policies for each in told.workers})
        return one and serving == [(each.node, each.serving) for each in told.workers]

    until(lambda: all(map(knows, of_each_worker(server).values())), "each knows that all serve")
    shown = remit("status", "--target", server.target)
    assert 0 == shown.returncode
    assert 3 == len(re.findall(r"^node-1\.w\d\tSERVING\t", shown.stdout, re.MULTILINE))
    assert 1 == shown.stdout.count("answered this")


def test_calls_that_a_limit_refused_are_those_of_all_workers_together(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    identities = tmp_path / "identities.yaml"
    identities.write_text("tenant_limits: {acme: {rate: 0.001, burst: 1}}\n")
    server = serve("--workers", "2", "--identities", str(identities), policies=untested)
    refused: Counter[str] = Counter()

    def both_refused() -> bool:
        with server.channel() as channel:
            node = status_over(channel).node
            for _ in range(2):
                refused[node] += access_of(channel).Check.future(check(), timeout=DEADLINE_S).code() is FULL
        return len(+refused) == 2

    def shown() -> list[tuple[str, str, str, int]]:
        return [(each.caller, each.calls, each.reason, each.refused) for each in status(server).limits_hit]

    until(both_refused, "each worker refused a call")
    expected = [("anonymous", "calls", "tenant rate", refused.total())]
    until(lambda: shown() == expected, f"{expected}, not {shown()}")
    # Another worker answers, and may hear of it later.
    line = f"\nanonymous\tcalls\ttenant rate\t{refused.total()}\t"
    until(lambda: line in remit("status", "--target", server.target).stdout, line)


def test_purge_deletes_from_all_files(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(*THREE, policies=untested)
    with Loads(server) as loads:
        loads.until_acknowledged(300)
        loads.stop()
    done = remit("audit", "purge", "--yes", "--before", "2100-01-01", "--audit", server.audit)
    assert (0, True) == (done.returncode, done.stdout.startswith(f"{len(loads.acknowledged)} decisions"))
    with server.store() as store:
        assert [] == store.decisions()
        assert len(NODES) == len(store.lifecycle(type_="PURGED"))


def test_files_of_removed_workers_are_read_and_purged(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(*THREE, policies=untested)
    with Loads(server) as loads:
        loads.until_acknowledged(300)
        loads.stop()
    assert 0 == server.terminate()
    alone = serve(policies=untested)
    listed = remit("audit", "list", "--json", "--limit", "10000", "--target", alone.target)
    assert len(loads.acknowledged) == len(json.loads(listed.stdout)["records"])
    assert 0 == alone.terminate()
    old = ("--audit-retention", "1s", "--audit-retention-every-s", "1")
    with serve(*old, "--workers", "2", policies=untested).store() as stores:
        until(lambda: [] == stores.decisions(), "the end of all decisions")
        assert len(NODES) + 1 == len(stores.members)


def test_workers_share_a_postgresql_database(
    serve: Callable[..., Server], untested: Path, new_postgresql: Callable[[], AbstractContextManager[str]]
) -> None:
    """Each with chains of its own in it, which prove themselves."""
    with new_postgresql() as url:
        server = serve(*THREE, "--audit", url, "--audit-migrate", policies=untested)
        with Loads(server) as loads:
            loads.until_acknowledged(600)
            os.kill(server.children()[0], signal.SIGKILL)
            loads.until_acknowledged(len(loads.acknowledged) + 300)
            loads.stop()
        until_workers(server, lambda workers: all(each.serving for each in workers.values()))
        assert 0 == server.terminate()
        with ShardedStore(url).open() as stores:
            records = list(stores.all_decisions())
        assert loads.acknowledged <= {each.id for each in records}
        assert set(NODES) == {each.node for each in records}
        verified = remit("audit", "verify", "--audit", url)
        assert 0 == verified.returncode, verified.stdout + verified.stderr


def test_killed_worker_restarts_and_loses_no_record(serve: Callable[..., Server], untested: Path) -> None:
    """The others answer meanwhile; who was connected to it hears UNAVAILABLE, and nothing worse."""
    server = serve(*THREE, policies=untested)
    acknowledged: set[bytes] = set()
    for number in (1, 2, 3):
        with Loads(server) as loads:
            loads.until_acknowledged(300)
            os.kill(pid_of(server, 2), signal.SIGKILL)
            until_workers(server, lambda workers, number=number: workers["node-1.w2"].restarts == number)
            loads.until_acknowledged(len(loads.acknowledged) + 300)
            until_workers(server, lambda workers: workers["node-1.w2"].serving)
            loads.stop()
        assert {grpc.StatusCode.UNAVAILABLE} >= set(loads.failures)
        acknowledged |= loads.acknowledged
        assert set(NODES) == set(of_each_worker(server))
    assert 3.0 == server.metric("remit_worker_restarts_total", worker="node-1.w2")
    assert "ended with exit code -9" in server.wait_for("worker starts anew")["because"]
    assert 0 == server.terminate()
    assert set() == acknowledged - decision_ids(server.folder)


def test_a_worker_that_cannot_start_again_is_tried_again(serve: Callable[..., Server], edited: Path) -> None:
    """The others serve on, and `status` says it; once it can, it is back."""
    server = serve(*THREE, *QUICK, "--strict", policies=edited)
    vocabulary = edited / "vocabulary.yaml"
    text = vocabulary.read_text()
    vocabulary.write_text("kinds: [\n")
    os.kill(pid_of(server, 1), signal.SIGKILL)
    until(lambda: server.metric("remit_worker_restarts_total") >= 3, "three tries")
    until_workers(server, lambda workers: not workers["node-1.w1"].serving)
    assert 0.0 == server.metric("remit_worker_serving", worker="node-1.w1")
    tries = [line for line in server.logs if line["event"] == "worker starts anew"]
    assert "the root files" in tries[-1]["because"]
    assert tries[0]["pause_s"] < tries[1]["pause_s"] < tries[2]["pause_s"]
    shown = remit("status", "--target", server.target)
    assert 1 == shown.returncode
    assert "NOT SERVING" in shown.stdout
    with server.client() as client:
        assert client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance").allowed
    vocabulary.write_text(text)
    until_workers(server, lambda workers: workers["node-1.w1"].serving)
    assert 0 == server.terminate()


def test_sigterm_under_load_is_one_stop_of_all_and_loses_nothing(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(*THREE, policies=untested)
    with ExitStack() as stack:
        watched = [Health(stack.enter_context(server.channel())).watch() for _ in range(8)]
        for each in watched:
            next(each)
        loads = stack.enter_context(Loads(server))
        loads.until_acknowledged(1_000)
        server.ask_to_stop()
        assert [[NOT_SERVING]] * len(watched) == [[told.status for told in each] for each in watched]
        assert 0 == server.exit_code()
        loads.join()
    assert {grpc.StatusCode.UNAVAILABLE} == set(loads.failures)
    assert set() == loads.acknowledged - decision_ids(server.folder)
    with ShardedStore(server.audit).open() as stores:
        assert 3 == len(stores.members)
        for store in stores.members:
            happened = [record.type for record in store.lifecycle(newest_first=False)]
            assert ("SERVER_STARTED", "SERVER_STOPPED") == (happened[0], happened[-1])
    assert [0, 0, 0] == [line["unwritten"] for line in server.logs if line["event"] == "audit drained"]
    assert [] == [line for line in server.logs if line.get("level") != "info"]


def test_a_call_in_flight_with_one_worker_is_answered_before_the_stop(
    serve: Callable[..., Server], untested: Path
) -> None:
    server = serve(*THREE, policies=untested)
    with ExitStack() as stack:
        accesses = [access_of(stack.enter_context(server.channel())) for _ in range(24)]
        with locked(server.folder / "audit.w2.db"):
            calls = [access.Check.future(check()) for access in accesses]
            until(
                lambda: sum(call.done() for call in calls) + server.metric("remit_audit_queue") == 24, "their records"
            )
            server.ask_to_stop()
            until(lambda: sum(line["event"] == "audit drained" for line in server.logs) == 2, "two workers to drain")
            assert any(not call.done() for call in calls)
        answered = {parse_id(call.result().decision.decision_id) for call in calls}
    assert 0 == server.exit_code()
    assert answered == decision_ids(server.folder)


@pytest.mark.parametrize(("flags", "file"), [(THREE, "audit.w3.db"), ((), "audit.db")], ids=["workers", "alone"])
def test_exit_code_says_that_the_journal_did_not_drain(
    serve: Callable[..., Server], untested: Path, flags: tuple[str, ...], file: str
) -> None:
    soon = ("--audit-timeout-s", "0.5", "--grace-s", "0.5")
    server = serve(*flags, "--audit-delivery", "after_answer", *soon, policies=untested)
    with Loads(server) as loads, locked(server.folder / file):
        until(lambda: server.metric("remit_audit_queue") > 0, "records that wait")
        loads.stop()
        assert 1 == server.terminate()
    assert any("LOST" in line["event"] for line in server.logs)


def test_workers_stop_if_their_supervisor_is_killed(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(*THREE, policies=untested)
    workers = server.children()
    with Loads(server) as loads:
        loads.until_acknowledged(300)
        server.kill()
        loads.join()
    until(lambda: not any(map(lives, workers)), "the end of the workers")
    assert set() == loads.acknowledged - decision_ids(server.folder)
    with server.store() as store:
        assert len(NODES) == len(store.lifecycle(type_="SERVER_STOPPED"))
    server.start()
    assert set(NODES) == set(of_each_worker(server))


def test_a_revision_is_pinned_and_unpinned_on_all_workers(server: Server, edited: Path) -> None:
    """Whichever of them is told; each records it in its own file, with who told it. A worker that comes back keeps to
    it."""
    (first,) = {each.revision for each in until_each(server, lambda acme: acme.state == SERVING)}
    append(edited / "acme" / "bindings.csv", GRANT)
    (second,) = {each.revision for each in until_each(server, lambda acme: acme.revision != first)}

    told = remit("rollback", "acme", first[:12], "--target", server.target)
    assert (0, f"acme: pinned to {first}, before {second}\n") == (told.returncode, told.stdout)
    pinned = until_each(server, lambda acme: acme.state == PINNED)
    assert {(first, second, "anonymous")} == {(each.revision, each.files_revision, each.pinned_by) for each in pinned}
    os.kill(pid_of(server, 3), signal.SIGKILL)
    until_workers(server, lambda workers: workers["node-1.w3"].serving and workers["node-1.w3"].restarts == 1)
    until_each(server, lambda acme: (acme.state, acme.revision) == (PINNED, first))

    told = remit("rollback", "acme", "--unpin", "--target", server.target)
    assert (0, f"acme: unpinned, SERVING {second}\n") == (told.returncode, told.stdout)
    until_each(server, lambda acme: (acme.state, acme.revision) == (SERVING, second))
    assert allows(server, "acme", *DENIED)
    for type_ in ("POLICY_PINNED", "POLICY_UNPINNED"):
        with server.store() as store:
            records = store.lifecycle(type_=type_)
        assert NODES == sorted(each.node for each in records)
        assert {("acme", first, "anonymous")} == {
            (each.tenant, each.revision, json.loads(each.detail)["caller"]) for each in records
        }


def test_a_worker_that_does_not_answer_its_supervisor_is_replaced(
    untested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped in its tracks, and would keep its share of the connections for good."""
    monkeypatch.setattr(supervisor, "_ANSWERS_WITHIN_S", 2.0)
    chosen = {"policies": untested, "audit": f"sqlite:///{tmp_path / 'audit.db'}", "revisions": str(tmp_path / "kept")}
    settings = Settings(workers=2, node="node-1", listen="127.0.0.1:0", http="", metrics="", **chosen)
    supervising = supervisor.Supervisor(settings, worker.__name__, worker.serve.__name__)
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(supervising.run, stop)
        try:
            places = supervising._workers
            until(lambda: running.done() or all(each.report.serving for each in places), "both to serve")
            os.kill(places[1].child._process.pid, signal.SIGSTOP)
            until(lambda: places[1].restarts == 1 and places[1].report.serving, "another in its place")
            assert 0 == places[0].restarts
        finally:
            stop.set()
        assert running.result(DEADLINE_S)
